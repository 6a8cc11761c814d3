"""nas.pipeline.params: what params.yaml may say, and what a user is told who says something else."""

import difflib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT
from ruamel.yaml import YAML

from nas.pipeline import params
from nas.pipeline.errors import UserError, nearest, unknown
from nas.pipeline.params import PRESETS, Params, check, load
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES, SearchSpace
from stages.report import in_use

DEFAULT = (ROOT / "presets/default.yaml").read_text()
SECTIONS = ("data", "search", "truth", "select", "evaluate", "pretrain", "slim", "gradcam", "export", "latency")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def read(text):
    return YAML(typ="safe").load(text)


def tree_with(key, value):
    """The default tree with `value` at a dotted key."""
    tree = read(DEFAULT)
    *sections, last = key.split(".")
    holder = tree
    for section in sections:
        holder = holder[section]
    holder[last] = value
    return tree


def told(run):
    """The message of the UserError that `run` ends in, which must be one line."""
    with pytest.raises(UserError) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    assert "Input should" not in message
    return message


def refused(key, value):
    return told(lambda: check(tree_with(key, value)))


def told_of_text(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = told(lambda: load(path))
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# What is allowed


def test_load_reads_what_the_file_says(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(DEFAULT)
    assert load(path).model_dump() == read(DEFAULT)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / PRESETS).glob("*.yaml")))
def test_every_preset_is_valid(name, monkeypatch, tmp_path):
    path = tmp_path / "params.yaml"
    params.preset(name, path)
    expected, overlays = read(DEFAULT), []
    while name:
        overlays.append(read((ROOT / PRESETS / f"{name}.yaml").read_text()))
        name = overlays[-1].pop("extends", None)
    for overlay in reversed(overlays):
        for key, value in overlay.items():
            merged = isinstance(value, dict) and key != "pretrain"  # whose recipes are replaced all together
            expected[key] = expected[key] | value if merged else value
    assert load(path).model_dump() == expected


def test_networks_are_the_product_of_the_lists():
    tree = read(DEFAULT)
    tree["evaluate"] |= {"genotypes": ["DARTS_V2", "darts"], "layers": [2, 3], "seeds": [0, 1]}
    tree["gradcam"]["networks"] = tree["export"]["networks"] = ["darts-3-1"]
    expected = ["DARTS_V2-2-0", "DARTS_V2-2-1", "DARTS_V2-3-0", "DARTS_V2-3-1"]
    assert [network.key for network in check(tree).evaluate.networks()] == [
        *expected,
        "darts-2-0",
        "darts-2-1",
        "darts-3-0",
        "darts-3-1",
    ]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("search.learning_rate", "1", 1.0),
        ("search.learning_rate", "1e-4", 1e-4),
        ("search.learning_rate", "5E-1", 0.5),
        ("search.weight_decay", "0", 0.0),
        ("search.momentum", "0", 0.0),
        ("evaluate.auxiliary", "0", 0.0),
        ("search.batch_size", "2", 2),
        ("search.spaces", "[pibconv, darts]", ["pibconv", "darts"]),
        ("data.image_size", "1", 1),
        ("data.train_limit", "", None),
        ("precision", "bf16", "bf16"),
        ("seed", "0", 0),
        ("search.flip", "True", True),
        ("search.learning_rate_min", "0.1", 0.1),
        ("gradcam.networks", "[]", []),
        ("export.networks", "[]", []),
        ("export.licence", "CC BY 4.0", "CC BY 4.0"),
        ("export.calibration", "", None),
        ("latency.networks", "[DARTS_PseudoInvBn-3-0]", ["DARTS_PseudoInvBn-3-0"]),
        ("latency.published", "[DARTS_V2-20]", ["DARTS_V2-20"]),
        ("select.searches", "[pibconv-darts-0]", ["pibconv-darts-0"]),
        ("select.tune_epochs", "0", 0),
        ("gradcam.classes", '["0", "yes"]', ["0", "yes"]),
        ("data.root", '"5"', "5"),
    ],
)
def test_a_value_that_is_allowed(key, text, value, tmp_path):
    *sections, last = key.split(".")
    indent = "  " if sections else ""
    lines, here, replace = [], "", False
    for line in DEFAULT.splitlines():
        if replace and line.startswith(f"{indent}- "):
            continue  # an item of the list that was replaced
        here = line[:-1] if line[:-1] in SECTIONS and line.endswith(":") else here
        replace = here == "".join(sections) and line.startswith(f"{indent}{last}:")
        lines.append(f"{indent}{last}: {text}" if replace else line)
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(lines) + "\n")
    found = load(path).model_dump()
    for name in key.split("."):
        found = found[name]
    assert found == value
    assert type(found) is type(value)
    assert lines != DEFAULT.splitlines() or value == 0


def test_lists_may_be_empty_and_the_pipeline_then_only_summarises():
    tree = read(DEFAULT)
    tree["search"]["spaces"] = []
    tree["evaluate"] |= {"genotypes": [], "layers": [], "seeds": []}
    tree["gradcam"]["networks"] = tree["export"]["networks"] = []
    assert check(tree).evaluate.networks() == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("export.networks", ["darts-9-0"], "unknown network 'darts-9-0'; did you mean darts-"),
        ("export.networks", ["vgg16_cifar-0.0"], "unknown network 'vgg16_cifar-0.0'"),
        ("export.slimmed", ["vgg16_cifar-0.1"], "unknown network 'vgg16_cifar-0.1'; did you mean vgg16_cifar-0."),
        ("export.slimmed", ["darts-3-0"], "unknown network 'darts-3-0'"),
        ("latency.networks", ["darts-3-0"], "unknown network 'darts-3-0'; did you mean DARTS_PseudoInvBn-3-0?"),
        ("latency.published", ["darts-20"], "darts-20 is not allowed: must be GENOTYPE-LAYERS, of DARTS_V1, DARTS_V2"),
        ("latency.published", ["DARTS_V2"], "DARTS_V2 is not allowed: must be GENOTYPE-LAYERS, of DARTS_V1, DARTS_V2"),
        ("latency.published", ["DARTS_V2-0"], "DARTS_V2-0 is not allowed: must be GENOTYPE-LAYERS"),
    ],
)
def test_what_is_exported_and_measured_must_be_there(key, value, message):
    assert refused(key, value).startswith(f"params.yaml: {key}[0]: {message}")


def test_slimmed_networks_are_exported_and_measured_too():
    tree = tree_with("export.slimmed", ["vgg16_cifar-0.001"])
    tree["latency"]["networks"] = ["vgg16_cifar-0.001", "DARTS_PseudoInvBn-3-0"]
    tree["latency"]["published"] = ["DARTS_V2-20"]
    found = check(tree)
    assert [network.key for network in found.export.exported()] == ["DARTS_PseudoInvBn-3-0", "vgg16_cifar-0.001"]
    assert found.timed_genotypes() == ["DARTS_PseudoInvBn", "DARTS_V2"]


def test_params_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        check(read(DEFAULT)).seed = 1


# Values that are refused


