"""Results against dvc.lock: DVC's own checksums, and what is told of a result that is another."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Project

from nas.pipeline import dvc_yaml
from nas.pipeline.errors import UserError
from nas.pipeline.lock import mend, require_locked

RESULTS = ["results/evaluate/darts-2-0/metrics.json", "results/search/darts-0/alphas.csv", "results/genotypes"]


@pytest.fixture
def project(finished: Project, copy_of, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = copy_of(finished)
    monkeypatch.chdir(project.folder)
    return project


def test_what_the_stages_left_is_what_the_lock_names(project: Project) -> None:
    require_locked(map(Path, RESULTS))


@pytest.mark.parametrize("path", RESULTS)
def test_another_result_is_told(path: str, project: Project) -> None:
    changed = Path(path) / "DARTS_V2.json" if path == "results/genotypes" else Path(path)
    changed.write_text(changed.read_text().replace("0", "1", 1))
    with pytest.raises(
        UserError, match=f"^{path}: is not what dvc.lock says that [a-z]+(@darts\\S+)? left; `dvc repro` "
    ):
        require_locked(map(Path, RESULTS))


def test_a_result_of_no_stage_is_told(project: Project) -> None:
    stray = Path("results/evaluate/stray-2-0/metrics.json")
    stray.parent.mkdir()
    stray.write_text("{}")
    with pytest.raises(UserError, match=f"^{stray}: is not what dvc.lock says that a stage left; `dvc repro` "):
        require_locked([stray])


def test_the_report_shows_no_result_that_the_lock_does_not_name(project: Project) -> None:
    path = project.folder / "results/evaluate/darts-2-0/history.csv"
    path.write_text(path.read_text().replace("1,", "2,", 1))
    done = project.run("python", "-m", "stages.report", check=False)
    assert done.returncode == 1
    assert (
        "results/evaluate/darts-2-0/history.csv: is not what dvc.lock says that evaluate@darts-2-0 left" in done.stderr
    )


def committed(*command: str) -> bytes:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git repository")
def test_a_clone_has_every_small_result_that_dvc_lock_names() -> None:
    """Or somebody who clones computes again what was computed: the last commit against itself."""
    lock = dvc_yaml.parse(committed("show", "HEAD:dvc.lock").decode())
    files = set(committed("ls-tree", "-r", "--name-only", "HEAD").decode().splitlines())
    outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    in_cache = ("data/prepared", "models/", "results/code", "results/report.")
    small = {out["path"]: out["md5"] for out in outs if not out["path"].startswith(in_cache)}
    assert len(small) > 40
    for path, md5 in small.items():
        if md5.endswith(".dir"):
            assert any(name.startswith(f"{path}/") for name in files), path
        else:
            assert path in files, f"{path} is in dvc.lock and not in git"
            assert hashlib.md5(committed("show", f"HEAD:{path}")).hexdigest() == md5, path


KILLED_WHILE_IT_WRITES = """
import os, re, signal, sys
from dvc.cli import main
from dvc.utils.serialize import _common

dump, times = _common._dump_data, []

def half(path, data, dumper, fs=None, **options):
    dump(path, data, dumper, fs, **options)
    if str(path).endswith("dvc.lock"):
        times.append(path)
        if len(times) == 2:
            text = open(path).read()
            open(path, "w").write(text[: [found.end() for found in re.finditer(sys.argv[1], text)][-1]])
            os.kill(os.getpid(), signal.SIGKILL)

_common._dump_data = half
sys.exit(main(["repro"]))
"""


@pytest.mark.parametrize(
    ("cut_after", "told"),
    [("sch", True), ("md5: [0-9a-f]{9}", True), ("    outs:\n", True), ("\n(?=  [a-z])", False)],
    ids=["the first letters", "within a line", "a line", "an entry"],
)
def test_a_kill_while_dvc_writes_the_lock_loses_nothing(cut_after: str, told: bool, project: Project) -> None:
    project.set(evaluate={"epochs": 3})
    killed = project.run(sys.executable, "-c", KILLED_WHILE_IT_WRITES, cut_after, check=False)
    assert killed.returncode == -9 and "Running stage 'evaluate@" in killed.stdout
    mended = project.run(sys.executable, "-m", "nas", "check")
    assert ("dvc.lock: was cut short" in mended.stderr) is told
    ran = project.repro()
    done = {line.split("'")[1] for line in killed.stdout.splitlines() if line.startswith("Running stage")}
    assert done and done.isdisjoint(ran) and "report" in ran
    assert project.repro() == []
    assert "cut short" not in project.run(sys.executable, "-m", "nas", "check").stderr


def test_without_a_copy_the_committed_lock_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mend() is None
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n  code:\n    cmd: pyth")
    with pytest.raises(UserError, match="dvc.lock: was cut short; `git checkout dvc.lock`"):
        mend()
