"""Every parameter of a stage that trains does something there: changed, it changes what the training leaves.

Or a stage that forgets to hand one on (drop_path, say) would train as if it were not there, and no other test see it.
A parameter that is not named here is missed. `tests/pipeline` holds what a stage reads against what dvc.yaml declares.
"""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from conftest import ROOT, update
from ruamel.yaml import YAML
from safetensors.torch import save_file

import stages.evaluate
import stages.pretrain
import stages.search
import stages.select
import stages.slim
from nas.data.dataset import Prepared
from nas.data.split import Split
from nas.pipeline import code
from nas.pipeline import params as parameters
from nas.pipeline.names import Pretrained, Search, Slimmed, genotype_file
from nas.search.algorithm import make
from nas.space.published import PUBLISHED
from nas.training.context import Context

MODEL = "vgg16_cifar"
NAMES = {
    "search": "search@darts-darts-0",
    "select": "select@darts-darts-0",
    "evaluate": "evaluate@DARTS_V2-3-0",
    "pretrain": f"pretrain@{MODEL}",
    "slim": f"slim@{MODEL}-0.05",
}
ELSEWHERE = {  # which change no result, or need more than this test has; and the tests that hold them
    "resized_crop": "tests/data/test_streaming.py, for it needs images that are streamed",
    "recompute": "tests/networks/test_supernet.py: less memory, the same result",
    "precision": "tests/training/test_training.py",
}
TRAINING = {
    "epochs": 3,
    "batch_size": 6,
    "learning_rate": 0.2,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "gradient_clip": 0.01,
    "crop_padding": 0,
    "flip": True,
    "cutout": 9,
}
CELLS = TRAINING | {"learning_rate_min": 0.05, "stem": "imagenet", "channels": 4}
# Of each stage: of each parameter another value, or with what else has to be otherwise for it to matter.
CHANGES: dict[str, dict[str, Any]] = {
    "search": CELLS
    | {
        "layers": 4,
        "nodes": 2,
        "nesterov": True,
        "alpha_learning_rate": 0.2,
        "alpha_betas": [0.9, 0.99],
        "alpha_weight_decay": 0.5,
    },
    "select": {"tune_epochs": 2, "batches": 1},
    "evaluate": CELLS | {"auxiliary": 0.1, "drop_path": 0.5},
    "pretrain": TRAINING | {"width": 0.25, "cosine_epochs": 4},
    "slim": {
        "gate_epochs": 3,
        "gate_learning_rate": 30.0,
        "gate_momentum": 0.0,
        "epochs": 3,
        "milestones": [1],
        "cosine_start": ({"milestones": []}, 1),
    },
}
SECTIONS = {
    "search": parameters.Search,
    "select": parameters.Select,
    "evaluate": parameters.Evaluate,
    "pretrain": parameters.Pretrain,
    "slim": parameters.SlimRecipe,
}
LISTS = {"spaces", "algorithms", "searches", "genotypes", "seeds"}  # what is trained; a stage's arguments are of them
# Of each algorithm's own parameters another value.
OWN: dict[str, dict[str, Any]] = {
    "gdas": {"tau": 5.0, "tau_min": 0.5},
    "snas": {"tau": 5.0, "tau_min": 0.5},
    "drnas": {"alone": 0, "share": 2},
    "fair_darts": {"zero_one": 1.0},
    "pc_darts": {"partial": 2, "warm_up": 0},
    "smooth_darts": {"epsilon": 0.2, "epsilon_min": 0.1, "attack_steps": 1},
    "darts_minus": {"beta": 0.5},
    "darts_plus": {"stop_skips": 100, "stop_from": 5},
    "r_darts": {"window": 1, "least_ratio": 1e-9, "watch_from": 5},
    "oles": {"count": 2, "patience": 0.0},
}
STOPS = ("darts_plus", "r_darts")  # searches so short do not stop: tests/search/test_algorithms.py
CASES = [(stage, name) for stage, changes in CHANGES.items() for name in changes]


