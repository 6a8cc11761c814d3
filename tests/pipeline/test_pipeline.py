"""The pipeline as a user meets it: what reruns, what repeats, what survives a kill, what a branch shows."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ENVIRONMENT, ROOT, TINY, Project, make_project, update
from PIL import Image
from ruamel.yaml import YAML

from nas.pipeline import dvc_yaml
from nas.pipeline.files import sha256
from nas.pipeline.params import check
from nas.space.genotypes import edges
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES

EVALUATIONS = {"evaluate@DARTS_V2-2-0", "evaluate@darts-2-0", "evaluate@darts_random_0-2-0"}
SLIM = {"slim@vgg16_cifar-0.0", "slim@vgg16_cifar-0.01"}
STAGES = {
    "code",
    "prepare",
    "search@darts-darts-0",
    "derive",
    *EVALUATIONS,
    "complexity",
    "gradcam@DARTS_V2-2-0",
    "latency",
    "report",
}
SUMMARIES = {"derive", "complexity", "report"}
STAGES |= {"pretrain@vgg16_cifar", *SLIM}

Copy = Callable[[Project], Project]


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


# The promise: a change costs what it touches


def test_nothing_to_do_runs_nothing(finished: Project) -> None:
    assert finished.repro() == []


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_comments_docstrings_and_layout_run_nothing_that_trains(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    for path in [*(project.folder / "nas").rglob("*.py"), *(project.folder / "stages").rglob("*.py")]:
        path.write_text(f"# A comment.\n\n{path.read_text(encoding='utf-8')}\n# Another.\n", encoding="utf-8")
    edit(project.folder / "nas/networks/supernet.py", '"""The continuous', '"""Once more: the continuous')
    layout = "nn.BatchNorm2d(\n    channels,\n        affine=affine,\n    )"
    edit(project.folder / "nas/space/operations/separable.py", "nn.BatchNorm2d(channels, affine=affine)", layout)
    assert project.changed() == set()


WIDE = """
from torch import nn

class Wide(nn.Sequential):
    def __init__(self, channels, stride, affine=True):
        super().__init__(nn.Conv2d(channels, channels, 3, stride, 1), nn.BatchNorm2d(channels, affine=affine))

