"""The same bytes on every machine: what stages write that train nothing, and the files of a clone."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, Project

STAGES = ("prepare", "code", "derive", "complexity")  # in their order

# What torch (ATEN, MKL, oneDNN) and NumPy take for the processor: one without AVX-512, whose sums they order otherwise.
OLDER = (
    "ATEN_CPU_CAPABILITY=default",
    "MKL_ENABLE_INSTRUCTIONS=AVX2",
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "OPENBLAS_CORETYPE=Haswell",
    "NPY_DISABLE_CPU_FEATURES=X86_V4 AVX512_ICL AVX512_SPR",
)


def files(folder: Path) -> dict[str, bytes]:
    """All but what carries the time, and what Python compiles."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in found.items() if not {"logs", "__pycache__"} & {*name.parts}}
    return {name.as_posix(): path.read_bytes() for name, path in kept.items()}


def written(finished: Project, folder: Path, threads: int, settings: tuple[str, ...] = ()) -> dict[str, bytes]:
    """What the stages write in `folder`, from the sources and the searches' results of `finished`."""
    for name in ("nas", "stages", "results/search"):
        shutil.copytree(finished.folder / name, folder / name)
    shutil.copy(finished.folder / "params.yaml", folder)
    project = Project(folder)
    project.set(threads=threads)
    before = files(folder)
    for stage in STAGES:
        project.run("env", f"OMP_NUM_THREADS={threads}", *settings, "python", "-m", f"stages.{stage}")
    return {name: content for name, content in files(folder).items() if before.get(name) != content}


def test_stages_that_train_nothing_write_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    here = written(finished, tmp_path / "here", threads=1)
    there = written(finished, tmp_path / "there", threads=2, settings=OLDER)
    assert {"data/prepared/meta.json", "results/code/search/darts-darts.json"} <= here.keys()
    assert {"results/genotypes/darts.json", "results/complexity/table.csv"} <= here.keys()
    assert there.keys() == here.keys()
    assert [name for name in here if there[name] != here[name]] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git repository")
def test_a_clone_has_the_same_bytes_whatever_its_line_ends(tmp_path: Path) -> None:
    for convert in ("false", "true"):
        command = ["git", "-c", f"core.autocrlf={convert}", "clone", "-q", "--shared", ROOT, tmp_path / convert]
        subprocess.run(command, env=ENVIRONMENT, check=True)
        shutil.rmtree(tmp_path / convert / ".git")
    plain, converted = files(tmp_path / "false"), files(tmp_path / "true")
    assert "params.yaml" in plain
    assert converted.keys() == plain.keys()
    assert [name for name in plain if converted[name] != plain[name]] == []
