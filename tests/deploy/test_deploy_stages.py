"""The stages export, export_slim and latency in the pipeline: what reruns, what repeats, what a user gets."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Project
from PIL import Image
from safetensors.torch import load_file

Copy = Callable[[Project], Project]
EXPORTS = ["export@DARTS_V2-2-0", "export_slim@vgg16_cifar-0.01"]


@pytest.fixture(scope="module")
def deployed(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project with one network of each kind exported; read it, but do not change it."""
    folder = tmp_path_factory.mktemp("deployed") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    project = Project(folder)
    project.set(export={"networks": ["DARTS_V2-2-0"], "slimmed": ["vgg16_cifar-0.01"]})
    assert set(project.repro()) == {"code", *EXPORTS, "latency", "report"}
    project.commit("exported")
    return project


def test_an_export_has_its_files_metrics_section_and_card(deployed: Project) -> None:
    results = deployed.folder / "results"
    report = (results / "report.md").read_text()
    for key, stage in (("DARTS_V2-2-0", "evaluate"), ("vgg16_cifar-0.01", "slim")):
        folder = deployed.folder / "models/export" / key
        files = {path.name for path in folder.iterdir()}
        assert files == {"network.onnx", "int8.onnx", "network.pt2", "network.safetensors"}
        weights = (folder / "network.safetensors").read_bytes()
        assert weights == (deployed.folder / f"models/{stage}/{key}.safetensors").read_bytes()
        told = json.loads((results / "export" / key / "metrics.json").read_text())
        trained = json.loads((results / stage / key / "metrics.json").read_text())
        assert told["top1"] == pytest.approx(trained["top1"]) and told["max_relative_error"] < 1e-4
        assert told["onnx_bytes"] == (folder / "network.onnx").stat().st_size
        assert f"| {key} | {trained['top1']:.2f} | " in report.split("## Exported networks")[1]
        assert (results / "cards" / f"{key}.md").read_text().startswith(f"# {key}\n")
    assert "## Latency" not in report  # nothing was measured, so that everything repeats


def test_exporting_again_by_force_leaves_the_same_lock(deployed: Project, copy_of: Copy) -> None:
    project = copy_of(deployed)
    before = (project.folder / "dvc.lock").read_text()
    assert set(project.repro("--force", "--single-item", *EXPORTS)) == set(EXPORTS)
    assert (project.folder / "dvc.lock").read_text() == before
    assert project.repro() == []


def test_a_parameter_runs_what_it_touches(deployed: Project, copy_of: Copy) -> None:
    project = copy_of(deployed)
    project.set(export={"licence": "CC BY 4.0"})
    assert project.changed() == {"report"}
    project.set(export={"calibration": None})
    assert project.changed() == {*EXPORTS, "report"}
    project.set(export={"calibration": 64, "networks": []})
    assert set(project.repro()) == {"code", "report"}
    assert not (project.folder / "results/cards/DARTS_V2-2-0.md").exists()
    assert "Licence of the data: CC BY 4.0" in (project.folder / "results/cards/vgg16_cifar-0.01.md").read_text()


LATENCY = {"networks": ["DARTS_V2-2-0", "vgg16_cifar-0.01"], "published": ["DARTS_V2-2"], "batches": [1, 3]}


def measured(project: Project) -> list[str]:
    return (project.folder / "results/latency/table.csv").read_text().splitlines()


def test_every_form_is_measured_with_every_batch_and_number_of_threads(deployed: Project, copy_of: Copy) -> None:
    project = copy_of(deployed)
    project.set(threads=2, latency=LATENCY | {"repeats": 2})
    project.repro("code")
    project.run(sys.executable, "-m", "stages.latency")  # the stage alone: with other threads all would be trained anew
    forms = [(key, form) for key in LATENCY["networks"] for form in ("eager", "onnx", "int8")]
    forms += [("DARTS_V2-2", "eager"), ("DARTS_V2-2", "onnx")]
    rows = [row.split(",") for row in measured(project)[1:]]
    assert [(row[0], row[1], row[4], row[5]) for row in rows] == [
        (*form, batch, threads) for batch in "13" for threads in "12" for form in forms
    ]
    assert {row[0]: row[2] for row in rows} == {
        "DARTS_V2-2-0": "1x8x8",
        "vgg16_cifar-0.01": "1x8x8",
        "DARTS_V2-2": "3x32x32",
    }
    for row in rows:
        lower, median, upper = map(float, row[6:9])
        assert 0 < lower <= median <= upper and row[9] == "2"
    assert json.loads((project.folder / "results/latency/machine.json").read_text())["processor"]


def test_latency_is_measured_once_and_shown(deployed: Project, copy_of: Copy, tmp_path: Path) -> None:
    project = copy_of(deployed)
    project.set(latency=LATENCY | {"repeats": 2})
    assert set(project.repro()) == {"code", "latency", "report"}
    rows = measured(project)
    report = (project.folder / "results/report.md").read_text()
    assert "## Latency" in report and "![Test accuracy against latency" in report
    assert "latency" not in project.run("dvc", "metrics", "show", "--json").stdout
    project.commit("measured")
    project.set(latency={"repeats": 3})
    assert "latency" in project.repro("latency")
    project.set(latency={"repeats": 2})
    assert project.repro() == []  # the run cache has what was measured
    assert measured(project) == rows
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "cache", "dir", "--local", str(project.folder / ".dvc/cache"))
    assert clone.repro() == []
    assert measured(clone) == rows


def test_a_model_of_other_data_is_refused_in_one_line(deployed: Project, copy_of: Copy) -> None:
    project = copy_of(deployed)
    project.set(data={"train_limit": 100})
    project.repro("prepare")
    for stage, network in (("export", "DARTS_V2-2-0"), ("export_slim", "vgg16_cifar-0.01")):
        done = project.run(sys.executable, "-m", f"stages.{stage}", network, check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert f"{network}.safetensors: is of other data than data/prepared; train it again" in done.stderr


def test_models_come_by_name_from_a_clone_with_a_remote(deployed: Project, copy_of: Copy, tmp_path: Path) -> None:
    project = copy_of(deployed)
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    project.commit("a remote")
    project.run("dvc", "push")
    project.run("git", "tag", "-a", "exported@v1.0.0", "-m", "a version")
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Project(tmp_path / "elsewhere")
    elsewhere.run("dvc", "artifacts", "get", str(tmp_path / "clone"), "exported", "-o", "got")
    got = elsewhere.folder / "got/DARTS_V2-2-0/network.onnx"
    assert got.read_bytes() == (deployed.folder / "models/export/DARTS_V2-2-0/network.onnx").read_bytes()


def test_a_newcomers_minute(deployed: Project, tmp_path: Path) -> None:
    """From a pipeline that has run to the classes of an image, by the library and by ONNX Runtime alone."""
    picture = tmp_path / "digit.png"
    images = load_file(deployed.folder / "data/prepared/test.safetensors")["images"]
    Image.fromarray(images[0, 0].numpy()).save(picture)
    told = deployed.run(sys.executable, "-m", "nas", "predict", "DARTS_V2-2-0", str(picture), "--json").stdout
    (best, *_) = json.loads(told)[0]["classes"]
    card = (deployed.folder / "results/cards/DARTS_V2-2-0.md").read_text()
    program = card.split("```python\n")[1].split("```")[0]
    read = f"np.asarray(__import__('PIL.Image').Image.open({str(picture)!r}))[None, None]"
    lines = [line if not line.startswith("images = ") else f"images = {read}" for line in program.splitlines()]
    assert deployed.run(sys.executable, "-c", "\n".join(lines)).stdout.split() == [best["class"]]