OPERATIONS = {"wide_conv": Wide}
"""


def test_an_operation_and_a_space_that_uses_it_cost_that_spaces_search(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    (project.folder / "nas/space/operations/wide.py").write_text(WIDE)
    head = "FAMILIES: dict[str, tuple[str, ...]] = {\n"
    edit(project.folder / "nas/space/operations/__init__.py", head, f'{head}    "wide": ("wide_conv",),\n')
    edit(
        project.folder / "nas/space/spaces.py",
        "_ALL = (\n",
        '_ALL = (\n    SearchSpace("wide", ("none", "wide_conv")),\n',
    )
    assert project.changed() <= SUMMARIES
    project.set(search={"spaces": ["darts", "wide"]}, evaluate={"genotypes": [*TINY["evaluate"]["genotypes"], "wide"]})
    assert project.changed() == {"search@wide-darts-0", "evaluate@wide-2-0", *SUMMARIES}
    project.repro("search@wide-darts-0")
    assert "0-2,wide_conv," in (project.folder / "results/search/wide-darts-0/alphas.csv").read_text()


def test_a_space_of_ones_own_costs_its_own_search(finished: Project, copy_of: Copy) -> None:
    project, genotypes = copy_of(finished), TINY["evaluate"]["genotypes"]
    project.set(spaces={"mine": ["skip_connect", "ds_conv"]})
    assert project.changed() <= SUMMARIES
    project.set(search={"spaces": ["darts", "mine"]}, evaluate={"genotypes": [*genotypes, "mine", "mine_random_0"]})
    searched = "search@mine-darts-0"
    assert project.changed() == {searched, "evaluate@mine-2-0", "evaluate@mine_random_0-2-0", *SUMMARIES}
    project.repro()
    rows = (project.folder / "results/search/mine-darts-0/alphas.csv").read_text().splitlines()[1:]
    assert {row.split(",")[3] for row in rows} == {"skip_connect", "ds_conv"}
    for name in ("mine", "mine_random_0"):
        drawn = json.loads((project.folder / f"results/genotypes/{name}.json").read_text())
        assert {operation for operation, _ in drawn["normal"] + drawn["reduce"]} <= {"skip_connect", "ds_conv"}
    assert "Search of mine" in (project.folder / "results/report.md").read_text()
    project.set(spaces={"mine": ["skip_connect", "ds_conv", "mb_conv"]})
    assert searched in project.changed() and "search@darts-darts-0" not in project.changed()


def test_s1_goes_through_the_whole_pipeline(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(search={"spaces": ["s1"], "nodes": 4, "algorithms": ["darts", "random"]})
    genotypes = ["s1", "s1_by_random", "s1_random_1", "s1_skips_0"]
    project.set(evaluate={"genotypes": genotypes}, gradcam={"networks": []}, slim={"models": []})
    project.repro()
    report = (project.folder / "results/report.md").read_text()
    assert "| – |" in report.split("Softmax weights at the end")[1]
    own = SPACES["s1"].edges
    for name in genotypes:
        found = json.loads((project.folder / f"results/genotypes/{name}.json").read_text())
        for cell in ("normal", "reduce"):
            of_edges = dict(zip(edges(4), own[cell], strict=True))
            assert all(operation in of_edges[state, 2 + i // 2] for i, (operation, state) in enumerate(found[cell]))
    assert "skip_connect" not in {operation for operation, _ in found["normal"]}


def test_a_genotype_a_reader_or_a_section_more_costs_what_names_it(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    (project.folder / "nas/data/readers/mine.py").write_text("def read(root, image_size, workers): ...\n")
    edit(project.folder / "nas/data/readers/__init__.py", '"digits": ', '"mine": "mine",\n    "digits": ')
    assert project.changed() == set()
    edit(project.folder / "nas/report/templates/summary.md.j2", "# Report", "# The report")
    assert project.changed() == {"report"}
    published = project.folder / "nas/space/published.py"
    published.write_text(
        published.read_text() + '\nPUBLISHED["MINE"] = PUBLISHED["DARTS_V2"].with_all("skip_connect")\n'
    )
    readers = {"latency", *SUMMARIES}  # of the whole table
    assert project.changed() <= readers
    project.set(evaluate={"genotypes": [*TINY["evaluate"]["genotypes"], "MINE"]})
    assert project.changed() == {"evaluate@MINE-2-0", *readers}


def test_a_genotype_in_a_file_of_its_own_is_trained_alone(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    text = str(PUBLISHED["DARTS_V2"].with_all("skip_connect"))  # as Python prints it: Genotype(normal=((…
    (project.folder / "genotypes/mine.txt").write_text(f"2019-01-01 12:00:00 genotype = {text}\n")
    project.set(evaluate={"genotypes": [*TINY["evaluate"]["genotypes"], "mine"]})
    assert project.changed() == {"evaluate@mine-2-0", *SUMMARIES}
    project.repro("evaluate@mine-2-0", "complexity")
    assert project.changed() == {"report"}
    (project.folder / "genotypes/mine.txt").write_text(text.replace("skip_connect", "sep_conv_3x3"))
    assert project.changed() == {"derive", "evaluate@mine-2-0", "report"}


@pytest.mark.slow
def test_a_metric_or_a_figure_trains_nothing_again(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    weights = sha256(project.folder / "models/evaluate/DARTS_V2-2-0.safetensors")
    edit(project.folder / "stages/evaluate.py", "scores(history)", "scores(history[:1])")
    done = project.run("dvc", "repro").stdout
    assert done.count("Running stage 'evaluate@") == 3 and "epoch 1/" not in done
    assert done.count("resumed after epoch 2 from ") == 3
    assert sha256(project.folder / "models/evaluate/DARTS_V2-2-0.safetensors") == weights


@pytest.mark.slow
def test_a_change_that_is_taken_back_or_made_again_runs_nothing(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    before = hashes(project.folder / "results")
    changes = {"evaluate": {"epochs": 3}, "gradcam": {"method": "EigenCAM"}, "search": {"epochs": 2}}
    project.set(**changes)
    assert set(project.repro()) >= {"search@darts-darts-0", *EVALUATIONS, "gradcam@DARTS_V2-2-0", "report"}
    changed = hashes(project.folder / "results")
    project.run("git", "checkout", "-q", "params.yaml")
    assert project.repro() == []
    assert hashes(project.folder / "results") == before
    project.set(**changes)
    assert project.repro() == []
    assert hashes(project.folder / "results") == changed


@pytest.mark.slow
def test_what_a_shared_cache_holds_nobody_runs_again(finished: Project, copy_of: Copy, tmp_path: Path) -> None:
    project = copy_of(finished)
    project.run("dvc", "cache", "dir", "--local", str(tmp_path / "cache"))
    shutil.copytree(project.folder / ".dvc/cache", tmp_path / "cache")
    project.set(evaluate={"epochs": 3})
    assert set(project.repro()) >= EVALUATIONS
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "cache", "dir", "--local", str(tmp_path / "cache"))
    assert clone.repro() == []  # what was committed
    clone.set(evaluate={"epochs": 3})
    assert clone.repro() == []  # and what was run, and not committed
    assert hashes(clone.folder / "results") == hashes(project.folder / "results")


@pytest.mark.slow
def test_what_was_committed_comes_through_a_remote(finished: Project, copy_of: Copy, tmp_path: Path) -> None:
    project = copy_of(finished)
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    project.set(evaluate={"epochs": 3})
    project.repro()
    project.commit("three epochs")
    project.run("dvc", "push", "--run-cache")
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull", "--run-cache")
    assert clone.repro() == []
    assert hashes(clone.folder / "results") == hashes(project.folder / "results")


def test_code_that_changes_while_the_pipeline_runs_is_not_recorded_as_what_it_was(
    finished: Project, copy_of: Copy
) -> None:
    project = copy_of(finished)
    edit(project.folder / "nas/networks/network.py", "import torch\n", "import torch\n\nNEW = 1\n")
    project.set(evaluate={"epochs": 3})
    done = project.run("dvc", "repro", "--single-item", "evaluate@DARTS_V2-2-0", check=False)
    assert done.returncode
    assert "error: evaluate: its code has changed since the stage code ran; run dvc repro again" in done.stderr


def test_other_line_ends_run_nothing_that_trains(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    for path in [*(project.folder / "nas").rglob("*.py"), *(project.folder / "stages").rglob("*.py")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert project.changed() == set()


def test_grad_cam_parameters_rerun_grad_cam_and_the_report(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(gradcam={"index": 1})
    assert project.changed() == {"gradcam@DARTS_V2-2-0", "report"}  # which shows all parameters
    project.set(gradcam={"method": "EigenCAM", "images": 8})
    assert project.repro() == ["code", "gradcam@DARTS_V2-2-0", "report"]
    metrics = json.loads((project.folder / "results/gradcam/DARTS_V2-2-0/metrics.json").read_text())
    assert metrics["images"] == 8


def test_a_random_genotype_more_runs_its_evaluation_and_what_summarises(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(evaluate={"genotypes": [*TINY["evaluate"]["genotypes"], "darts_random_1"]})
    assert project.changed() == {"evaluate@darts_random_1-2-0", *SUMMARIES}


@pytest.mark.slow
def test_a_penalty_more_runs_its_slimming_and_the_report(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(slim={"penalties": [0.0, 0.01, 1.0]})
    assert set(project.repro()) == {"code", "slim@vgg16_cifar-1.0", "report"}
    costs = {}
    for penalty in ("0.0", "0.01", "1.0"):
        told = json.loads((project.folder / f"results/slim/vgg16_cifar-{penalty}/metrics.json").read_text())
        costs[penalty] = told["conv_macs"]
        assert told["conv_macs"] * told["conv_macs_ratio"] == pytest.approx(costs["0.0"])
    assert costs["0.0"] > costs["0.01"] > costs["1.0"]  # which closes all: a layer keeps one channel
    project.set(slim={"recipes": {"vgg16_cifar": {"epochs": 3}}})
    assert project.changed() == {*SLIM, "slim@vgg16_cifar-1.0", "report"}


@pytest.mark.slow
def test_algorithms_run_through_the_pipeline_side_by_side(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    genotypes = ["darts", "darts_by_random"]
    project.set(search={"algorithms": ["gdas", "random"]}, evaluate={"genotypes": genotypes}, gradcam={"networks": []})
    searches = {"search@darts-gdas-0", "search@darts-random-0"}
    networks = {f"evaluate@{genotype}-2-0" for genotype in genotypes}
    assert set(project.repro()) == {"code", *searches, *networks, *SUMMARIES}
    report = (project.folder / "results/report.md").read_text()
    assert "(gdas, random, C = 2" in report and "| random | " in report
    project.run("dvc", "metrics", "diff")
    assert "errors" not in json.loads(project.run("dvc", "plots", "diff", "--json").stdout)


@pytest.mark.slow
def test_a_streamed_folder_gives_the_same_results_as_one_in_memory(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    generator = np.random.default_rng(0)
    for i in range(36):
        path = project.folder / "pictures" / ("train" if i < 24 else "test") / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(256, size=(40, 44, 3), dtype=np.uint8)).save(path)
    small = {"channels": 2, "batch_size": 5, "stem": "imagenet"}
    project.set(
        data={"name": "folder", "root": "pictures", "image_size": 36, "train_limit": None, "test_limit": None},
        search=small,
        evaluate=small | {"genotypes": ["darts"]},
        slim={"penalties": [0.01]},
        gradcam={"networks": ["darts-2-0"], "classes": ["a", "b"]},
    )
    training = ("evaluate@darts-2-0", "gradcam@darts-2-0", "slim@vgg16_cifar-0.01")
    assert "search@darts-darts-0" in project.repro(*training)
    in_memory = hashes(project.folder / "results")
    shutil.rmtree(project.folder / "models")
    project.set(data={"stream": True})
    assert {"prepare", "search@darts-darts-0", *training} <= set(project.repro(*training))
    assert hashes(project.folder / "results") == in_memory
    assert (project.folder / "data/prepared/train.safetensors").stat().st_size < 24 * 3 * 36 * 36


def accuracies(folder: Path) -> str:
    """What the report says before it counts the paper's networks, of which it shows all."""
    return (folder / "results/report.md").read_text().split("## Complexity")[0]