NO_INTEGER = ["one", "1", "", 1.0, 1.5, True, None, [1], {"a": 1}]
INTEGERS = {
    "seed": 0,
    "threads": 1,
    "devices": 1,
    "nodes": 1,
    "data.image_size": 1,
    "data.train_limit": 4,
    "data.test_limit": 1,
    "search.channels": 1,
    "search.layers": 3,
    "search.nodes": 1,
    "search.epochs": 1,
    "search.batch_size": 2,
    "search.crop_padding": 0,
    "search.cutout": 0,
    "algorithms.drnas.alone": 0,
    "algorithms.drnas.share": 1,
    "algorithms.pc_darts.partial": 1,
    "algorithms.pc_darts.warm_up": 0,
    "algorithms.smooth_darts.attack_steps": 0,
    "algorithms.darts_plus.stop_skips": 1,
    "algorithms.darts_plus.stop_from": 1,
    "algorithms.r_darts.window": 1,
    "algorithms.r_darts.watch_from": 1,
    "algorithms.oles.count": 1,
    "truth.layers": 1,
    "truth.channels": 1,
    "truth.sample": 1,
    "truth.together": 1,
    "truth.recipes.short.epochs": 1,
    "truth.recipes.short.batch_size": 2,
    "truth.recipes.short.crop_padding": 0,
    "truth.recipes.short.cutout": 0,
    "select.tune_epochs": 0,
    "select.batches": 1,
    "evaluate.channels": 1,
    "evaluate.epochs": 1,
    "evaluate.batch_size": 2,
    "evaluate.crop_padding": 0,
    "evaluate.cutout": 0,
    "pretrain.vgg16_cifar.epochs": 1,
    "pretrain.vgg16_cifar.batch_size": 2,
    "pretrain.vgg16_cifar.crop_padding": 0,
    "pretrain.vgg16_cifar.cutout": 0,
    "slim.recipes.vgg16_cifar.gate_epochs": 1,
    "slim.recipes.vgg16_cifar.epochs": 1,
    "gradcam.index": 0,
    "gradcam.images": 1,
    "export.calibration": 1,
    "latency.repeats": 1,
}
BOUND = ("data.test_resize", "pretrain.vgg16_cifar.cosine_epochs", "slim.recipes.vgg16_cifar.cosine_start")  # by others
MAY_BE_NULL = (
    *(
        "data.image_size",
        "data.test_resize",
        "data.train_limit",
        "data.test_limit",
        "truth.sample",
        "select.batches",
        "gradcam.images",
    ),
    *(
        "search.gradient_clip",
        "truth.recipes.short.gradient_clip",
        "evaluate.gradient_clip",
        "pretrain.vgg16_cifar.gradient_clip",
    ),
    "export.calibration",
    *("pretrain.vgg16_cifar.cosine_epochs", "slim.recipes.vgg16_cifar.cosine_start"),
)
NO_NUMBER = ["0.1", "1e-4", "", True, False, None, [0.1], {"a": 1}]
POSITIVE = [
    "search.learning_rate",
    "search.gradient_clip",
    "search.alpha_learning_rate",
    "algorithms.gdas.tau",
    "algorithms.gdas.tau_min",
    "algorithms.snas.tau",
    "algorithms.snas.tau_min",
    "algorithms.r_darts.least_ratio",
    "truth.recipes.short.learning_rate",
    "truth.recipes.short.gradient_clip",
    "evaluate.learning_rate",
    "evaluate.gradient_clip",
    "pretrain.vgg16_cifar.width",
    "pretrain.vgg16_cifar.learning_rate",
    "pretrain.vgg16_cifar.gradient_clip",
    "slim.recipes.vgg16_cifar.gate_learning_rate",
    "gradcam.removed",
]
NOT_NEGATIVE = [
    "search.learning_rate_min",
    "search.weight_decay",
    "search.alpha_weight_decay",
    "algorithms.fair_darts.zero_one",
    "algorithms.smooth_darts.epsilon",
    "algorithms.smooth_darts.epsilon_min",
    "algorithms.darts_minus.beta",
    "truth.recipes.short.learning_rate_min",
    "truth.recipes.short.weight_decay",
    "evaluate.learning_rate_min",
    "evaluate.weight_decay",
    "evaluate.auxiliary",
    "pretrain.vgg16_cifar.weight_decay",
]
FRACTIONS = [
    *(
        "search.momentum",
        "algorithms.oles.patience",
        "truth.recipes.short.momentum",
        "evaluate.momentum",
        "evaluate.drop_path",
        "pretrain.vgg16_cifar.momentum",
        "slim.recipes.vgg16_cifar.gate_momentum",
    ),
]


def shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value)


@pytest.mark.parametrize("key", [*INTEGERS, *BOUND])
def test_what_is_no_integer(key):
    for value in NO_INTEGER:
        if value is not None or key not in MAY_BE_NULL:
            assert refused(key, value) == f"params.yaml: {key}: {shown(value)} is not allowed: must be an integer"


@pytest.mark.parametrize(("key", "least"), INTEGERS.items())
def test_an_integer_out_of_range(key, least):
    check(tree_with(key, least))
    for value in (least - 1, -5):
        message = f"params.yaml: {key}: {value} is not allowed: must be at least {least}"
        assert refused(key, value) == message
    most = 1024 if key in ("threads", "devices", "nodes") else 2**31 - 1
    assert refused(key, 10**30) == f"params.yaml: {key}: {10**30} is not allowed: must be at most {most}"


@pytest.mark.parametrize("section", ["search", "evaluate", "pretrain.vgg16_cifar"])
def test_a_batch_that_is_too_small_for_all_processes(section):
    check(read(DEFAULT) | {"devices": 3, "nodes": 2})
    tree = tree_with(f"{section}.batch_size", 5) | {"devices": 3, "nodes": 2}
    message = told(lambda: check(tree))
    assert message == (
        f"params.yaml: {section}.batch_size: 5 is not allowed: must be at least devices · nodes (6), "
        "which share each batch"
    )


@pytest.mark.parametrize("key", POSITIVE + NOT_NEGATIVE + FRACTIONS)
def test_what_is_no_number(key):
    for value in NO_NUMBER:
        if value is not None or key not in MAY_BE_NULL:
            assert refused(key, value) == f"params.yaml: {key}: {shown(value)} is not allowed: must be a number"
    for value in (float("nan"), float("inf")):
        assert refused(key, value) == f"params.yaml: {key}: {value} is not allowed: must be a finite number"


@pytest.mark.parametrize("key", POSITIVE + NOT_NEGATIVE)
def test_a_number_that_float32_cannot_hold(key):
    for value in (1e39, 1e308) if key != "gradcam.removed" else ():  # which is below 1
        assert refused(key, value) == f"params.yaml: {key}: {value} is not allowed: must be at most 3.402823e+38"


@pytest.mark.parametrize("key", POSITIVE)
def test_a_number_that_is_not_positive(key):
    for value in (0, 0.0, -1e-9):
        assert refused(key, value) == f"params.yaml: {key}: {value} is not allowed: must be greater than 0"


@pytest.mark.parametrize("key", NOT_NEGATIVE + FRACTIONS)
def test_a_number_that_is_negative(key):
    for value in (-1, -1e-9):
        assert refused(key, value) == f"params.yaml: {key}: {value} is not allowed: must be at least 0"


@pytest.mark.parametrize("key", [*FRACTIONS, "gradcam.removed"])
def test_a_fraction_of_one_or_more(key):
    for value in (1, 1.0, 7.5):
        assert refused(key, value) == f"params.yaml: {key}: {value} is not allowed: must be less than 1"


