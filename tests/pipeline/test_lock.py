"""Results against dvc.lock: DVC's own checksums, and what is told of a result that is another."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Project
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from nas.pipeline import dvc_yaml
from nas.pipeline.errors import UserError
from nas.pipeline.lock import keep, mend, require_locked

RESULTS = ["results/evaluate/darts-2-0/metrics.json", "results/search/darts-darts-0/alphas.csv", "results/genotypes"]


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
    in_cache = ("data/prepared", "models/", "results/cards", "results/code", "results/latency", "results/report.")
    small = {out["path"]: out["md5"] for out in outs if not out["path"].startswith(in_cache)}
    assert len(small) > 40
    for path, md5 in small.items():
        if md5.endswith(".dir"):
            assert any(name.startswith(f"{path}/") for name in files), path
        else:
            assert path in files, f"{path} is in dvc.lock and not in git"
            assert hashlib.md5(committed("show", f"HEAD:{path}")).hexdigest() == md5, path


KILLED_WHILE_IT_WRITES = """
import os, signal, sys
from dvc.cli import main
from dvc.utils.serialize import _common

dump, times = _common._dump_data, []

def half(path, data, dumper, fs=None, **options):
    dump(path, data, dumper, fs, **options)
    if str(path).endswith("dvc.lock"):
        times.append(path)
        if len(times) == 2:
            text = open(path).read()
            open(path, "w").write(text[: text.rindex("    outs:") + 5])
            os.kill(os.getpid(), signal.SIGKILL)

_common._dump_data = half
sys.exit(main(["repro"]))
"""


@pytest.mark.slow
def test_a_kill_while_dvc_writes_the_lock_loses_nothing(project: Project) -> None:
    project.set(evaluate={"epochs": 3})
    killed = project.run(sys.executable, "-c", KILLED_WHILE_IT_WRITES, check=False)
    assert killed.returncode == -9 and "Running stage 'evaluate@" in killed.stdout
    mended = project.run(sys.executable, "-m", "nas", "check")
    assert "dvc.lock: was cut short" in mended.stderr
    ran = project.repro()
    done = {line.split("'")[1] for line in killed.stdout.splitlines() if line.startswith("Running stage")}
    assert done and done.isdisjoint(ran) and "report" in ran
    assert project.repro() == []
    assert "cut short" not in project.run(sys.executable, "-m", "nas", "check").stderr


def is_part(cut: object, whole: object) -> bool:
    """Whether nothing of `cut` is another than in `whole`: it lacks the end of some lists and some entries."""
    if isinstance(cut, dict):
        return isinstance(whole, dict) and all(key in whole and is_part(cut[key], whole[key]) for key in cut)
    if isinstance(cut, list):
        return isinstance(whole, list) and all(map(is_part, cut, whole)) and len(cut) <= len(whole)
    return cut in (whole, None)


def test_a_cut_is_mended_or_lacks_what_the_run_cache_brings_back(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lock, text = Path("dvc.lock"), (ROOT / "dvc.lock").read_text()
    text = text[: text.index("  derive:")]
    lock.write_text(text)
    Path(".dvc").mkdir()
    keep()
    whole, after_a_line = dvc_yaml.parse(text), [place + 1 for place, letter in enumerate(text[:-1]) if letter == "\n"]
    for place in [*range(30), *after_a_line, *range(30, len(text) - 1, 211)]:
        lock.write_text(text[:place])
        if mend() is None:
            left = dvc_yaml.read(lock)
            COMPILED_LOCKFILE_SCHEMA(left)
            assert place in after_a_line and is_part(left, whole), text[:place].splitlines()[-1]
        else:
            assert lock.read_text() == text


def test_without_a_copy_the_committed_lock_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mend() is None
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n  code:\n    cmd: pyth")
    with pytest.raises(UserError, match="dvc.lock: was cut short; `git checkout dvc.lock`"):
        mend()