@pytest.mark.slow
def test_a_layer_count_more_runs_what_is_new_and_one_less_what_summarises(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(evaluate={"layers": [2, 3]})
    new = {"evaluate@DARTS_V2-3-0", "evaluate@darts-3-0", "evaluate@darts_random_0-3-0"}
    assert set(project.repro()) == new | {"code", "complexity", "report"}
    assert "| DARTS_V2 | 3 | " in accuracies(project.folder)
    project.set(evaluate={"layers": [2]})
    # The earlier run's files are still there, in a folder that the report depends on, but nothing shows them.
    assert project.repro() == ["report"]
    assert (project.folder / "results/evaluate/DARTS_V2-3-0/metrics.json").exists()
    assert "| DARTS_V2 | 3 | " not in accuracies(project.folder)
    project.set(evaluate={"layers": [2, 3]})
    assert project.repro() == []


@pytest.mark.slow
def test_search_epochs_rerun_the_search_and_what_depends_on_its_genotype(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    genotypes = hashes(project.folder / "results/genotypes")
    project.set(search={"epochs": 2})
    ran = set(project.repro())
    expected = {"code", "search@darts-darts-0", "derive", "report"}
    if hashes(project.folder / "results/genotypes") != genotypes:
        expected |= {"evaluate@darts-2-0", "complexity"}
    assert ran == expected


@pytest.mark.slow
def test_a_branch_shows_its_changed_accuracy_and_curves(finished: Project, copy_of: Copy, tmp_path: Path) -> None:
    project = copy_of(finished)
    project.run("git", "checkout", "-q", "-b", "longer")
    project.set(evaluate={"epochs": 4})
    project.repro("evaluate@DARTS_V2-2-0")
    project.commit("longer")
    project.run("git", "clone", "-q", "-b", "longer", ".", str(tmp_path / "clone"))  # with an empty cache
    clone = Project(tmp_path / "clone")
    clone.run("git", "branch", "-q", "main", "origin/main")
    changes = json.loads(clone.run("dvc", "metrics", "diff", "main", "--json").stdout)
    change = changes["results/evaluate/DARTS_V2-2-0/metrics.json"]["top1"]
    for version, branch in (("old", "main"), ("new", "longer")):
        text = clone.run("git", "show", f"{branch}:results/evaluate/DARTS_V2-2-0/metrics.json").stdout
        assert change[version] == json.loads(text)["top1"]
    assert change["old"] != change["new"]
    page = clone.run("dvc", "plots", "diff", "main", "--json").stdout
    assert "results/evaluate/DARTS_V2-2-0/history.csv" in page


@pytest.mark.slow
def test_a_clone_with_an_empty_cache_repeats_the_lock(finished: Project, tmp_path: Path) -> None:
    finished.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    ran = set(clone.repro())
    assert "search@darts-darts-0" not in ran  # its results are in git
    assert ran >= EVALUATIONS  # their weights are not
    assert set(clone.repro("--force", "--single-item", *sorted(STAGES - ran))) == STAGES - ran
    assert (clone.folder / "dvc.lock").read_text() == (finished.folder / "dvc.lock").read_text()


@pytest.mark.slow
def test_what_came_with_git_runs_no_more_when_a_change_is_taken_back(finished: Project, tmp_path: Path) -> None:
    finished.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    before = hashes(clone.folder / "results/search")
    clone.set(search={"epochs": 2})
    clone.run(sys.executable, "-m", "nas", "check")
    assert "search@darts-darts-0" in clone.repro("search@darts-darts-0")
    clone.run("git", "checkout", "-q", "params.yaml")
    clone.run(sys.executable, "-m", "nas", "check")
    assert "search@darts-darts-0" not in clone.repro("search@darts-darts-0")
    assert hashes(clone.folder / "results/search") == before


# A stage declares exactly the parameters that it reads, and all code that it loads


TRACED = {
    "code": [],
    "prepare": [],
    "search": ["darts", "darts", "0"],
    "truth": ["darts"],
    "opinions": ["darts", "darts", "0"],
    "select": ["darts-darts-0"],
    "derive": [],
    "evaluate": ["DARTS_V2", "2", "0"],
    "complexity": [],
    "gradcam": ["DARTS_V2-2-0"],
    "pretrain": ["vgg16_cifar"],
    "slim": ["vgg16_cifar", "0.01"],
    "export": ["DARTS_V2-2-0"],
    "export_slim": ["vgg16_cifar-0.01"],
    "report": [],
    "latency": [],  # the last, for what it measures is not what dvc.lock names
}


@pytest.fixture(scope="module")
def traced(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project, where a genotype is to be selected by perturbation too, and networks to be exported."""
    folder = tmp_path_factory.mktemp("traces") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    project = Project(folder)
    truth = {"spaces": TRACED["truth"], "sample": 3, "channels": 2, "opinions": ["darts"]}
    project.set(
        select={"searches": TRACED["select"]},
        truth=truth,
        export={"networks": TRACED["export"], "slimmed": TRACED["export_slim"]},
        latency={"networks": TRACED["export"], "published": ["DARTS_V2-2"], "batches": [1], "repeats": 2},
    )
    project.repro()
    return project


@pytest.fixture(scope="module")
def traces(traced: Project) -> dict[str, dict]:
    project, found = traced, {}
    for stage, arguments in TRACED.items():
        output = project.folder.parent / f"{stage}.json"
        project.run(sys.executable, "-m", "tests.trace_stage", str(output), stage, *arguments)
        found[stage] = json.loads(output.read_text())
    return found


def leaves(tree: dict, prefix: str = "") -> set[str]:
    found = set()
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found


DECLARED = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def test_the_committed_lock_names_the_stages_that_there_are() -> None:
    locked = dvc_yaml.read(ROOT / "dvc.lock")["stages"]
    told = subprocess.run(
        ["dvc", "stage", "list", "--name-only"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert sorted(locked) == sorted(told.stdout.split())


def test_every_stage_is_traced() -> None:
    assert set(TRACED) == set(DECLARED) == {p.stem for p in (ROOT / "stages").glob("[!_]*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [stage for stage in TRACED if stage != "code"])  # which checks all
def test_params_name_exactly_what_the_stage_reads(stage: str, traces: dict[str, dict]) -> None:
    every = leaves(YAML(typ="safe").load((ROOT / "presets/default.yaml").read_text()))
    declared = {
        leaf
        for name in (str(name).replace("${item.model}", "vgg16_cifar") for name in DECLARED[stage].get("params", []))
        for leaf in every
        if leaf == name or leaf.startswith(f"{name}.")
    }
    assert declared == set(traces[stage]["params"])


@pytest.fixture(scope="module")
def names_alone(finished: Project) -> set[str]:
    """What nas.pipeline loads to check the names in params.yaml, and nas.pipeline itself."""
    program = (
        "import sys; from nas.pipeline.params import load; load(); print(*(n for n in sys.modules if n[:3] == 'nas'))"
    )
    loaded = set(finished.run(sys.executable, "-c", program).stdout.split())
    assert "nas.networks" not in loaded and not any(name.startswith("nas.space.operations.") for name in loaded)
    return loaded | {f"nas.pipeline.{path.stem}" for path in (ROOT / "nas/pipeline").glob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [stage for stage in TRACED if stage != "code"])
def test_a_stage_loads_no_module_that_its_fingerprint_lacks(
    stage: str, traced: Project, traces: dict, names_alone: set[str]
) -> None:
    of_one = {"search": "/darts-darts", "truth": "/darts", "opinions": "/darts-darts", "select": "/darts-darts-0"}
    of_one |= {"evaluate": "/DARTS_V2", "gradcam": "/DARTS_V2-2-0", "export": "/DARTS_V2-2-0"}
    name = of_one.get(stage, "")
    told = json.loads((traced.folder / f"results/code/{stage}{name}.json").read_text())
    loaded = set(traces[stage]["modules"])
    assert len(loaded) > 5 and f"stages.{stage}" in loaded
    assert loaded - set(told["modules"]) <= names_alone


# Killed and run again


def kill_after_a_checkpoint(project: Project, stage: str, *arguments: str, epochs: int) -> None:
    """SIGKILL the stage once its checkpoint holds at least `epochs` epochs; fail if it ends before."""
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    process = subprocess.Popen(command, cwd=project.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    seen = 0
    try:
        for line in process.stdout:
            seen += line.startswith("epoch ")
            if seen == epochs:
                break
        time.sleep(0.02)  # into the middle of the next epoch
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert seen == epochs
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "arguments", "outputs"),
    [
        ("search", ("darts", "darts", "0"), ["results/search/darts-darts-0"]),
        (
            "evaluate",
            ("DARTS_V2", "2", "0"),
            ["results/evaluate/DARTS_V2-2-0", "models/evaluate/DARTS_V2-2-0.safetensors"],
        ),
        ("pretrain", ("vgg16_cifar",), ["results/pretrain/vgg16_cifar", "models/pretrain/vgg16_cifar.safetensors"]),
        (
            "slim",
            ("vgg16_cifar", "0.01"),
            ["results/slim/vgg16_cifar-0.01", "models/slim/vgg16_cifar-0.01.safetensors"],
        ),
    ],
)
def test_killed_twice_it_ends_in_the_same_bits(stage, arguments, outputs, finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    of_network = {"pretrain": {"vgg16_cifar": {"epochs": 6}}, "slim": {"recipes": {"vgg16_cifar": {"epochs": 6}}}}
    project.set(**{stage: of_network.get(stage, {"epochs": 6})})
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]

    def bits() -> dict[str, str]:
        paths = [project.folder / output for output in outputs]
        return {str(p): sha256(p) for path in paths for p in ([path] if path.is_file() else sorted(path.iterdir()))}

    def remove_outputs() -> None:
        for output in outputs:
            path = project.folder / output
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    project.run(*command)
    undisturbed = bits()
    shutil.rmtree(project.folder / "checkpoints")
    remove_outputs()
    kill_after_a_checkpoint(project, stage, *arguments, epochs=2)
    assert list((project.folder / "checkpoints").rglob("*.safetensors"))
    kill_after_a_checkpoint(project, stage, *arguments, epochs=2)
    last = project.run(*command).stdout
    assert "resumed after epoch" in last
    assert "epoch 1/6" not in last
    assert bits() == undisturbed
    remove_outputs()
    finished_before = project.run(*command).stdout
    assert "resumed after epoch 6" in finished_before
    assert "epoch 6/6" not in finished_before
    assert bits() == undisturbed


@pytest.mark.slow
def test_a_killed_dvc_repro_goes_on(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(search={"epochs": 40})
    process = subprocess.Popen(
        ["dvc", "repro", "search@darts-darts-0"],
        cwd=project.folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            break
    subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=True)
    process.wait()
    project.set(search={"epochs": 40})
    output = project.run("dvc", "repro", "search@darts-darts-0").stdout
    assert "resumed after epoch" in output


def test_a_stage_ends_with_the_dvc_that_ran_it(finished: Project, copy_of: Copy) -> None:
    """Or it would overwrite, perhaps hours later, what the next run leaves."""
    project = copy_of(finished)
    project.set(search={"epochs": 4000})
    command = ["dvc", "repro", "search@darts-darts-0"]
    process = subprocess.Popen(command, cwd=project.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    stages = [
        child for child in psutil.Process(process.pid).children(recursive=True) if "stages.search" in child.cmdline()
    ]
    assert stages
    process.kill()
    process.wait()
    assert psutil.wait_procs(stages, timeout=10)[1] == []
    told = (project.folder / "logs/search@darts-darts-0.log").read_text().splitlines()[-1]
    assert "ended, since the dvc that ran it has" in told


def test_the_report_of_a_study_shows_the_networks_that_were_evaluated(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    study = project.folder / "studies/mine"
    shutil.copytree(project.folder / "results", study / "results")
    shutil.copy(ROOT / "studies/report.py", project.folder / "studies/report.py")
    shutil.copy(project.folder / "params.yaml", study / "params.yaml")
    shutil.rmtree(study / "results/evaluate/darts-2-0")
    project.run(sys.executable, "-m", "studies.report", "mine")
    report = accuracies(study)
    assert "| DARTS_V2 | 2 | " in report and "| darts_random_0 | 2 | " in report
    assert "| darts | 2 | " not in report
    for arguments, told in (([], "usage: "), (["yours"], "studies/yours: there is no such study")):
        done = project.run(sys.executable, "-m", "studies.report", *arguments, check=False)
        assert done.returncode == 1 and done.stderr.startswith(f"error: {told}") and done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("study", sorted(path.parts[-3] for path in (ROOT / "studies").glob("*/results/report.md")))
def test_a_study_can_be_repeated_and_its_report_written_anew(study: str, finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    shutil.copytree(ROOT / "studies", project.folder / "studies")
    shutil.copy(ROOT / "studies" / study / "params.yaml", project.folder / "params.yaml")
    assert check(YAML(typ="safe").load((project.folder / "params.yaml").read_text()))
    report = project.folder / "studies" / study / "results/report.md"
    kept = report.read_text()
    report.unlink()
    project.run(sys.executable, "-m", "studies.report", study)
    assert report.read_text() == kept


def test_the_tiny_parameters_are_valid() -> None:
    tree = YAML(typ="safe").load((ROOT / "presets/default.yaml").read_text())
    update(tree, TINY)
    check(tree)
