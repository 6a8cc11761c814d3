"""Names and paths: the parser is the inverse of the writer, and dvc.yaml spells what `names` spells."""

from pathlib import Path

import pytest
from conftest import ROOT, make_project
from hypothesis import given
from hypothesis import strategies as st

from nas.pipeline.names import Label, Network, Pretrained, Search, Slimmed, number, spelled, stage_name
from nas.pipeline.params import load
from nas.space.spaces import SPACES

WORDS = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_.]{0,30}\Z")
NATURALS = st.integers(0, 2**31 - 1)
PENALTIES = st.floats(0, allow_infinity=False, allow_nan=False).map(abs)


@given(WORDS, NATURALS, NATURALS, PENALTIES)
def test_a_key_is_taken_apart_into_what_made_it(name: str, layers: int, seed: int, penalty: float) -> None:
    for made in (Search(name, "pc_darts+gdas", seed), Network(name, layers, seed), Slimmed(name, penalty)):
        assert type(made).of(made.key) == made


@given(PENALTIES)
def test_a_number_has_one_spelling(value: float) -> None:
    assert number(spelled(value)) == value
    assert spelled(value) == str(value)  # as DVC spells a float
    for other in (f"{value:.20e}", f"+{spelled(value)}", f"0{spelled(value)}", str(int(value))):
        with pytest.raises(ValueError, match="is spelled"):
            number(other)