def numbers_of(tree, section=""):
    """The dotted keys of all numbers in a tree."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers_of(value, f"{section}{key}.")
        elif type(value) in (int, float):
            yield f"{section}{key}"


def test_every_number_is_tested():
    numbers = {key for key in numbers_of(read(DEFAULT)) if "." in key}
    tested = {*INTEGERS, *BOUND, *POSITIVE, *NOT_NEGATIVE, *FRACTIONS}
    assert numbers <= tested
    assert tested - numbers <= {"seed", "threads", "devices", "nodes", *MAY_BE_NULL}


@pytest.mark.parametrize(
    "key",
    ["search.flip", "search.nesterov", "evaluate.flip", "pretrain.vgg16_cifar.flip", "data.stream"],
)
@pytest.mark.parametrize("value", [0, 1, "no", "true", None])
def test_what_is_not_true_or_false(key, value):
    assert refused(key, value) == f"params.yaml: {key}: {shown(value)} is not allowed: must be true or false"


@pytest.mark.parametrize("value", [5, None, True])
def test_what_is_no_text(value):
    end = f"{shown(value)} is not allowed: must be text (in quotes if it looks like a number)"
    assert refused("data.root", value) == f"params.yaml: data.root: {end}"
    assert refused("gradcam.classes", ["a", value]) == f"params.yaml: gradcam.classes[1]: {end}"


def test_an_empty_text():
    assert refused("data.root", "") == "params.yaml: data.root: '' is not allowed: must not be empty"


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("device", "gpu", "'auto', 'cpu' or 'cuda'"),
        ("device", "Cuda", "'auto', 'cpu' or 'cuda'; did you mean cuda?"),
        ("device", 0, "'auto', 'cpu' or 'cuda'"),
        ("precision", 16, "32 or 'bf16'"),
        ("precision", "32", "32 or 'bf16'"),
        ("precision", "fp16", "32 or 'bf16'; did you mean bf16?"),
        ("fast", False, "'auto', 'graph' or 'off'"),
        ("search.stem", "imagnet", "'cifar' or 'imagenet'; did you mean imagenet?"),
        ("evaluate.stem", None, "'cifar' or 'imagenet'"),
        (
            "gradcam.method",
            "gradcam",
            "'GradCAM', 'GradCAM++', 'HiResCAM', 'ScoreCAM', 'EigenCAM' or 'LayerCAM'; did you mean GradCAM?",
        ),
        ("data.name", "digit", "'digits', 'fashion_mnist', 'cifar10', 'cifar100' or 'folder'; did you mean digits?"),
        (
            "data.name",
            "CIFAR100",
            "'digits', 'fashion_mnist', 'cifar10', 'cifar100' or 'folder'; did you mean cifar100?",
        ),
        ("data.name", "imagenet", "'digits', 'fashion_mnist', 'cifar10', 'cifar100' or 'folder'"),
    ],
)
def test_a_word_that_is_not_among_those_allowed(key, value, allowed):
    assert refused(key, value) == f"params.yaml: {key}: {shown(value)} is not allowed: must be {allowed}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5], ": [0.5] must be a list of two numbers: [0.5, 0.999]"),
        ([0.5, 0.9, 0.99], ": [0.5, 0.9, 0.99] must be a list of two numbers: [0.5, 0.999]"),
        ([], ": [] must be a list of two numbers: [0.5, 0.999]"),
        ([0.5, 1.0], "[1]: 1.0 is not allowed: must be less than 1"),
        ([-0.1, 0.9], "[0]: -0.1 is not allowed: must be at least 0"),
        ([0.5, "x"], "[1]: 'x' is not allowed: must be a number"),
        (0.5, ": 0.5 is not allowed: must be a list: [a, b]"),
    ],
)
def test_alpha_betas(value, message):
    assert refused("search.alpha_betas", value) == f"params.yaml: search.alpha_betas{message}"


@pytest.mark.parametrize("section", ["search", "evaluate"])
def test_the_smallest_learning_rate_may_not_exceed_the_first(section):
    message = f"params.yaml: {section}.learning_rate_min: 0.2 is not allowed: must not exceed learning_rate (0.1)"
    assert refused(f"{section}.learning_rate_min", 0.2) == message


SHARES = ["search.resized_crop", "evaluate.resized_crop", "pretrain.vgg16_cifar.resized_crop"]


@pytest.mark.parametrize("key", SHARES)
@pytest.mark.parametrize(
    ("value", "allowed"), [(True, "a number"), (0, "greater than 0"), (1.5, "at most 1.0"), ("0.08", "a number")]
)
def test_what_is_no_share_of_an_area(key, value, allowed):
    assert refused(key, value) == f"params.yaml: {key}: {shown(value)} is not allowed: must be {allowed}"


@pytest.mark.parametrize(
    ("key", "changed", "missing"),
    [("pretrain", {}, "pretrain"), ("slim.recipes", {}, "slim.recipes")],
)
def test_every_network_that_is_slimmed_needs_recipes_of_its_own(key, changed, missing):
    message = f"params.yaml: slim.models[0]: vgg16_cifar has no recipe: write {missing}.vgg16_cifar, as "
    assert refused(key, changed) == message + "presets/dnal_cifar10.yaml does"


def test_a_recipe_of_no_network():
    tree = read(DEFAULT)
    tree["pretrain"]["resnet57"] = tree["pretrain"]["vgg16_cifar"]
    assert told(lambda: check(tree)).startswith(
        "params.yaml: pretrain: unknown network 'resnet57'; did you mean resnet56?"
    )
    tree = read(DEFAULT)
    tree["pretrain"]["vgg16_cifar"]["epoch"] = 1
    message = "params.yaml: pretrain.vgg16_cifar.epoch: unknown key 'epoch'; did you mean epochs?"
    assert told(lambda: check(tree)).startswith(message)


def test_a_schedule_is_one_of_two():
    message = "params.yaml: slim.recipes.vgg16_cifar.cosine_start: 3 is not allowed: must be null with milestones"
    assert refused("slim.recipes.vgg16_cifar.cosine_start", 3).startswith(message)
    message = "params.yaml: pretrain.vgg16_cifar.cosine_epochs: 5 is not allowed: must be at least epochs (6)"
    assert refused("pretrain.vgg16_cifar.cosine_epochs", 5) == message


def test_an_overlay_replaces_the_recipes_of_all_networks(tmp_path):
    """A network that an overlay does not name is gone: no preset takes over the default's little one."""
    tree = load_preset("dnal_imagenet", tmp_path)
    networks = ["vgg16_bn", "resnet50", "mobilenet_v2", "proxylessnas"]
    assert list(tree["pretrain"]) == list(tree["slim"]["recipes"]) == networks


def load_preset(name, folder):
    """The tree that `python -m nas preset` writes."""
    params.preset(name, folder / "params.yaml")
    return read((folder / "params.yaml").read_text())


def test_only_a_folder_streams():
    message = "params.yaml: data.stream: true is not allowed: must be false for digits; folder alone streams"
    assert refused("data.stream", True) == message


