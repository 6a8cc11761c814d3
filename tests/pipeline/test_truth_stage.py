"""The stage truth on digits: its tables, a kill, one by one, and mistakes."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Project, make_project

from nas.pipeline import records
from nas.pipeline.files import sha256
from nas.space.enumerate import read, spell

TABLES = ("table.csv", "aliases.csv", "histories.csv", "proxies.csv", "metrics.json")
RECIPE = {"batch_size": 32, "epochs": 2}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two operations and one node: 16 genotypes, of which the first of three cells tells 3 · 4 apart."""
    made = make_project(tmp_path_factory.mktemp("truth") / "project")
    made.set(spaces={"two": ["skip_connect", "nor_conv_1x1"]}, evaluate={"genotypes": []}, gradcam={"networks": []})
    made.set(truth={"spaces": ["two"], "channels": 2, "seeds": [0, 1], "together": 5})
    made.set(truth={"recipes": {"short": RECIPE}})
    made.repro("truth@two")
    return made


def results(project: Project) -> Path:
    return project.folder / "results/truth/two"


def hashes(project: Project) -> list[str]:
    return [sha256(results(project) / name) for name in TABLES]


def section(project: Project) -> str:
    return (project.folder / "results/report.md").read_text().split("\n## Ground truth\n")[1].split("\n## ")[0]


@pytest.mark.slow
def test_every_genotype_is_found_in_the_table(project: Project) -> None:
    table, aliases = (
        kind.read(results(project) / f"{name}.csv")
        for kind, name in ((records.GroundTruth, "table"), (records.Alias, "aliases"))
    )
    assert len(aliases) == 16 and len(table) == 12 * 2 and set(table["seed"]) == {0, 1}
    assert set(aliases["trained_as"]) == set(table["genotype"])
    assert all(spell(read(text)) == text for text in aliases["genotype"])
    history = records.TruthHistory.read(results(project) / "histories.csv")
    last = history[history["epoch"] == 2].set_index(["genotype", "seed"])["test_top1"]
    assert (table.set_index(["genotype", "seed"])["top1"] == last).all() and len(history) == 48
    told = json.loads((results(project) / "metrics.json").read_text())
    assert (told["space"], told["genotypes"], told["distinct"]) == (16, 16, 12)
    means = table.groupby("genotype")["top1"].mean()
    assert told["best_top1"] == pytest.approx(means.max()) and means[told["best"]] == means.max()
    assert told["mean_top1"] == pytest.approx(means.mean())
    assert table["params"].nunique() > 1 and table["top1"].nunique() > 1


@pytest.mark.slow
def test_a_kill_costs_no_byte(project: Project) -> None:
    before = hashes(project)
    shutil.rmtree(project.folder / "checkpoints")
    shutil.rmtree(results(project))
    command = [sys.executable, "-m", "stages.truth", "two"]
    killed = subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL)
    while killed.poll() is None and len(list((project.folder / "checkpoints").rglob("*.safetensors"))) < 3:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not results(project).exists()
    done = project.run(*command).stdout
    assert "resumed after epoch 2" in done
    assert hashes(project) == before


