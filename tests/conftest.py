"""A small copy of the project, its pipeline run once, for the tests that need real stages."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from nas.pipeline import template

ROOT = Path(__file__).parent.parent
collect_ignore = ["gpu"]  # test_gpu.py runs it apart
signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit a background job's ignoring of it
settings.register_profile("busy", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("busy")
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: two threads on busy cores wait for each other
# `python` and `dvc` of dvc.yaml are those that run the tests.
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}
TINY = {
    "threads": 1,
    "device": "cpu",
    "data": {"train_limit": 128, "test_limit": 64},
    "search": {"spaces": ["darts"], "channels": 2, "nodes": 1, "epochs": 1, "batch_size": 32},
    "evaluate": {
        "genotypes": ["DARTS_V2", "darts", "darts_random_0"],
        "layers": [2],
        "channels": 4,
        "epochs": 2,
        "batch_size": 32,
    },
    "pretrain": {"vgg16_cifar": {"width": 0.0625, "epochs": 1, "batch_size": 32}},
    "slim": {
        "models": ["vgg16_cifar"],
        "penalties": [0.0, 0.01],
        "recipes": {"vgg16_cifar": {"gate_epochs": 2, "epochs": 2, "milestones": [1]}},
    },
    "gradcam": {"networks": ["DARTS_V2-2-0"], "classes": ["0", "1"]},
    "export": {"networks": [], "calibration": 64},
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow is what needs a pipeline that has run, processes that train together, or a browser."""
    for item in items:
        if {"finished", "together", "toy", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.end_to_end)


@pytest.fixture(params=["fast"])
def paths(request, monkeypatch):
    """Networks and supernets that a test makes are on the fast path, small as their maps are, or "plain"."""
    if request.param == "plain":
        return
    from nas.fast import accelerate
    from nas.networks.network import Network
    from nas.networks.supernet import Supernet

    monkeypatch.setattr("nas.fast.conditions.SMALLEST", 0)
    monkeypatch.setattr("nas.fast.supernet.LARGE", 0)
    for kind in (Network, Supernet):

        def made(self, *arguments, _plain=kind.__init__, **options) -> None:
            _plain(self, *arguments, **options)
            accelerate(self)

        monkeypatch.setattr(kind, "__init__", made)


class Project:
    """A copy of the project in `folder`, a git and DVC repository."""

    def __init__(self, folder: Path, **environment: str) -> None:
        """`environment`: variables that its commands have besides."""
        self.folder = folder
        self.environment = ENVIRONMENT | environment

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def repro(self, *options: str) -> list[str]:
        """Run `dvc repro`; the names of the stages that ran."""
        output = self.run("dvc", "repro", *options).stdout
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

    def changed(self) -> set[str]:
        """The stages that DVC finds changed once the stage `code` has run: those that `dvc repro` begins with."""
        self.repro("code")
        return set(json.loads(self.run("dvc", "status", "--json").stdout))

    def set(self, **sections: object) -> None:
        """Change keys of params.yaml: ``set(search={"epochs": 2})``."""
        path = self.folder / "params.yaml"
        yaml = YAML()
        tree = yaml.load(path.read_text())
        update(tree, sections)
        with path.open("w") as file:
            yaml.dump(tree, file)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)


def update(tree: dict, changes: dict) -> None:
    """Change keys of a tree, and of the trees in it."""
    for name, value in changes.items():
        if isinstance(value, dict) and name in tree:
            update(tree[name], value)
        else:
            tree[name] = value


def make_project(folder: Path) -> Project:
    """The sources without any result, tiny parameters, and a first commit on main."""
    folder.mkdir(parents=True)
    project = Project(folder)
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    template.copy(ROOT, folder)
    for name in ("nas", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
    project.set(**TINY)
    project.commit("start")
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run once and is committed; read it, copy it, but do not change it."""
    project = make_project(tmp_path_factory.mktemp("finished") / "project")
    project.repro()
    project.commit("results")
    return project


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Project], Project]:
    """Copy a project, its DVC cache included, so that a test may change it."""

    def copy(project: Project) -> Project:
        folder = tmp_path / "copy"
        shutil.copytree(project.folder, folder, symlinks=True)
        return Project(folder)

    return copy