def test_the_temperature_falls():
    message = "params.yaml: algorithms.gdas.tau_min: 11.0 is not allowed: must not exceed tau (10.0)"
    assert refused("algorithms.gdas.tau_min", 11.0) == message


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"momentum": 0.0}, "it needs a momentum above 0"),
        ({"algorithms": ["darts", "darts_second"]}, "darts_second looks ahead by the usual momentum"),
    ],
)
def test_nesterov_needs_a_momentum_and_no_second_order(changes, why):
    tree = read(DEFAULT)
    tree["search"] |= {"nesterov": True} | changes
    assert told(lambda: check(tree)) == f"params.yaml: search.nesterov: true is not allowed: {why}"
    check(tree | {"search": tree["search"] | {"momentum": 0.9, "algorithms": ["gdas"]}})


@pytest.mark.parametrize(
    "name, why",
    [
        ("GDAS", "unknown algorithm 'GDAS'; did you mean gdas?"),
        ("darts+gadas", "unknown algorithm 'gadas'; did you mean gdas?"),
        ("random+darts", "random+darts is not allowed: random stands alone"),
        ("gdas+gdas", "gdas+gdas is not allowed: it names one algorithm twice"),
        ("gdas+darts", "gdas+darts is not allowed: gdas and darts do not go together, each mixes in its own way"),
    ],
)
def test_what_is_no_algorithm_is_refused(name, why):
    assert refused("search.algorithms", [name]).startswith(f"params.yaml: search.algorithms[0]: {why}")


@pytest.mark.parametrize("algorithms", [["darts"], ["random", "gdas"], ["random"]])
def test_parameters_in_use_are_those_that_an_algorithm_heeds(algorithms):
    used = in_use(check(tree_with("search.algorithms", algorithms)))
    assert "spaces" not in used and used["algorithms"] == algorithms and used["nodes"] == 2
    assert ("gdas.tau" in used) == ("gdas" in algorithms)
    assert ("epochs" in used) == (algorithms != ["random"])


def test_test_images_are_resized_to_no_less_than_is_cut_out_of_them():
    message = "params.yaml: data.test_resize: 256 is not allowed: "
    assert refused("data.test_resize", 256) == message + "it needs image_size, which is cut out of it"
    data = read(DEFAULT)["data"] | {"name": "folder", "image_size": 257, "test_resize": 256}
    expected = message + "must be at least image_size (257), which is cut out of it"
    assert told(lambda: check(read(DEFAULT) | {"data": data})) == expected
    check(read(DEFAULT) | {"data": data | {"image_size": 256}})


@pytest.mark.parametrize("section", ["search", "evaluate"])
def test_a_resized_crop_needs_streamed_images_and_a_size(section):
    tree = read(DEFAULT)
    tree[section] |= {"resized_crop": 0.08, "crop_padding": 0}
    for data in ({}, {"name": "folder", "image_size": 32}, {"name": "folder", "stream": True}):
        tree["data"] = read(DEFAULT)["data"] | data
        assert told(lambda: check(tree)).startswith(
            f"params.yaml: {section}.resized_crop: 0.08 is not allowed: it needs"
        )
    tree["data"] |= {"name": "folder", "image_size": 32, "stream": True}
    check(tree)
    tree[section]["crop_padding"] = 2
    assert told(lambda: check(tree)).startswith(
        f"params.yaml: {section}.crop_padding: 2 is not allowed: must be 0 with"
    )


@pytest.mark.parametrize(
    ("key", "value", "twice"),
    [
        ("search.spaces", ["darts", "pibconv", "darts"], "darts"),
        ("select.searches", ["darts-darts-0", "darts-darts-0"], "darts-darts-0"),
        ("evaluate.genotypes", ["darts", "darts"], "darts"),
        ("evaluate.layers", [2, 3, 3], "3"),
        ("evaluate.seeds", [0, 0], "0"),
        ("gradcam.networks", ["DARTS_V2-3-0", "DARTS_V2-3-0"], "DARTS_V2-3-0"),
        ("gradcam.classes", ["0", "1", "1"], "1"),
    ],
)
def test_a_list_that_names_something_twice(key, value, twice):
    assert refused(key, value) == f"params.yaml: {key}: {value} names {twice} twice: name each once"


@pytest.mark.parametrize(
    "key",
    ["search.spaces", "select.searches", "evaluate.genotypes", "evaluate.layers", "evaluate.seeds", "gradcam.classes"],
)
@pytest.mark.parametrize("value", ["darts", 2, None])
def test_what_is_no_list(key, value):
    assert refused(key, value) == f"params.yaml: {key}: {shown(value)} is not allowed: must be a list: [a, b]"


def test_elements_of_lists():
    assert refused("evaluate.layers", [2, 0]) == "params.yaml: evaluate.layers[1]: 0 is not allowed: must be at least 1"
    assert refused("evaluate.seeds", [-1]) == "params.yaml: evaluate.seeds[0]: -1 is not allowed: must be at least 0"
    assert (
        refused("evaluate.layers", ["2"]) == "params.yaml: evaluate.layers[0]: '2' is not allowed: must be an integer"
    )
    assert refused("gradcam.classes", []) == "params.yaml: gradcam.classes: [] is not allowed: must not be empty"


def test_a_long_value_is_shortened():
    message = refused("seed", "x" * 1000)
    assert message == f"params.yaml: seed: '{'x' * 56}... is not allowed: must be an integer"


def test_a_value_of_many_lines():
    assert refused("seed", "a\nb") == "params.yaml: seed: 'a\\nb' is not allowed: must be an integer"
    message = f"params.yaml: search.spaces[0]: unknown search space 'a\\nb' (known: {KNOWN_SPACES})"
    assert refused("search.spaces", ["a\nb"]) == message


# Names that do not exist


KNOWN_SPACES = (
    "darts, darts_gelu, darts_ln, convnext, pibconv, pibconv_f1.5, pibconv_f3, pibconv_f4.5, efficientnetv2, "
    "s1, s2, s3, s4, nas_bench_201"
)


def test_an_unknown_space():
    message = refused("search.spaces", ["darts", "pibcomv"])
    end = f"unknown search space 'pibcomv'; did you mean pibconv? (known: {KNOWN_SPACES})"
    assert message == f"params.yaml: search.spaces[1]: {end}"
    message = refused("search.spaces", ["x"])
    assert message == "params.yaml: search.spaces[0]: unknown search space 'x' (known: " + KNOWN_SPACES + ")"


def with_space(operations: object, name: object = "mine", **changes: object) -> dict:
    """The default with a space of the user's own."""
    tree = read(DEFAULT) | {"spaces": {name: operations}}
    return tree | {section: tree[section] | more for section, more in changes.items()}


def test_a_space_of_ones_own_is_one_like_any_other():
    genotypes = ["mine", "mine_random_2", "mine_epoch_1", "mine_by_gdas_seed_1", "mine_all_mb_conv"]
    searches = {"spaces": ["darts", "mine"], "algorithms": ["darts", "gdas"], "seeds": [0, 1]}
    tree = with_space(["none", "pib_conv_3x3"], search=searches, evaluate={"genotypes": genotypes})
    named = {key: tree[key] | {"networks": ["mine_random_2-3-0"]} for key in ("gradcam", "export")}
    found = check(tree | named)
    assert found.space("mine") == SearchSpace("mine", ("none", "pib_conv_3x3"))
    assert found.space("darts") is SPACES["darts"]
    assert [*found.known_spaces()] == [*SPACES, "mine"]
    message = told(lambda: check(with_space(["mb_conv"], search={"spaces": ["mime"]})))
    assert message.startswith("params.yaml: search.spaces[0]: unknown search space 'mime'; did you mean mine?")
    message = told(lambda: check(with_space(["mb_conv"], evaluate={"genotypes": ["mine"]}, gradcam={"networks": []})))
    assert message.endswith("evaluate.genotypes[0]: mine is a space that no search runs in: add it to search.spaces")


