"""The package elsewhere: a light library, and a project of one's own outside this checkout."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, TINY, Project

import nas
from nas.pipeline import template
from nas.pipeline.errors import UserError
from nas.pipeline.new import create

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# What an install without extras has, and all that it brings along.
WITHOUT_THE_REST = """
import sys
from importlib.abc import MetaPathFinder

class Rest(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"cv2", "dvc", "jinja2", "markdown", "matplotlib", "pandas", "psutil", "pydantic",
                                  "pytorch_grad_cam", "ray", "rich", "ruamel", "scipy", "sklearn",
                                  "torchvision", "vl_convert", "yaml"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Rest())
"""
SEARCH = """
import torch
from nas.networks.supernet import Supernet
from nas.search import AlphaRecipe, halves, search
from nas.training.recipe import Recipe

supernet = Supernet("darts", channels=2, layers=3, nodes=1, num_classes=2)
batches = halves(images, labels, batch_size=16, crop_padding=1)
history, alphas = search(supernet, *batches, Recipe(epochs=8, learning_rate=0.1), AlphaRecipe(), seed=0)
print(supernet.genotype())
"""
DATA = """
generator = torch.Generator().manual_seed(0)
labels = torch.arange(64) % 2
images = torch.randint(128, (64, 3, 8, 8), dtype=torch.uint8, generator=generator) + 100 * labels.view(-1, 1, 1, 1)
images = images.to(torch.uint8)
"""


def python(program: str, folder: Path = ROOT) -> str:
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_search_needs_nothing_but_the_light_library_and_ten_lines() -> None:
    assert len(SEARCH.strip().splitlines()) <= 10
    history = "assert len(history) == 8 and history[-1]['valid_top1'] > 90, history\n"
    told = python(WITHOUT_THE_REST + "import torch" + DATA + SEARCH + history)
    assert told.startswith("Genotype(normal=((")


def test_the_light_library_counts_saves_slims_and_predicts(tmp_path: Path) -> None:
    python(
        WITHOUT_THE_REST
        + f"""
