"""NAS-Bench-201's space through the pipeline: searched by two algorithms, evaluated, and judged by a table."""

import json
from collections.abc import Callable, Iterator

import pytest
from conftest import Project, make_project

from nas.networks.bench201 import Bench201Network
from nas.networks.complexity import count
from nas.networks.network import load
from nas.pipeline import records

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
NONE = SKIPS.replace("skip_connect", "none")
SEARCHES = ("nas_bench_201", "nas_bench_201_by_gdas")
NAMES = (*SEARCHES, "nas_bench_201_random_0", "nas_bench_201_perturbed", "nas_bench_201_epoch_1")
SMALL = {
    "search": {
        "spaces": ["nas_bench_201"],
        "algorithms": ["darts", "gdas", "random"],
        "nodes": 3,
        "layers": 5,
        "epochs": 2,
    },
    "select": {"searches": ["nas_bench_201-darts-0"], "tune_epochs": 0},
    "evaluate": {"genotypes": list(NAMES), "layers": [5], "auxiliary": 0.0, "drop_path": 0.0, "epochs": 1},
    "gradcam": {"networks": ["nas_bench_201-5-0"]},
    "slim": {"models": []},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """What was found stands in the table among others, so that it can be judged."""
    made = make_project(tmp_path_factory.mktemp("bench201") / "project")
    made.set(**SMALL)
    made.repro("derive")
    found = [json.loads((made.folder / f"results/genotypes/{n}.json").read_text())["architecture"] for n in SEARCHES]
    accuracies = dict(zip([SKIPS, NONE, *found], (54.3, 10.0, 91.5, 93.25), strict=False))
    rows = [f"{architecture},777,200,{accuracy}" for architecture, accuracy in accuracies.items()]
    (made.folder / "tables/theirs.csv").write_text("\n".join(["architecture,seed,epochs,accuracy", *rows]) + "\n")
    made.set(truth={"spaces": ["nas_bench_201"], "source": "theirs.csv", "opinions": ["darts"]})
    made.repro("report")
    return made


@pytest.mark.slow
@pytest.mark.end_to_end
def test_what_was_found_is_the_benchmarks(project: Project) -> None:
    results = project.folder / "results"
    costs = records.NetworkCost.read(results / "complexity/table.csv").set_index("genotype")
    for name in NAMES:
        architecture = json.loads((results / f"genotypes/{name}.json").read_text())["architecture"]
        network = Bench201Network(architecture, channels=4, cells=1, in_channels=1)
        assert costs.loc[name, "params"] == count(network, (1, 8, 8)).params
        trained = load(project.folder / f"models/evaluate/{name}-5-0.safetensors")
        assert trained.built_from["genotype"] == {"architecture": architecture}
        assert (results / f"cells/{name}-normal.png").exists() and not (results / f"cells/{name}-reduce.png").exists()
    history = records.SearchHistory.read(results / "search/nas_bench_201-gdas-0/history.csv")
    assert history["entropy_reduce"].isna().all() and history["skips_normal"].between(0, 6).all()


@pytest.mark.slow
@pytest.mark.end_to_end
def test_the_report_judges_it_by_the_table(project: Project) -> None:
    results = project.folder / "results"
    text = (results / "report.md").read_text()
    truth = text.split("\n## Ground truth\n")[1].split("\n## ")[0]
    found = [json.loads((results / f"genotypes/{n}.json").read_text())["architecture"] for n in SEARCHES]
    table = records.GroundTruth.read(results / "truth/nas_bench_201/table.csv").set_index("genotype")["top1"]
    for name, architecture in zip(("darts", "gdas"), found, strict=True):
        (line,) = (row for row in truth.splitlines() if row.startswith(f"| {name} | 1 | "))
        assert f"| {table[architecture]:.2f} | {table.max() - table[architecture]:.2f} |" in line
    opinions = records.Opinion.read(results / "truth/nas_bench_201/opinions/nas_bench_201-darts-0.csv")
    assert set(opinions["genotype"]) == set(table.index)
    linked = [part.split(")")[0] for part in text.split("](")[1:]]
    missing = [path for path in linked if path.endswith((".png", ".gif")) and not (results / path).exists()]
    assert not missing and "figures/evolution-nas_bench_201-normal.gif" in linked


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search": {"nodes": 4}}, "search.nodes: 4 is not allowed: must be 3 for the space nas_bench_201"),
        ({"search": {"layers": 6}}, "search.layers: 6 is not allowed: must be 3·N + 2"),
        ({"search": {"stem": "imagenet"}}, "search.stem: imagenet is not allowed: must be cifar"),
        ({"evaluate": {"layers": [5, 7]}}, "evaluate.layers: 7 is not allowed: must be 3·N + 2"),
        ({"evaluate": {"auxiliary": 0.4}}, "evaluate.auxiliary: 0.4 is not allowed: must be 0.0"),
        ({"evaluate": {"drop_path": 0.2}}, "evaluate.drop_path: 0.2 is not allowed: must be 0.0"),
        (
            {"evaluate": {"genotypes": ["nas_bench_201_all_sep_conv_3x3"]}},
            "evaluate.genotypes[0]: nas_bench_201_all_sep_conv_3x3: unknown operation 'sep_conv_3x3'",
        ),
        (
            {"truth": {"spaces": ["nas_bench_201"]}},
            "truth.spaces[0]: nas_bench_201 is not allowed: its truth is taken from a table",
        ),
    ],
)
def test_a_mistake_ends_in_one_line(given: dict, message: str) -> None:
    from conftest import ROOT, TINY, update
    from ruamel.yaml import YAML

    from nas.pipeline.errors import UserError
    from nas.pipeline.params import check

    tree = YAML(typ="safe").load((ROOT / "presets/default.yaml").read_text())
    for changes in (TINY, SMALL):
        update(tree, changes)
    check(tree)
    update(tree, given)
    with pytest.raises(UserError) as told:
        check(tree)
    assert message in str(told.value) and "\n" not in str(told.value)


@pytest.mark.slow
@pytest.mark.end_to_end
def test_a_table_of_another_cell_is_refused(project: Project, copy_of: Callable) -> None:
    """The other way round: tests/pipeline/test_truth_stage.py."""
    taken = copy_of(project)
    own = "normal: skip_connect(0) + skip_connect(1); reduce: skip_connect(0) + skip_connect(1)"
    table = f"genotype,recipe,seed,top1,params,macs\n{own},short,0,5.0,1,1\n"
    (taken.folder / "tables/theirs.csv").write_text(table)
    taken.set(truth={"spaces": ["nas_bench_201"], "source": "theirs.csv", "opinions": []})
    done = taken.run("dvc", "repro", "truth@nas_bench_201", check=False)
    assert "tables/theirs.csv: is not of NAS-Bench-201" in done.stderr