@pytest.mark.slow
def test_one_by_one_is_the_same_but_for_rounding(project: Project) -> None:
    fused = records.GroundTruth.read(results(project) / "table.csv")
    histories = records.TruthHistory.read(results(project) / "histories.csv")
    project.set(fast="off", truth={"seeds": [0]})
    project.run(sys.executable, "-m", "stages.truth", "two")
    alone = records.TruthHistory.read(results(project) / "histories.csv")
    of_seed = histories[histories["seed"] == 0]
    assert list(alone["genotype"]) == list(of_seed["genotype"])
    for one, other in zip(alone["train_loss"], of_seed["train_loss"], strict=True):
        assert math.isclose(one, other, rel_tol=1e-3)
    costs = records.GroundTruth.read(results(project) / "table.csv")[["genotype", "params", "macs"]]
    assert (costs.to_numpy() == fused[fused["seed"] == 0][["genotype", "params", "macs"]].to_numpy()).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"truth": {"spaces": ["darst"]}}, "truth.spaces[0]: "),
        ({"truth": {"spaces": ["darts"]}, "search": {"nodes": 4}}, "truth.spaces[0]: darts is not allowed: it has "),
        ({"truth": {"spaces": ["s1"]}}, "truth.spaces[0]: nodes: 1 is not allowed: must be 4"),
        ({"truth": {"recipes": {}}}, "truth.recipes: {} is not allowed: must not be empty"),
        ({"truth": {"recipes": {"short": {"epoch": 1}}}}, "truth.recipes.short.epoch: "),
        ({"truth": {"recipes": {"short": {"epochs": 0}}}}, "truth.recipes.short.epochs: 0 is not allowed"),
        (
            {"truth": {"spaces": ["s2", "s4"], "source": "a.csv"}},
            "source: a.csv is the truth of one space, but spaces ",
        ),
        ({"truth": {"spaces": ["s2"], "source": "../a.csv"}}, "source: ../a.csv is not allowed: must be the name of "),
        ({"truth": {"spaces": ["s2"], "source": "a.pth"}}, "source: a.pth is not allowed: must be the name of a .csv"),
        ({"truth": {"spaces": ["s2"]}, "devices": 2}, "truth.spaces: s2 is not allowed: must be empty with devices"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    from conftest import ROOT, TINY, update
    from ruamel.yaml import YAML

    from nas.pipeline.errors import UserError
    from nas.pipeline.params import check

    tree = YAML(typ="safe").load((ROOT / "presets/default.yaml").read_text())
    update(tree, TINY)
    if changes.get("truth", {}).get("recipes") == {}:
        tree["truth"]["recipes"] = {}
    else:
        update(tree, changes)
    with pytest.raises(UserError) as told:
        check(tree)
    assert message in str(told.value) and "\n" not in str(told.value)


@pytest.mark.slow
def test_what_others_trained_is_taken_as_it_is(project: Project, copy_of: Callable) -> None:
    taken = copy_of(project)
    before = {name: (results(taken) / name).read_bytes() for name in TABLES}
    theirs = taken.folder / "tables/theirs.csv"
    theirs.write_bytes(before["table.csv"])
    shutil.rmtree(taken.folder / "checkpoints")
    taken.set(truth={"source": "theirs.csv"})
    assert "truth@two" in taken.changed()
    assert "epoch" not in taken.run("dvc", "repro", "truth@two").stdout
    assert {n for n in TABLES if (results(taken) / n).read_bytes() == before[n]} == {"table.csv", "aliases.csv"}
    assert len((results(taken) / "histories.csv").read_text().splitlines()) == 1  # the header
    told = json.loads((results(taken) / "metrics.json").read_text())
    assert told.pop("device") == "not trained here: tables/theirs.csv"
    assert told == {k: v for k, v in json.loads(before["metrics.json"]).items() if k != "device"}
    changed = taken.changed()
    theirs.write_text(before["table.csv"].decode().replace("nor_conv_1x1", "nor_conv_3x3"))
    assert taken.changed() - changed == {"truth@two"}
    done = taken.run("dvc", "repro", "truth@two", check=False)
    assert done.returncode and done.stderr.startswith("error: truth: tables/theirs.csv: normal: ")
    assert "nor_conv_3x3(1) is no genotype of two with search.nodes: 1" in done.stderr
    benchmark = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"
    theirs.write_text(f"architecture,seed,epochs,accuracy\n{benchmark},777,200,50.0\n")
    done = taken.run("dvc", "repro", "truth@two", check=False)
    assert "tables/theirs.csv: is of NAS-Bench-201, not of two; list nas_bench_201 as the space" in done.stderr
    taken.set(truth={"spaces": ["nas_bench_201"]})
    taken.run("dvc", "repro", "truth@nas_bench_201")
    told = json.loads((taken.folder / "results/truth/nas_bench_201/metrics.json").read_text())
    assert (told["space"], told["genotypes"], told["best_top1"]) == (15625, 1, 50.0)
    taken.set(truth={"spaces": ["two"]})
    theirs.unlink()
    done = taken.run("dvc", "repro", "truth@two", check=False)
    assert "truth.source: tables/theirs.csv cannot be read (No such file or directory)" in done.stderr


@pytest.mark.slow
def test_a_search_is_judged_and_its_supernet_asked(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.folder, tmp_path / "project", symlinks=True)
    judged = Project(tmp_path / "project")
    judged.set(search={"spaces": ["two"], "algorithms": ["darts", "random"], "seeds": [0, 1], "epochs": 2})
    judged.set(truth={"opinions": ["darts"]}, slim={"models": []}, select={"searches": []}, export={"networks": []})
    run = judged.repro("report")
    assert {f"opinions@two-darts-{seed}" for seed in (0, 1)} < set(run)
    table = records.GroundTruth.read(results(judged) / "table.csv")
    for seed in (0, 1):
        asked = records.Opinion.read(results(judged) / f"opinions/two-darts-{seed}.csv")
        assert set(asked["genotype"]) == set(table["genotype"]) and asked["top1"].nunique() > 1
    assert "| darts | its supernet | " in section(judged) and "| synflow | untrained | " in section(judged)
    judged.set(truth={"opinions": []})
    assert judged.repro("report") == ["code", "report"] and "its supernet" not in section(judged)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spaces": [], "opinions": ["random"]}, "truth.opinions[0]: unknown algorithm 'random' (known: darts)"),
        ({"spaces": [], "opinions": ["gdas"]}, "truth.opinions[0]: unknown algorithm 'gdas'"),
        ({"opinions": ["darts"]}, "params.yaml: truth.spaces[0]: two is searched by nothing, but truth.opinions asks"),
    ],
)
def test_supernets_that_there_are_not(given: dict, message: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.set(spaces={"two": ["skip_connect", "nor_conv_1x1"]}, truth={"spaces": ["two"]} | given)
    done = project.run(sys.executable, "-m", "nas", "check", check=False)
    assert done.returncode == 1 and message in done.stderr