NO_NAME = "is no name of a space: letters, digits and _, without _random_, _all_ …"
TAKEN = "is a space of the library or a published genotype; name it otherwise"


@pytest.mark.parametrize(
    ("name", "operations", "message"),
    [
        *(
            (name, ["mb_conv"], f"spaces.{name}: {NO_NAME}")
            for name in ("my-own", "a_by_gdas", "a_random_0", "1st", "a b")
        ),
        *(
            (name, ["mb_conv"], f"spaces.{name}: {NO_NAME}")
            for name in ("a_all_mb_conv", "a_seed_1", "a_epoch_2", "f1.5")
        ),
        *((name, ["mb_conv"], f"spaces.{name}: {TAKEN}") for name in ("darts", "s1", "DARTS_V2")),
        (5, ["mb_conv"], "spaces: 5 is not allowed: a name must be text (in quotes if it looks like a number)"),
        ("mine", [], "spaces.mine: [] is not allowed: must not be empty"),
        ("mine", "mb_conv", "spaces.mine: 'mb_conv' is not allowed: must be a list: [a, b]"),
        ("mine", ["none"], "spaces.mine: ['none'] is not allowed: name an operation other than none too"),
        ("mine", ["mb_conv", "mb_conv"], "spaces.mine: ['mb_conv', 'mb_conv'] names mb_conv twice: name each once"),
        (
            "mine",
            ["mb_conv", 3],
            "spaces.mine[1]: 3 is not allowed: must be text (in quotes if it looks like a number)",
        ),
        ("mine", ["mbconv"], "spaces.mine[0]: unknown operation 'mbconv'; did you mean mb_conv? (known: none, "),
    ],
)
def test_spaces_of_ones_own_that_are_refused(name, operations, message):
    found = told(lambda: check(with_space(operations, name)))
    assert found.startswith(f"params.yaml: {message}") and (
        found.endswith(message) or message.endswith("(known: none, ")
    )


def test_no_genotype_of_ones_own_has_the_name_of_a_space_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genotypes").mkdir()
    (tmp_path / "genotypes/mine.json").write_text(json.dumps(PUBLISHED["DARTS_V1"].to_dict()))
    message = "genotypes/mine.json: mine is a published genotype or a space; give it another name"
    assert told(lambda: check(with_space(["mb_conv"]))) == f"params.yaml: {message}"


def test_a_preset_has_its_own_spaces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/default.yaml").write_text(DEFAULT)
    (tmp_path / "presets/base.yaml").write_text("spaces: {wide: [mb_conv]}\n")
    (tmp_path / "presets/mine.yaml").write_text(
        "extends: base\nspaces:\n  mine: [ds_conv]\nsearch: {spaces: [darts, pibconv, mine]}\n"
    )
    params.preset("mine")
    assert load("params.yaml").spaces == {"mine": ["ds_conv"]}
    assert "spaces:\n  mine:\n  - ds_conv\n" in (tmp_path / "params.yaml").read_text()


def test_s1_is_for_four_nodes():
    nodes = "search.nodes: 2 is not allowed: must be 4 for the space s1, whose edges have operations of their own"
    tree = read(DEFAULT)
    assert told(lambda: check(tree | {"search": tree["search"] | {"spaces": ["s1"]}})) == f"params.yaml: {nodes}"
    tree["evaluate"]["genotypes"] += ["s1_random_0"]
    message = "evaluate.genotypes[5]: s1_random_0: needs search.nodes: 4, as s1 has"
    assert told(lambda: check(tree)) == f"params.yaml: {message}"
    tree["search"] |= {"nodes": 4, "spaces": ["darts", "pibconv", "s1"]}
    check(tree)


def test_an_unknown_genotype():
    message = refused("evaluate.genotypes", ["darts", "darts_v3"])
    assert message.startswith("params.yaml: evaluate.genotypes[1]: unknown genotype 'darts_v3'; did you mean DARTS_V")
    known = "DARTS_V1, DARTS_V2, DARTS_PseudoInvBn, darts, pibconv, darts_random_0, pibconv_random_0"
    assert message.endswith(f"(known: {known})")
    assert "did you mean darts_random_0?" in refused("evaluate.genotypes", ["darts_random"])


def test_random_genotypes_are_of_any_known_space():
    tree = read(DEFAULT)
    tree["evaluate"]["genotypes"] += ["darts_random_3", "convnext_random_0", "pibconv_f4.5_random_11"]
    assert ("pibconv_f4.5_random_11", 3, 0) in check(tree).evaluate.networks()
    assert "unknown genotype" in refused("evaluate.genotypes", ["dart_random_1"])
    assert "unknown genotype" in refused("evaluate.genotypes", ["darts_random_01"])


def test_genotypes_of_other_seeds_and_of_single_operations():
    tree = read(DEFAULT)
    tree["search"]["seeds"] = [2, 0]
    good = ["darts", "darts_seed_0", "darts_all_mb_conv", "darts_seed_0_all_ds_conv", "DARTS_V2_all_pib_conv_3x3"]
    good += ["efficientnetv2_random_3_all_fused_mb_conv"]
    tree["evaluate"]["genotypes"] += good[1:]
    assert [*check(tree).search.found()] == ["darts", "darts_seed_0", "pibconv", "pibconv_seed_0"]

    def message(name: str) -> str:
        changed = tree | {"evaluate": tree["evaluate"] | {"genotypes": [name]}}
        return told(lambda: check(changed)).removeprefix("params.yaml: evaluate.genotypes[0]: ")

    assert message("darts_seed_2") == "darts_seed_2 is a genotype that no search finds: it is called darts"
    assert message("darts_seed_7") == "darts_seed_7 is a genotype that no search finds: add 7 to search.seeds"
    start = "darts_all_mbconv: unknown operation 'mbconv'; did you mean mb_conv? (known: "
    assert message("darts_all_mbconv").startswith(start)
    assert "none," not in message("darts_all_none").split("known")[1]
    start = "darts_by_gdas_seed_0 is a genotype that no search finds: "
    assert message("darts_by_gdas_seed_0") == f"{start}add gdas to search.algorithms"
    assert message("darts_by_darts_seed_0") == f"darts_by_darts_seed_0{start[20:]}it is called darts_seed_0"
    assert message("convnext_seed_1") == "convnext is a space that no search runs in: add it to search.spaces"
    assert message("convnext_all_mb_conv").startswith("convnext is a space that no search runs in")
    assert message("DART_V2_all_mb_conv").startswith("unknown genotype 'DART_V2'; did you mean DARTS_V2?")