def base() -> dict:
    tree = YAML(typ="safe").load((ROOT / "presets/default.yaml").read_text())
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1, "gradient_clip": 5.0, "crop_padding": 2}
    cells = training | {"channels": 2, "learning_rate_min": 0.0, "cutout": 4}
    changes = {
        # Of the 12 images in each half two batches are full, which `select` validates on.
        "search": cells | {"batch_size": 5, "layers": 3, "nodes": 1, "alpha_learning_rate": 0.05},
        "select": {"tune_epochs": 1},
        "evaluate": cells | {"auxiliary": 0.4, "layers": [3]},
        "pretrain": {MODEL: training | {"width": 0.125, "cosine_epochs": None}},
        "slim": {"recipes": {MODEL: {"gate_epochs": 2, "gate_learning_rate": 10.0, "epochs": 2, "milestones": []}}},
    }
    update(tree, changes)
    return tree


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (32, 3, 36, 36), dtype=torch.uint8, generator=generator)
    labels = torch.arange(32) % 4
    train = Split(images[:24], labels[:24], (torch.arange(24) // 4 % 2).to(torch.uint8))
    return Prepared(
        "random", tuple("abcd"), (3, 36, 36), (0.5,) * 3, (0.25,) * 3, train, Split(images[24:], labels[24:])
    )


@pytest.fixture
def trained(prepared, tmp_path, monkeypatch) -> Callable[..., str]:
    """What a stage's training leaves with the parameters of a tree, as one hash."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/prepared").mkdir(parents=True)
    (tmp_path / "data/prepared/meta.json").write_text("{}")
    path = genotype_file("DARTS_V2")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(PUBLISHED["DARTS_V2"].to_dict()))

    def run(stage: str, tree: dict, algorithm: str = "darts") -> str:
        params = parameters.check(tree)
        name = NAMES[stage].replace("darts-0", f"{algorithm}-0") if stage == "search" else NAMES[stage]
        context = Context(params, name, torch.device("cpu"), prepared, seed=7)
        digest = hashlib.sha256()
        match stage:
            case "search":
                network, made = stages.search.build(context, Search("darts", algorithm, 0))
                history = stages.search.train(context, network, made)
            case "select":
                named = Search("darts", algorithm, 0)
                network, _ = stages.select.finished(context, named)
                _, history = stages.select.choose(context, named)
            case "evaluate":
                network, history = stages.evaluate.train(context, "DARTS_V2", 3)
            case "pretrain":
                network, history = stages.pretrain.train(context, MODEL)
            case "slim":
                slimmed = stages.slim.train(context, Slimmed(MODEL, 0.05))
                network, history = slimmed.network, [*slimmed.history, *slimmed.gate_records]
        digest.update(json.dumps(history).encode())
        for tensor in network.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    return run


@pytest.fixture(scope="module")
def known() -> dict[tuple, str]:
    return {}


@pytest.fixture
def outcome(trained, known) -> Callable[..., str]:
    """`trained`, once for the same: most cases are held against what the base leaves."""

    def run(stage: str, tree: dict, *algorithm: str) -> str:
        key = (stage, json.dumps(tree), *algorithm)
        if key not in known:
            known[key] = trained(stage, tree, *algorithm)
        return known[key]

    return run


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return {}


@pytest.fixture
def pretrained(prepared, weights, trained) -> None:
    """The weights that `slim` begins with, trained once."""
    if not weights:
        context = Context(parameters.check(base()), NAMES["pretrain"], torch.device("cpu"), prepared, seed=7)
        network, _ = stages.pretrain.train(context, MODEL)
        weights |= network.state_dict()
    path = Pretrained(MODEL).model
    path.parent.mkdir(parents=True)
    save_file(weights, path)


def section(tree: dict, stage: str) -> dict:
    return {"pretrain": lambda: tree["pretrain"][MODEL], "slim": lambda: tree["slim"]["recipes"][MODEL]}.get(
        stage, lambda: tree[stage]
    )()


def test_no_parameter_is_missed() -> None:
    for stage, changes in CHANGES.items():
        assert set(changes) == set(SECTIONS[stage].model_fields) - LISTS - set(ELSEWHERE) - (
            {"layers"} if stage == "evaluate" else set()  # a list there
        )
    for where in ELSEWHERE.values():
        assert (ROOT / where.split(",")[0].split(":")[0]).is_file()


@pytest.mark.parametrize(("stage", "name"), CASES)
def test_a_parameter_that_is_changed_changes_what_its_stage_leaves(stage, name, outcome, request) -> None:
    if stage == "slim":
        request.getfixturevalue("pretrained")
    tree, change = base(), CHANGES[stage][name]
    besides, value = change if isinstance(change, tuple) else ({}, change)
    section(tree, stage).update(besides)
    changed = deepcopy(tree)
    assert section(changed, stage)[name] != value
    section(changed, stage)[name] = value
    assert outcome(stage, changed) != outcome(stage, tree)


def test_no_own_parameter_is_missed() -> None:
    sections = parameters.Algorithms.model_fields
    assert {name: set(changes) for name, changes in OWN.items()} == {
        name: set(field.annotation.model_fields) for name, field in sections.items()
    }


@pytest.mark.parametrize(("algorithm", "name"), [(a, name) for a, changes in OWN.items() for name in changes])
def test_an_algorithms_own_parameter_changes_its_search_and_no_other(algorithm, name, outcome) -> None:
    tree = base()
    update(tree, {"search": {"channels": 4}, "algorithms": {"oles": {"count": 1, "patience": 0.99}}})
    changed = deepcopy(tree)
    assert changed["algorithms"][algorithm][name] != OWN[algorithm][name]
    changed["algorithms"][algorithm][name] = OWN[algorithm][name]
    if algorithm not in STOPS:
        assert outcome("search", changed, algorithm) != outcome("search", tree, algorithm)
    before, after = (parameters.check(each) for each in (tree, changed))
    assert getattr(make(algorithm, after.algorithms.of(algorithm)), name) == OWN[algorithm][name]
    for other in ("darts", algorithm):
        depends = code.chosen("search", ["darts", other], before) != code.chosen("search", ["darts", other], after)
        assert depends == (other == algorithm)


def test_the_weights_learn_from_one_half_and_alpha_from_the_other(prepared, trained, monkeypatch) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr("nas.search.loop.search", lambda *arguments, **options: seen.append(arguments) or ([], []))
    trained("search", base())
    _, weights, alpha, validation, *_ = seen[0]
    half = prepared.train.half
    assert torch.equal(weights.images, prepared.train.images[half == 0])
    for batches in (alpha, validation):
        assert torch.equal(batches.images, prepared.train.images[half == 1])
    assert (weights.shuffle, alpha.shuffle, validation.shuffle) == (True, True, False)
    assert (weights.cutout, alpha.cutout, validation.cutout) == (4, 4, 0)