import nas, torch
from nas.dnal import backbones, phases, slim
from nas.networks import complexity, network
from nas.space.published import PUBLISHED
from nas.data.inputs import Inputs
net = network.Network(PUBLISHED["DARTS_V2"], channels=4, layers=3, num_classes=2)
assert complexity.count(net, (3, 16, 16)).params > 0
network.save(net, {str(tmp_path / "net.safetensors")!r}, Inputs(("a", "b"), (3, 16, 16), (0.5,) * 3, (0.2,) * 3))
assert nas.predict(network.load({str(tmp_path / "net.safetensors")!r}), torch.rand(2, 3, 16, 16)).shape == (2, 2)
backbones.build("resnet56", num_classes=2)
"""
    )


def test_the_light_library_is_what_pyproject_says() -> None:
    names = {requirement.split(">")[0] for requirement in PYPROJECT["project"]["dependencies"]}
    assert names == {"cyclopts", "numpy", "pillow", "ptflops", "safetensors", "torch", "tqdm"}


def requirements(*extras: str) -> set[str]:
    """What is asked for by name, extras of ours followed."""
    optional = PYPROJECT["project"]["optional-dependencies"]
    asked = [*PYPROJECT["project"]["dependencies"], *(line for extra in extras for line in optional[extra])]
    names = set()
    for line in asked:
        if own := re.fullmatch(r"nas-studies\[(.+)\]", line):
            names |= requirements(*own[1].split(","))
        else:
            names.add(re.match(r"[\w.-]+", line)[0].lower().replace("_", "-"))
    return names


def test_every_import_is_of_what_is_declared() -> None:
    distributions = packages_distributions()
    imported = set()
    for path in [*(ROOT / "nas").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {"nas", "stages", "pydantic_core"}  # the last a part of pydantic, which pins it
    roots = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - ours
    declared = requirements("pipeline", "cluster")
    used = {root: {name.lower().replace("_", "-") for name in distributions[root]} for root in roots}
    assert len(used) > 15
    assert not {root: names for root, names in used.items() if not names & declared}
    # By DVC: its pages' charts, its readers' speed; by torch.onnx. pyyaml's distribution has the name yaml.
    assert declared - set.union(*used.values()) <= {"ruamel.yaml.clib", "ruamel-yaml-clib", "onnxscript"}


def test_the_version_is_the_packages() -> None:
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "nas.pipeline.version.VERSION"
    assert nas.__version__ == "0.2.0"


# A project of one's own


@pytest.fixture
def project(tmp_path: Path) -> Project:
    create(tmp_path / "mine", "default")
    return Project(tmp_path / "mine", PYTHONPATH=str(ROOT))


def test_a_new_project_has_all_that_the_pipeline_needs_and_no_library(project: Project) -> None:
    assert (project.folder / "params.yaml").read_text() == (ROOT / "presets/default.yaml").read_text()
    assert not (project.folder / "nas").exists()
    assert project.run("git", "status", "--porcelain").stdout.splitlines()
    told = project.run("dvc", "stage", "list", "--name-only").stdout.split()
    stages = {path.stem for path in (ROOT / "stages").glob("[!_]*.py")}
    by_default_empty = {"select", "truth", "opinions", "export_slim"}
    assert {name.split("@")[0] for name in told} == stages - by_default_empty
    project.commit("start")
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert (project.folder / ".dvc/plots/vega.js").stat().st_size > 500_000


@pytest.mark.slow
def test_a_new_project_takes_a_preset(tmp_path: Path) -> None:
    create(tmp_path / "mine", "gdas")
    assert "- gdas" in (tmp_path / "mine/params.yaml").read_text()
    with pytest.raises(UserError, match="unknown preset 'gdass'; did you mean gdas?"):
        create(tmp_path / "other", "gdass")
    assert not (tmp_path / "other").exists()


def test_a_new_project_takes_no_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="mine: exists already; name a new folder"):
        create(tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_the_code_of_a_project_is_looked_at_each_time(project: Project) -> None:
    """It is not in the project, so DVC cannot see it change."""
    project.set(**TINY)
    assert "code" in project.repro("prepare")
    assert project.repro("prepare") == ["code"]
    search = "results/code/search/darts-darts.json"
    here = (project.folder / search).read_text()
    library = project.folder.parent / "library"
    shutil.copytree(ROOT / "nas", library / "nas", ignore=shutil.ignore_patterns("__pycache__"))
    with (library / "nas/data/split.py").open("a") as file:
        file.write("\nNEW = 1\n")
    assert Project(project.folder, PYTHONPATH=str(library)).repro("prepare") == ["code", "prepare"]
    assert (project.folder / search).read_text() != here


@pytest.mark.slow
def test_a_wheel_begins_a_project_that_finds_something(tmp_path: Path) -> None:
    source, installed = tmp_path / "source", tmp_path / "installed"
    apart = {".git", ".venv", ".dvc", "models", "checkpoints", "data", "studies", "site"}
    shutil.copytree(ROOT, source, ignore=lambda folder, _: apart if Path(folder) == ROOT else {"__pycache__"})
    for name in template.FILES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, source]
    subprocess.run(pip, env=ENVIRONMENT, check=True, capture_output=True)
    new = [sys.executable, "-m", "nas", "new", "mine"]
    told = Project(tmp_path, PYTHONPATH=str(installed)).run(*new).stdout
    assert told == "mine is a project of your own: cd mine && dvc repro\n"
    project = Project(tmp_path / "mine", PYTHONPATH=str(installed))
    project.set(**TINY)
    assert "report" in project.repro("report")
    assert project.repro("report") == ["code"]
    assert "| darts | 2 | **" in (project.folder / "results/report.md").read_text()