def test_what_can_be_selected_from_a_search():
    tree = read(DEFAULT)
    tree["search"] |= {"algorithms": ["darts", "random"], "seeds": [0, 1]}
    good = ["darts_epoch_0", "darts_seed_1_epoch_6_skips_2", "darts_skips_0", "darts_epoch_3_all_mb_conv"]
    tree["evaluate"]["genotypes"] += good
    check(tree)

    def message(name: str) -> str:
        changed = tree | {"evaluate": tree["evaluate"] | {"genotypes": [name]}}
        return told(lambda: check(changed)).removeprefix("params.yaml: evaluate.genotypes[0]: ")

    assert message("darts_epoch_7") == "darts_epoch_7: the search has 6 epochs"
    assert message("darts_epoch_3_skips_1_epoch_2") == "darts_epoch_3_skips_1_epoch_2: names epoch twice"
    nothing = "comes of no search that left anything to select from"
    assert message("DARTS_V2_skips_1") == f"DARTS_V2_skips_1: DARTS_V2 {nothing}"
    assert message("darts_by_random_epoch_1") == f"darts_by_random_epoch_1: darts_by_random {nothing}"
    assert message("darts_random_0_epoch_1") == f"darts_random_0_epoch_1: darts_random_0 {nothing}"
    assert message("convnext_epoch_1") == "convnext is a space that no search runs in: add it to search.spaces"


def test_what_can_be_selected_by_perturbation():
    tree = read(DEFAULT)
    tree["search"] |= {"algorithms": ["darts", "oles+darts_minus", "gdas", "pc_darts+snas", "random"], "seeds": [0, 1]}
    tree["select"]["searches"] = ["darts-darts-0", "pibconv-oles+darts_minus-1"]
    good = ["darts_perturbed", "pibconv_by_oles+darts_minus_seed_1_perturbed", "darts_perturbed_all_mb_conv"]
    tree["evaluate"]["genotypes"] += good
    check(tree)

    def message(name: str, section: str = "evaluate", key: str = "genotypes") -> str:
        changed = tree | {section: tree[section] | {key: [name]}}
        return told(lambda: check(changed)).removeprefix(f"params.yaml: {section}.{key}[0]: ")

    adds = "is a genotype that nothing selects: add"
    assert message("darts_seed_1_perturbed") == f"darts_seed_1_perturbed {adds} darts-darts-1 to select.searches"
    assert message("pibconv_perturbed_all_mb_conv").endswith("add pibconv-darts-0 to select.searches")
    nothing = "comes of no search that left anything to select from"
    assert message("DARTS_V2_perturbed") == f"DARTS_V2_perturbed: DARTS_V2 {nothing}"
    assert message("darts_by_random_perturbed") == f"darts_by_random_perturbed: darts_by_random {nothing}"
    assert message("darts_random_0_perturbed") == f"darts_random_0_perturbed: darts_random_0 {nothing}"
    assert message("darts_perturbed_epoch_1") == f"darts_perturbed_epoch_1: darts_perturbed {nothing}"
    assert message("convnext_perturbed") == "convnext is a space that no search runs in: add it to search.spaces"
    assert message("dart_perturbed").startswith("unknown genotype 'dart'; did you mean darts?")
    for key, why in (
        ("darts-gdas-0", "gdas validates one operation an edge, without which nothing is left"),
        ("darts-pc_darts+snas-1", "pc_darts lets channels pass by with its operations' weight, so that removing one"),
        ("pibconv-random-0", "random trains no supernet"),
    ):
        assert message(key, "select", "searches").startswith(f"{key} is not allowed: {why}")
    start = "unknown search 'darts-darts-2'; did you mean darts-darts-"
    assert message("darts-darts-2", "select", "searches").startswith(start)


def test_a_genotype_of_a_space_that_is_not_searched():
    tree = read(DEFAULT)
    tree["search"]["spaces"] = ["darts"]
    message = "evaluate.genotypes[3]: pibconv is a space that no search runs in: add it to search.spaces"
    assert told(lambda: check(tree)) == f"params.yaml: {message}"


@pytest.mark.parametrize("name", ["DARTS_V2-4-0", "DARTS_V2-3-1", "DARTS_V2", "DARTS_V2-3"])
def test_an_unknown_network(name):
    message = refused("gradcam.networks", ["DARTS_V2-2-0", name])
    start = f"params.yaml: gradcam.networks[1]: unknown network '{name}'; did you mean DARTS_V2-"
    assert message.startswith(start)
    assert "pibconv-2-0, pibconv-3-0, " in message


def test_a_network_where_none_is_evaluated():
    message = refused("evaluate.layers", [])
    assert message == "params.yaml: gradcam.networks[0]: unknown network 'DARTS_V2-3-0' (known: none)"


@pytest.mark.parametrize(
    ("key", "near"),
    [("seeed", "seed"), ("search.chanels", "channels"), ("data.Root", "root"), ("evaluate.epoch", "epochs")],
)
def test_an_unknown_key(key, near):
    message = refused(key, 1)
    assert message.startswith(f"params.yaml: {key}: unknown key {key.split('.')[-1]!r}; did you mean {near}? (known: ")
    assert f"{near}," in message or f"{near})" in message


def test_an_unknown_key_that_is_like_no_other():
    known = "seed, threads, device, devices, nodes, precision, fast, data, spaces, search, algorithms, truth, select"
    rest = "evaluate, pretrain, slim, gradcam, export, latency"
    assert refused("zzz", {"a": 1}) == f"params.yaml: zzz: unknown key 'zzz' (known: {known}, {rest})"


@pytest.mark.parametrize("key", [1, None, ("a", "b"), True, 2.5])
def test_a_key_that_is_no_text(key):
    message = told(lambda: check(read(DEFAULT) | {key: 1}))
    assert ": unknown key " in message and "seed, threads" in message


@pytest.mark.parametrize("key", ["seed", "search", "search.channels", "gradcam.classes"])
def test_a_missing_key(key):
    tree = read(DEFAULT)
    *sections, last = key.split(".")
    del (tree[sections[0]] if sections else tree)[last]
    assert told(lambda: check(tree)) == f"params.yaml: {key}: is missing; presets/default.yaml shows it"


def test_a_misspelled_key_is_told_before_the_one_it_leaves_missing():
    tree = read(DEFAULT)
    tree["search"]["layer"] = tree["search"].pop("layers")
    message = told(lambda: check(tree))
    assert message.startswith("params.yaml: search.layer: unknown key 'layer'; did you mean layers? (known: ")
    assert message.endswith(") (and 1 more)")


def test_further_mistakes_are_counted():
    tree = tree_with("search.layers", 0) | {"seed": -1, "threads": "x"}
    message = told(lambda: check(tree))
    assert message == "params.yaml: seed: -1 is not allowed: must be at least 0 (and 2 more)"


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [5, None, [1], "x"])
def test_a_section_that_is_none(section, value):
    assert (
        refused(section, value) == f"params.yaml: {section}: {shown(value)} is not allowed: must be a section of keys"
    )


# Files that cannot be read