@pytest.mark.parametrize("key", ["darts", "darts-0", "a-", "-a-0", "a-b-0-0", "a-b-x", "", "a-b-0\n"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is no key of the form"):
        Search.of(key)


@pytest.mark.parametrize(
    "name, label",
    [
        ("darts_random_0", ("darts", "random", "0")),
        ("pibconv_f1.5_random_12", ("pibconv_f1.5", "random", "12")),
        ("darts_seed_3", ("darts", "seed", "3")),
        ("darts_by_gdas", ("darts", "by", "gdas")),
        ("darts_by_pc_darts+smooth_darts_seed_1", ("darts_by_pc_darts+smooth_darts", "seed", "1")),
        ("darts_seed_1_epoch_20", ("darts_seed_1", "epoch", "20")),
        ("darts_epoch_20_skips_2", ("darts_epoch_20", "skips", "2")),
        ("darts_perturbed", ("darts", "perturbed", "")),
        ("darts_by_r_darts_seed_1_perturbed", ("darts_by_r_darts_seed_1", "perturbed", "")),
        ("darts_perturbed_all_none", ("darts_perturbed", "all", "none")),
        ("efficientnetv2_all_mb_conv", ("efficientnetv2", "all", "mb_conv")),
        ("DARTS_V2_all_sep_conv_3x3", ("DARTS_V2", "all", "sep_conv_3x3")),
        ("darts_seed_1_all_none_all_a", ("darts_seed_1_all_none", "all", "a")),
        ("darts_random_1_all_a", ("darts_random_1", "all", "a")),
        *(
            (name, (name, "", ""))
            for name in (
                "darts_random_",
                "darts_random_01",
                "darts_random_-1",
                "_random_1",
                "_all_a",
                "x_all_",
                "_perturbed",
                "perturbed",
                "DARTS_V2",
            )
        ),
    ],
)
def test_what_a_genotypes_name_says(name: str, label: tuple[str, str, str]) -> None:
    assert Label.of(name) == label
    assert Label.of(name).name == name


def test_the_genotype_of_the_first_algorithm_and_seed_has_the_spaces_name() -> None:
    algorithms, seeds = ["gdas", "darts"], [4, 0, 12]
    names = [Search("s", name, seed).genotype(algorithms, seeds) for name in algorithms for seed in seeds]
    assert names == ["s", "s_seed_0", "s_seed_12", "s_by_darts", "s_by_darts_seed_0", "s_by_darts_seed_12"]
    for made in ("epoch_3_all_none", "perturbed"):
        assert {Label.of(f"{name}_{made}").root for name in names} == {"s"}


def test_names_of_spaces_can_stand_in_keys() -> None:
    assert [Search.of(Search(space, "darts", 0).key).space for space in SPACES] == list(SPACES)


def test_dvc_spells_every_name_as_we_do(tmp_path: Path) -> None:
    """The stages and outputs that DVC reads out of dvc.yaml, against those that `names` makes of params.yaml."""
    from dvc.repo import Repo

    project = make_project(tmp_path / "project")
    default, added = load(project.folder / "params.yaml").model_dump(), "smooth_darts+darts_minus"
    project.set(
        pretrain={"resnet56": default["pretrain"]["vgg16_cifar"]},
        search={
            "spaces": ["darts", "pibconv_f1.5"],
            "algorithms": ["smooth_darts+darts_minus", "random"],
            "seeds": [3, 0],
        },
        select={"searches": [f"darts-{added}-3", f"pibconv_f1.5-{added}-0"]},
        evaluate={"genotypes": ["DARTS_V2", "pibconv_f1.5_seed_0"], "layers": [2, 11], "seeds": [0, 5]},
        slim={
            "penalties": [0.0, 1e-3, 1e-05, 1.5, 1e22],
            "models": ["vgg16_cifar", "resnet56"],
            "recipes": {"resnet56": default["slim"]["recipes"]["vgg16_cifar"]},
        },
        gradcam={"networks": ["pibconv_f1.5_seed_0-11-5"]},
        export={"networks": ["DARTS_V2-11-0"], "slimmed": ["resnet56-1e-05", "vgg16_cifar-0.0"]},
    )
    params = load(project.folder / "params.yaml")
    with Repo(str(project.folder)) as repo:
        told = {stage.name: {Path(out.def_path) for out in stage.outs} for stage in repo.index.stages}
    spaces, algorithms, seeds = params.search.spaces, params.search.algorithms, params.search.seeds
    expected = {}
    for search in (Search(s, a, n) for s in spaces for a in algorithms for n in seeds):
        outs = {search.results() / n for n in HISTORY + ("alphas.csv",)}
        expected[stage_name("search", *search)] = outs
    for search in map(Search.of, params.select.searches):
        names = ("genotype.json", *HISTORY, "choice.csv")
        expected[f"select@{search.key}"] = {search.selection() / n for n in names}
    for network in params.evaluate.networks():
        outs = {network.model, *(network.results() / n for n in HISTORY)}
        expected[stage_name("evaluate", *network)] = outs
    for backbone in map(Pretrained, params.slim.models):
        outs = {backbone.model, *(backbone.results() / n for n in HISTORY)}
        expected[stage_name("pretrain", *backbone)] = outs
    for slimmed in params.slim.networks():
        outs = {slimmed.model, *(slimmed.results() / n for n in HISTORY + ("channels.csv", "gates.csv"))}
        expected[f"slim@{slimmed.key}"] = outs
    for network in map(Network.of, params.gradcam.networks):
        outs = {network.gradcam() / n for n in ("metrics.json", "predictions.csv", "pictures")}
        expected[f"gradcam@{network.key}"] = outs
    for exported in params.export.exported():
        stage = "export" if isinstance(exported.source, Network) else "export_slim"
        expected[f"{stage}@{exported.key}"] = {exported.folder, exported.results() / "metrics.json"}
    assert len(expected) == 8 + 2 + 8 + 2 + 10 + 1 + 3
    assert {name: outs for name, outs in told.items() if "@" in name} == expected
    assert set(told) - set(expected) == {"code", "prepare", "derive", "complexity", "latency", "report"}


HISTORY = ("metrics.json", "history.csv")


def test_only_params_names_and_dvc_know_where_results_lie() -> None:
    """A path that is spelled twice is spelled differently one day."""
    spelled_elsewhere = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ("nas", "stages", "studies")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name not in ("names.py", "template.py")  # the latter lists files, and imports nothing of ours
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(f'"{folder}' in line for folder in ("results/", "models/", "data/prepared"))
    ]
    assert spelled_elsewhere == []