@pytest.mark.parametrize(
    ("old", "new", "lines", "message"),
    [
        ("seed: 0", "seed: 0\nseed: 1", 1, 'found duplicate key "seed"'),
        ("  channels: 4", "  channels: 4\n  channels: 5", 1, 'found duplicate key "channels"'),
        ("seed: 0", '"se\\ned": 0\n"se\\ned": 1', 1, 'found duplicate key "se ed" with value "1"'),
        ("seed: 0", "seed: [0", 1, "expected ',' or ']'"),
        ("seed: 0", "seed: 0\n\tx: 1", 1, "found character '\\t'"),
        ("seed: 0", "seed: 0: 1", 0, "mapping values are not allowed here"),
        ("seed: 0", "seed: @x", 0, "found character '@'"),
        ("seed: 0", "seed: *x", 0, "found undefined alias 'x'"),
        ("seed: 0", "seed: !!python/name:os.system", 0, "could not determine a constructor"),
        ("seed: 0", "seed: 0\n---\na: 1", 1, "but found another document"),
        ("gradcam:", " gradcam:", 0, "expected <block end>"),
    ],
)
def test_broken_yaml(old, new, lines, message, tmp_path):
    line = 1 + DEFAULT[: DEFAULT.index(f"\n{old}") + 1].count("\n") + lines
    found = told_of_text(tmp_path, DEFAULT.replace(f"\n{old}", f"\n{new}", 1))
    assert found.startswith(f"line {line} is not valid YAML: {message}")


def test_values_that_are_no_yaml(tmp_path):
    message = "holds a value that is not valid YAML: month must be in 1..12"
    assert told_of_text(tmp_path, DEFAULT.replace("seed: 0", "seed: 2020-13-45")) == message
    message = "is not valid YAML: character 8: special characters are not allowed"
    assert told_of_text(tmp_path, "seed: 1\x07") == message


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "null"])
def test_an_empty_file(text, tmp_path):
    assert told_of_text(tmp_path, text) == "is empty; presets/default.yaml shows what it must hold"


@pytest.mark.parametrize(("text", "value"), [("- a\n", "['a']"), ("5", "5"), ("text", "'text'")])
def test_a_file_without_keys(text, value, tmp_path):
    message = f"must hold sections of keys, as presets/default.yaml does, not {value}"
    assert told_of_text(tmp_path, text) == message


def test_a_file_that_is_no_text(tmp_path):
    assert told_of_text(tmp_path, b"\xff\xfe\x00") == "is not text in UTF-8"


def test_a_file_that_is_not_there(tmp_path):
    message = "not found; run in the project's folder, where params.yaml lies"
    assert told(lambda: load(tmp_path / "params.yaml")) == f"{tmp_path}/params.yaml: {message}"
    assert told(lambda: load(tmp_path)) == f"{tmp_path}: cannot be read (Is a directory)"


# Suggestions


def test_suggestions():
    spaces = ["darts", "pibconv"]
    assert unknown("space", "DART", spaces) == "unknown space 'DART'; did you mean darts? (known: darts, pibconv)"
    assert unknown("space", "resnet", spaces) == "unknown space 'resnet' (known: darts, pibconv)"
    assert unknown("space", "darts", []) == "unknown space 'darts' (known: none)"
    assert nearest("darts_v2", ["DARTS_V1", "DARTS_V2"]) == "DARTS_V2"
    assert nearest("gpu", ["cpu", "cuda"], cutoff=0.7) is None


# The command line


def command(folder, *arguments, options=()):
    environment = ENVIRONMENT | {"PYTHONPATH": str(folder)}
    line = [sys.executable, *options, "-m", "nas", *(arguments or ["check"])]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A git repository with the library, the presets, and the default parameters committed; the current folder."""
    folder = tmp_path / "project"
    for name in ("nas", "presets"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params.yaml").write_text(DEFAULT)
    (folder / "data/raw").mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "start")
    monkeypatch.chdir(folder)
    return folder


def test_the_command_prints_what_load_accepts(project):
    done = command(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert check(read(done.stdout)) == load(project / "params.yaml")


def test_the_command_tells_of_a_data_folder_that_is_not_there(project):
    (project / "data/raw").rmdir()
    done = command(project)
    assert done.returncode == 1
    assert done.stderr == (
        "error: params.yaml: data.root: data/raw is no folder: create it, or name the one you mean\n"
    )


def test_a_home_that_dvc_does_not_know(project):
    (project / "params.yaml").write_text(DEFAULT.replace("root: data/raw", "root: ~/images"))
    with pytest.raises(UserError, match="data.root: ~/images is not allowed: .* without ~"):
        load(project / "params.yaml")


def test_the_command_tells_a_mistake_in_one_line_and_without_torch(project):
    (project / "params.yaml").write_text(DEFAULT.replace("  channels: 4", "  chanels: 4"))
    done = command(project, options=["-X", "importtime"])
    assert done.returncode == 1
    assert done.stdout == ""
    imported, messages = [], []
    for line in done.stderr.splitlines():
        (imported if line.startswith("import time:") else messages).append(line)
    assert len(messages) == 1
    assert messages[0].startswith(
        "error: params.yaml: search.chanels: unknown key 'chanels'; did you mean channels? (known: "
    )
    names = {line.rsplit("|", 1)[1].strip() for line in imported}
    assert "pydantic" in names
    assert not {name for name in names if name.split(".")[0] in ("torch", "torchvision", "numpy", "matplotlib")}


@pytest.mark.parametrize("module", ["nas.pipeline.params", "nas.pipeline.stage", "nas.space.genotypes"])
def test_importing_the_parameters_never_imports_torch(module):
    program = f"import {module}, sys; assert not {{'torch', 'numpy', 'matplotlib'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT | {"PYTHONPATH": "."}, check=True)


# Presets


def overlay(project, text, name="mine"):
    (project / PRESETS / f"{name}.yaml").write_text(text)


def test_a_preset_changes_the_keys_it_names_and_keeps_the_comments(project):
    overlay(
        project,
        "# Mine.\nseed: 3\ndata: {name: cifar10, train_limit: 5000}\n"
        "search:\n  learning_rate: 1e-2 # slower\n  flip: true\n  alpha_betas: [0.9, 0.99]\n"
        "evaluate:\n  layers: [2, 3, 20]\n  seeds: [0, 1] # two\n",
    )
    params.preset("mine")
    before, after = DEFAULT.splitlines(), (project / "params.yaml").read_text().splitlines()
    added = [line.removeprefix("+ ") for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert [line.split("#")[0].rstrip() for line in added] == [
        "seed: 3",
        "  name: cifar10",
        "  train_limit: 5000",
        "  learning_rate: 1e-2",
        "  - 0.9",
        "  - 0.99",
        "  flip: true",
        "  - 20",
        "  - 1",
    ]
    comments = [[line.partition("#")[2] for line in lines if "#" in line] for lines in (before, after)]
    assert comments[0] == comments[1]
    written = load(project / "params.yaml")
    assert (written.seed, written.data.train_limit, written.search.learning_rate) == (3, 5000, 0.01)
    assert written.evaluate.seeds == [0, 1]


def test_the_default_preset_is_the_file_itself(project):
    params.preset("default")
    assert (project / "params.yaml").read_text() == DEFAULT


def test_a_preset_starts_from_the_default_whatever_was_there(project):
    (project / "params.yaml").write_text(DEFAULT.replace("seed: 0", "seed: 7"))
    git(project, "commit", "-q", "-a", "-m", "another seed")
    overlay(project, "threads: 2\n")
    params.preset("mine")
    assert (load().seed, load().threads) == (0, 2)


def test_a_preset_can_be_written_where_there_is_no_file(project):
    (project / "params.yaml").unlink()
    params.preset("default")
    assert (project / "params.yaml").read_text() == DEFAULT


def test_the_command_writes_a_preset(project):
    overlay(project, "seed: 3\n")
    done = command(project, "preset", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "params.yaml now holds the preset mine; `dvc repro` runs what it changes\n"
    assert load().seed == 3


def test_a_preset_may_extend_another(project):
    overlay(project, "seed: 3\nthreads: 2\n")
    for name, text in (("more", "extends: mine\nseed: 4\n"), ("most", "extends: more\ndevice: cpu\n")):
        (project / "presets" / f"{name}.yaml").write_text(text)
    subprocess.run(["git", "add", "-A"], cwd=project, check=True, env=ENVIRONMENT)
    params.preset("most")
    assert (load().seed, load().threads, load().device) == (4, 2, "cpu")
    assert "extends" not in (project / "params.yaml").read_text()


@pytest.mark.parametrize(
    "extended, message", [("mone", "extends: unknown preset 'mone'; did you mean mine"), ("mine", "extends itself")]
)
def test_a_preset_that_extends_nothing_or_itself(project, extended, message):
    overlay(project, f"extends: {extended}\nseed: 3\n")
    found = told(lambda: params.preset("mine"))
    assert found.startswith("presets/mine.yaml: extends: ") and message in found


REFUSAL = "params.yaml: has changes that git does not hold; commit them or undo them (git restore params.yaml) first"


@pytest.mark.parametrize("stage", [False, True], ids=["changed", "staged"])
def test_a_preset_does_not_overwrite_changes(project, stage):
    changed = DEFAULT.replace("seed: 0", "seed: 7  # hard-won").encode()
    (project / "params.yaml").write_bytes(changed)
    if stage:
        git(project, "add", "params.yaml")
    done = command(project, "preset", "default")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {REFUSAL}\n")
    assert (project / "params.yaml").read_bytes() == changed
    assert [path.name for path in project.iterdir() if path.name.endswith(".tmp")] == []


def test_a_preset_does_not_overwrite_a_file_that_git_never_held(project):
    git(project, "rm", "-q", "--cached", "params.yaml")
    git(project, "commit", "-q", "-m", "without")
    assert told(lambda: params.preset("default")) == REFUSAL
    shutil.rmtree(project / ".git")  # as in a ZIP of the sources
    lost = "params.yaml: is in no git repository, so what it holds would be lost; rename or delete it first"
    assert told(lambda: params.preset("default")) == lost


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mime", "", "unknown preset 'mime'; did you mean mine? (known: darts, default, "),
        ("mine", "sed: 1\n", "presets/mine.yaml: sed: unknown key 'sed'; did you mean seed? (known: "),
        (
            "mine",
            "search: {chanels: 1}\n",
            "presets/mine.yaml: search.chanels: unknown key 'chanels'; did you mean channels? (",
        ),
        ("mine", "search: {channels: 0}\n", "presets/mine.yaml: search.channels: 0 is not allowed: must be at least 1"),
        ("mine", "search: 5\n", "presets/mine.yaml: search: 5 is not allowed: must be a section of keys"),
        ("mine", "search:\n", "presets/mine.yaml: search: null is not allowed: must be a section of keys"),
        ("mine", "seed: {a: 1}\n", "presets/mine.yaml: seed: {'a': 1} is not allowed: must be an integer"),
        ("mine", "search: {spaces: [darts]}\n", "presets/mine.yaml: evaluate.genotypes[3]: pibconv is a space that no"),
        ("mine", "seed: 'x'\n", "presets/mine.yaml: seed: 'x' is not allowed: must be an integer"),
        ("mine", "flip: true\n", "presets/mine.yaml: flip: unknown key 'flip'; did you mean slim? (known: "),
        ("mine", "- seed\n", "presets/mine.yaml: must hold keys of presets/default.yaml, not ['seed']"),
        ("mine", "", "presets/mine.yaml: must hold keys of presets/default.yaml, not null"),
        ("mine", "seed: 1\nseed: 2\n", "presets/mine.yaml: line 2 is not valid YAML: found duplicate key"),
    ],
)
def test_a_preset_that_is_wrong(name, text, message, project):
    overlay(project, text)
    assert told(lambda: params.preset(name)).startswith(message)
    assert (project / "params.yaml").read_text() == DEFAULT


def test_presets_are_found_in_the_project_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told(lambda: params.preset("default")) == "unknown preset 'default' (known: none)"
    assert not Path("params.yaml").exists()


def test_params_are_annotated_for_every_key_of_the_default():
    assert set(Params.model_fields) == set(read(DEFAULT))


CELL = (
    '{"normal": [["OP", 0], ["none", 0]], "normal_concat": [2], "reduce": [["OP", 0], ["OP", 1]], "reduce_concat": [2]}'
)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("mine.json", CELL.replace("OP", "skip_connect"), None),
        ("mine.txt", "nothing", "genotypes/mine.txt: is no genotype: "),
        (
            "mine.json",
            CELL.replace("OP", "skip_conect"),
            "genotypes/mine.json: unknown operation 'skip_conect'",
        ),
        ("other.json", CELL, "evaluate.genotypes[0]: unknown genotype 'mine'"),
        ("DARTS_V2.json", CELL, "genotypes/DARTS_V2.json: DARTS_V2 is a published genotype or a space"),
        ("pibconv.txt", CELL, "genotypes/pibconv.txt: pibconv is a published genotype or a space"),
        ("my-cell.json", CELL, "genotypes/my-cell.json: is no name of a genotype"),
        ("darts_random_3.json", CELL, "genotypes/darts_random_3.json: is no name of a genotype"),
    ],
)
def test_genotypes_in_files_of_their_own(file, text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genotypes").mkdir()
    (tmp_path / "genotypes" / file).write_text(text)
    tree = tree_with("evaluate.genotypes", ["mine"])
    tree["gradcam"]["networks"] = tree["export"]["networks"] = []
    if message:
        assert told(lambda: check(tree)).startswith(f"params.yaml: {message}")
    else:
        assert check(tree).evaluate.genotypes == ["mine"]
        tree["evaluate"]["genotypes"] = ["mine_all_sep_conv_3x3"]
        assert check(tree).evaluate.genotypes == ["mine_all_sep_conv_3x3"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 0", "seed: !!bool x", "holds a value that is not valid YAML: 'x'"),
        ("seed: 0", f"seed: {'[' * 3000}{']' * 3000}", "is nested too deeply"),
        ("seed: 0", f"seed: {'{a: ' * 3000}1{'}' * 3000}", "is nested too deeply"),
        (
            "root: data/raw",
            "root: data",
            "data.root: data is not allowed: data/prepared, which the pipeline writes, would",
        ),
        ("root: data/raw", "root: .", "data.root: . is not allowed: data/prepared, which the pipeline writes, would"),
        ("root: data/raw", "root: data/prepared", "data.root: data/prepared is not allowed: data/prepared, which the"),
    ],
    ids=["a tag", "lists", "mappings", "data", "the project", "the prepared data"],
)
def test_what_used_to_end_in_a_traceback_or_in_others_words(old, new, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(DEFAULT.replace(old, new, 1))
    assert told(load).startswith(f"params.yaml: {message}")
