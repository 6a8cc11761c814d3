"""A user's mistake ends a stage with one line, status 1 and no traceback, and leaves earlier results as they were."""

import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT, Project
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nas.networks.network import Network
from nas.pipeline import stage
from nas.pipeline.errors import UserError
from nas.pipeline.files import sha256
from nas.space.published import PUBLISHED
from nas.training.checkpoint import Checkpoint, _digest, _text
from nas.training.context import Context

RESULTS = ("data/prepared", "results", "models")
PREPARE_AGAIN = "run the prepare stage again (dvc repro prepare)"


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of a finished project, which a test may spoil; the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(
        finished.folder, folder, ignore=shutil.ignore_patterns(".git", ".dvc", "dvc.lock", "__pycache__", "logs")
    )
    monkeypatch.chdir(folder)
    return Project(folder)


def results(folder):
    """Every file that a stage may leave, and its hash."""
    files = (path for part in RESULTS for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


@pytest.fixture
def run_stage(project, monkeypatch, capfd):
    """Run a stage as ``python -m stages.NAME ARGUMENT…`` does; return its line on stderr.

    In this process, since a new one would first spend seconds on importing torch.
    """
    log = logging.getLogger("nas")
    level, handlers = log.level, log.handlers

    def run(stage, *arguments):
        monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py", *map(str, arguments)])
        before = results(project.folder)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"stages.{stage}", run_name="__main__")
        # Python prints a text that a program exits with to stderr, and ends with status 1.
        line = ended.value.code
        assert isinstance(line, str)
        assert "\n" not in line
        assert line.startswith(f"error: {stage}: ")
        assert capfd.readouterr().err == ""
        assert results(project.folder) == before
        return line.removeprefix(f"error: {stage}: ")

    yield run
    for handler in log.handlers:
        handler.close()
    log.level, log.handlers = level, handlers


def in_a_process(project, *command):
    """Run a command of the project that must fail in one line; return the line."""
    before = results(project.folder)
    environment = ENVIRONMENT | {"PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, *command], cwd=project.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert results(project.folder) == before
    return done.stderr.removesuffix("\n")


def truncate(path, share=0.5):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * share)])


def edit_json(path, **changes):
    path = Path(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# In a process of their own


def test_a_parameter_that_is_wrong(project):
    project.set(search={"chanels": 4})
    line = in_a_process(project, "-m", "stages.search", "darts", "0")
    assert line.startswith(
        "error: search: params.yaml: search.chanels: unknown key 'chanels'; did you mean channels? (known: "
    )


def test_a_prepared_file_that_was_altered(project):
    path = project.folder / "data/prepared/train.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    line = in_a_process(project, "-m", "stages.evaluate", "DARTS_V2", "2", "0")
    assert line == f"error: evaluate: data/prepared/train.safetensors is damaged or was altered: {PREPARE_AGAIN}"


def test_an_argument_too_many(project):
    line = in_a_process(project, "-m", "stages.prepare", "digits")
    assert line == "error: prepare: takes no arguments, not 1; usage: python -m stages.prepare"


# Through DVC, which removes a stage's outputs before it runs


def repro(project, *stages):
    done = project.run(sys.executable, "-m", "dvc", "repro", *stages, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def but_fingerprints(found):
    return {path: content for path, content in found.items() if not path.startswith("results/code/")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"channels": 0}}, "params.yaml: search.channels: 0 is not allowed: must be at least 1"),
        (
            {"search": {"stem": "imagenet"}},
            "search.stem: imagenet is not allowed for images of 8×8 pixels (height×width)",
        ),
        ({"gradcam": {"index": 500}}, "gradcam.index: 500 is too large: class 0 has 6 test images"),
        ({"gradcam": {"classes": ["0", "cat"]}}, "gradcam.classes[1]: unknown class 'cat'"),
        ({"gradcam": {"images": 65}}, "gradcam.images: 65 is more than the 64 test images there are"),
    ],
    ids=str,
)
def test_what_can_be_seen_beforehand_costs_no_earlier_result(changes, message, finished, copy_of):
    project = copy_of(finished)
    project.set(**changes)
    before = results(project.folder)
    (line,) = repro(project)
    assert line.startswith(f"error: code: {message}")
    assert but_fingerprints(results(project.folder)) == but_fingerprints(before)
    done = project.run(sys.executable, "-m", "nas", "check", check=False)
    assert done.returncode == 1 and done.stderr == line.replace("error: code: ", "error: ") + "\n"
    project.run("git", "checkout", "-q", "params.yaml")
    assert project.repro() == []


def test_what_a_failing_stage_cost_comes_back_with_the_parameters(finished, copy_of):
    project = copy_of(finished)
    before = results(project.folder)
    project.set(search={"learning_rate": 1e20, "gradient_clip": 1e30})
    (line,) = repro(project, "search@darts-darts-0")
    assert "training diverged" in line
    assert line.endswith(
        " (the earlier result comes back when params.yaml is as it was: dvc repro brings it from the run cache)"
    )
    assert not (project.folder / "results/search/darts-darts-0/metrics.json").exists()
    project.run("git", "checkout", "-q", "params.yaml")
    assert project.repro() == []
    assert results(project.folder) == before


# Parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "sed: unknown key 'sed'; did you mean seed? (known: seed, "),
        ({"evaluate": {"chanels": 4}}, "evaluate.chanels: unknown key 'chanels'; did you mean channels? (known: "),
        ({"threads": "one"}, "threads: 'one' is not allowed: must be an integer"),
        ({"search": {"learning_rate": "0.1"}}, "search.learning_rate: '0.1' is not allowed: must be a number"),
        ({"search": {"epochs": 0}}, "search.epochs: 0 is not allowed: must be at least 1"),
        ({"evaluate": {"momentum": 1.0}}, "evaluate.momentum: 1.0 is not allowed: must be less than 1"),
        (
            {"search": {"learning_rate": float("nan")}},
            "search.learning_rate: nan is not allowed: must be a finite numb",
        ),
        (
            {"search": {"spaces": ["dart"]}},
            "search.spaces[0]: unknown search space 'dart'; did you mean darts? (known: ",
        ),
        (
            {"evaluate": {"genotypes": ["DART_V2"]}},
            "evaluate.genotypes[0]: unknown genotype 'DART_V2'; did you mean DARTS_",
        ),
        ({"gradcam": {"networks": ["darts-9-0"]}}, "gradcam.networks[0]: unknown network 'darts-9-0'; did you "),
        ({"data": {"name": "digit"}}, "data.name: 'digit' is not allowed: must be 'digits', "),
        ({"data": 5}, "data: 5 is not allowed: must be a section of keys"),
    ],
    ids=str,
)
def test_parameters(changes, message, project, run_stage):
    project.set(**changes)
    assert run_stage("search", "darts", "darts", 0).startswith(f"params.yaml: {message}")


@pytest.mark.parametrize("stage", ["prepare", "derive", "complexity", "report", "evaluate", "gradcam", "search"])
def test_every_stage_checks_the_parameters(stage, project, run_stage):
    project.set(seed=-1)
    assert run_stage(stage, "x", "y", "z") == "params.yaml: seed: -1 is not allowed: must be at least 0"


def test_parameters_that_are_no_yaml(project, run_stage):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: [0", 1))
    assert "params.yaml: line 6 is not valid YAML: " in run_stage("report")


def test_parameters_that_are_not_there(project, run_stage):
    (project.folder / "params.yaml").unlink()
    assert run_stage("report") == "params.yaml: not found; run in the project's folder, where params.yaml lies"


@pytest.mark.parametrize(
    "stage", [["search", "darts", "darts", 0], ["evaluate", "DARTS_V2", 2, 0], ["gradcam", "DARTS_V2-2-0"]]
)
def test_a_gpu_that_is_not_there(stage, project, run_stage, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    project.set(device="cuda")
    message = "device: cuda is asked for, but torch sees no GPU; set device to auto or cpu"
    assert run_stage(*stage) == message


def test_more_memory_than_there_is(project, run_stage):
    for padding in (10**6, 10**9):
        project.set(search={"crop_padding": padding})
        message = "out of memory; lower batch_size, channels, layers or crop_padding; of many images set "
        assert run_stage("search", "darts", "darts", 0).startswith(message)


def test_more_memory_than_there_is_to_read_pictures(run_stage, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("nas.data.prepare.prepare", fail)
    advice = "lower data.image_size or data.train_limit, or set data.stream to true"
    assert run_stage("prepare") == f"out of memory; {advice}"


@pytest.mark.parametrize("stage", [["search", "darts", "darts", 0], ["evaluate", "DARTS_V2", 2, 0]])
def test_images_too_small_for_the_stem(stage, project, run_stage):
    project.set(**{stage[0]: {"stem": "imagenet"}})
    line = run_stage(*stage)
    assert line == "stem: imagenet is not allowed for images of 8×8 pixels (height×width): it needs at least 33×33"


def test_a_search_that_diverges(project, run_stage):
    project.set(search={"learning_rate": 1e30, "gradient_clip": 1e30})
    line = run_stage("search", "darts", "darts", 0)
    assert line == "train_loss is not finite in epoch 1: training diverged; lower the learning rate"


# Arguments


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (["search"], "takes 3 arguments, not 0; usage: python -m stages.search SPACE ALGORITHM SEED"),
        (["pretrain"], "takes 1 argument, not 0; usage: python -m stages.pretrain MODEL"),
        (["slim", "vgg16_cifar", "much"], "penalty: much is not allowed: must be a number"),
        (["pretrain", "vgg"], "unknown backbone 'vgg'; did you mean vgg16_bn? (known: "),
        (
            ["evaluate", "DARTS_V2", 2],
            "takes 3 arguments, not 2; usage: python -m stages.evaluate GENOTYPE LAYERS SEED",
        ),
        (["report", "x", "y"], "takes no arguments, not 2; usage: python -m stages.report"),
        (["evaluate", "DARTS_V2", "two", 0], "layers: 'two' is not allowed: must be a number: digits alone"),
        (["evaluate", "DARTS_V2", 2, -1], "seed: '-1' is not allowed: must be a number: digits alone"),
        (["evaluate", "DARTS_V2", "1e9", 0], "layers: '1e9' is not allowed: must be a number: digits alone"),
        (["evaluate", "DARTS_V2", 0, 0], "layers: 0 is not allowed: must be at least 1"),
        (
            ["evaluate", "../DARTS_V2", 2, 0],
            "genotype: '../DARTS_V2' is not allowed: must be a name: letters, digits, ",
        ),
        (
            ["evaluate", "DARTS_V3", 2, 0],
            "results/genotypes/DARTS_V3.json: unknown genotype 'DARTS_V3'; did you mean DART",
        ),
        (
            ["search", "dart", "darts", 0],
            "unknown search space 'dart'; did you mean darts? (known: darts, darts_gelu, ",
        ),
        (["search", "darts", "dart", 0], "dart: there is no such search algorithm"),
        (["search", "", "darts", 0], "space: '' is not allowed: must be a name: "),
        (["gradcam", "DARTS_V2-9-0"], "models/evaluate/DARTS_V2-9-0.safetensors: is no whole network (No such file"),
    ],
    ids=str,
)
def test_arguments(stage, message, run_stage):
    assert run_stage(*stage).startswith(message)


# Data


@pytest.fixture
def pictures(project):
    """The project, with a folder of two classes as its data set."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            folder = project.folder / "pictures" / part / name
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    project.set(data={"name": "folder", "root": "pictures", "train_limit": None, "test_limit": None})
    return project.folder / "pictures"


def test_data_that_are_not_there(pictures, run_stage):
    shutil.rmtree(pictures)
    assert run_stage("prepare").startswith("data.root: pictures/train is no folder; expected pictures/train/CLASS/*")


def test_a_class_that_only_one_split_has(pictures, run_stage):
    shutil.rmtree(pictures / "test/bee")
    assert run_stage("prepare") == "data.root: class bee is in pictures/train and not in pictures/test"


def test_a_class_without_images(pictures, run_stage):
    for path in (pictures / "train/bee").iterdir():
        path.unlink()
    assert run_stage("prepare").startswith("data.root: pictures/train/bee has no images; expected ")


def test_a_single_class(pictures, run_stage):
    for part in ("train", "test"):
        shutil.rmtree(pictures / part / "bee")
    assert run_stage("prepare") == "data.root: pictures has the class ant alone; at least 2 classes are needed"


def test_too_few_images(pictures, run_stage):
    for path in pictures.glob("train/*/[1-3].png"):
        path.unlink()
    assert run_stage("prepare") == "data.root: pictures has 2 training images; at least 4 are needed"


def test_images_that_are_too_small(project, pictures, run_stage):
    project.set(data={"image_size": 4})
    message = "data.root: images of 4×4 pixels (height×width) are too small; at least 5×5"
    assert run_stage("prepare") == message


def test_an_image_that_is_cut_short(pictures, run_stage):
    truncate(pictures / "test/ant/3.png")
    assert run_stage("prepare").startswith("data.root: pictures/test/ant/3.png is not a readable image (")


def test_images_of_two_sizes(pictures, run_stage):
    Image.new("RGB", (9, 8)).save(pictures / "test/bee/2.png")
    line = run_stage("prepare")
    assert line.startswith(
        "data.root: pictures/test/bee/2.png is 8×9 and pictures/train/ant/0.png is 8×8 (height×width)"
    )


def test_fewer_images_than_the_limit(pictures, project, run_stage):
    project.set(data={"train_limit": 9})
    message = "data.train_limit: 9 is not from 1 to 8, the number of train images there are"
    assert run_stage("prepare") == message


def test_an_image_size_for_a_set_that_has_one(project, run_stage):
    project.set(data={"image_size": 8})
    message = "data.image_size: 8 is for the data set folder alone; set it to null for digits"
    assert run_stage("prepare") == message


# Prepared data

USERS_OF_DATA = [["search", "darts", "darts", 0], ["evaluate", "DARTS_V2", 2, 0], ["gradcam", "DARTS_V2-2-0"]]


@pytest.mark.parametrize("stage", [*USERS_OF_DATA, ["complexity"]], ids=str)
def test_data_that_are_not_prepared(stage, project, run_stage):
    shutil.rmtree(project.folder / "data/prepared")
    assert run_stage(*stage) == f"data/prepared/meta.json is missing: {PREPARE_AGAIN}"


@pytest.mark.parametrize("stage", [*USERS_OF_DATA, ["complexity"]], ids=str)
def test_a_description_of_the_data_that_is_cut_short(stage, project, run_stage):
    truncate(project.folder / "data/prepared/meta.json")
    line = run_stage(*stage)
    assert line.startswith("data/prepared/meta.json cannot be read (")
    assert line.endswith(PREPARE_AGAIN)


@pytest.mark.parametrize("stage", USERS_OF_DATA, ids=str)
def test_prepared_images_that_are_cut_short(stage, project, run_stage):
    truncate(project.folder / "data/prepared/test.safetensors")
    message = f"data/prepared/test.safetensors is damaged or was altered: {PREPARE_AGAIN}"
    assert run_stage(*stage) == message


# Genotypes

GENOTYPE = PUBLISHED["DARTS_V2"].to_dict()


@pytest.mark.parametrize("stage", [["evaluate", "DARTS_V2", 2, 0], ["complexity"]], ids=str)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no genotype: Expecting property name"),
        ("", "is no genotype: Expecting value"),
        ("[]", "is no genotype: a genotype has the keys normal, normal_concat, reduce, reduce_concat, not list"),
        (
            '{"normal": []}',
            "is no genotype: a genotype has the keys normal, normal_concat, reduce, reduce_concat, not n",
        ),
        (json.dumps(GENOTYPE | {"more": 1}), "is no genotype: a genotype has the keys normal, normal_concat, reduce, "),
        (json.dumps(GENOTYPE | {"normal": 5}), 'is no genotype: a cell is a list of ["operation", state] pairs'),
        (json.dumps(GENOTYPE | {"normal": [["none"]]}), "is no genotype: "),
        (json.dumps(GENOTYPE | {"reduce_concat": [2, 9]}), "is no genotype: reduce_concat must name distinct states"),
        (
            json.dumps(GENOTYPE | {"normal": [["skip_connect", 0], ["skip_connect", 2]]}),
            "is no genotype: edge 1 of the normal cell (skip_connect) comes from state 2, which is not before it",
        ),
        (
            json.dumps(GENOTYPE | {"reduce": GENOTYPE["reduce"][:-1]}),
            "is no genotype: the reduce cell needs two edges a node, not 7 in all",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_genotypes(stage, text, message, project, run_stage):
    (project.folder / "results/genotypes/DARTS_V2.json").write_text(text)
    assert run_stage(*stage).startswith(f"results/genotypes/DARTS_V2.json: {message}")


@pytest.mark.parametrize("stage", [["evaluate", "DARTS_V2", 2, 0], ["complexity"]], ids=str)
def test_a_genotype_with_an_unknown_operation(stage, project, run_stage):
    edit_json("results/genotypes/DARTS_V2.json", normal=[["sep_conv_3x4", 0], *GENOTYPE["normal"][1:]])
    message = "unknown operation 'sep_conv_3x4'; did you mean sep_conv_3x3? (known: "
    assert run_stage(*stage).startswith(message)


@pytest.mark.parametrize("stage", [["evaluate", "darts", 2, 0], ["complexity"]], ids=str)
def test_a_genotype_that_is_not_there(stage, project, run_stage):
    (project.folder / "results/genotypes/darts.json").unlink()
    message = "results/genotypes/darts.json: unknown genotype 'darts'; did you mean DARTS_V"
    assert run_stage(*stage).startswith(message)


# Checkpoints


def some_network(channels):
    genotype = PUBLISHED["DARTS_V2"]
    return Network(genotype, channels=channels, layers=2, num_classes=10, in_channels=1, auxiliary=True)


@pytest.fixture
def checkpoint(project, monkeypatch):
    """The file where the evaluation of DARTS_V2-2-0 looks for its checkpoint: one of a wider network."""
    monkeypatch.setattr(Context, "key", lambda self, settings: "key")
    network = some_network(channels=5)
    kept = Checkpoint("evaluate@DARTS_V2-2-0", "key", network=network, optimizer=sgd(network))
    kept.save([{"epoch": 1}])
    return project.folder / kept.path


def sgd(network):
    return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def test_a_checkpoint_of_other_shapes(checkpoint, run_stage):
    checkpoint_fails(run_stage, "Error(s) in loading state_dict for Network: size mismatch for ")


def test_a_checkpoint_that_is_half_written(checkpoint, run_stage):
    truncate(checkpoint)
    checkpoint_fails(run_stage, "Error while deserializing header: ")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 1000, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_checkpoint_that_is_none(content, checkpoint, run_stage):
    checkpoint.write_bytes(content)
    checkpoint_fails(run_stage)


def test_a_checkpoint_without_records(checkpoint, run_stage):
    tensors = load_file(checkpoint)
    del tensors["records"]
    save_file(tensors, checkpoint, {"digest": _digest(tensors)})
    checkpoint_fails(run_stage, "'records'")


def test_a_checkpoint_without_a_digest(checkpoint, run_stage):
    save_file(load_file(checkpoint), checkpoint)
    checkpoint_fails(run_stage, "it is not what was written")


@pytest.mark.parametrize("name", ["0/momentum_buffer", "999/momentum_buffer", "x/y", "0"])
def test_a_checkpoint_whose_optimizer_fits_another_network(name, checkpoint, run_stage):
    tensors = {f"network/{key}": tensor for key, tensor in some_network(channels=4).state_dict().items()}
    groups = sgd(some_network(channels=4)).state_dict()["param_groups"]
    others = json.dumps({"optimizer": {"state": {}, "param_groups": groups}})
    tensors |= {"records": _text('[{"epoch": 1}]'), "optimizers": _text(others), f"optimizer/{name}": torch.zeros(3)}
    save_file(tensors, checkpoint, {"digest": _digest(tensors)})
    checkpoint_fails(run_stage)


def checkpoint_fails(run_stage, why=""):
    line = run_stage("evaluate", "DARTS_V2", 2, 0)
    assert line.startswith(f"checkpoints/evaluate@DARTS_V2-2-0/key.safetensors: the checkpoint is damaged ({why}")
    assert line.endswith("); delete it to train from the start")
    assert len(line) < 400


# Weights


WEIGHTS = Path("models/evaluate/DARTS_V2-2-0.safetensors")


def grad_cam_fails(run_stage, why=""):
    line = run_stage("gradcam", "DARTS_V2-2-0")
    assert line.startswith(f"{WEIGHTS}: is no whole network ({why}")
    assert line.endswith("); run its evaluation again")


def test_weights_that_are_not_there(run_stage):
    WEIGHTS.unlink()
    grad_cam_fails(run_stage, "No such file or directory")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_weights_that_are_cut_short(share, run_stage):
    truncate(WEIGHTS, share)
    grad_cam_fails(run_stage)


def test_weights_of_something_else(run_stage):
    shutil.copy("data/prepared/test.safetensors", WEIGHTS)
    grad_cam_fails(run_stage, "it does not say which network it holds")


@pytest.mark.parametrize("network", ["{", "[]", "{}", '{"genotype": {}}'])
def test_weights_that_do_not_say_how_to_build_the_network(network, run_stage):
    save_file(load_file(WEIGHTS), WEIGHTS, {"network": network})
    grad_cam_fails(run_stage)


def test_weights_of_another_shape(run_stage):
    built_from = some_network(channels=5).built_from
    save_file(load_file(WEIGHTS), WEIGHTS, {"network": json.dumps(built_from)})
    grad_cam_fails(run_stage, "Error(s) in loading state_dict for Network: size mismatch for ")


def test_weights_for_other_data(pictures, run_stage, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stages/prepare.py"])
    runpy.run_module("stages.prepare", run_name="__main__")
    line = run_stage("gradcam", "DARTS_V2-2-0")
    assert line == f"{WEIGHTS}: is of other data than data/prepared; evaluate again"


def test_a_class_that_the_data_do_not_have(project, run_stage):
    project.set(gradcam={"classes": ["0", "dog"]})
    line = run_stage("gradcam", "DARTS_V2-2-0")
    assert line == "gradcam.classes[1]: unknown class 'dog' (known: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)"


def test_more_images_than_there_are(project, run_stage):
    project.set(gradcam={"images": 65})
    assert run_stage("gradcam", "DARTS_V2-2-0") == "gradcam.images: 65 is more than the 64 test images there are"


def test_an_image_that_a_class_does_not_have(project, run_stage):
    project.set(gradcam={"index": 50})
    line = run_stage("gradcam", "DARTS_V2-2-0")
    assert line.startswith("gradcam.index: 50 is too large: class 0 has ")


# Architecture weights

ALPHAS = Path("results/search/darts-darts-0/alphas.csv")


def derive_fails(run_stage, why):
    line = run_stage("derive")
    assert line.startswith(f"{ALPHAS}: is missing or damaged ({why}"), line
    assert line.endswith("); run search@darts-darts-0 again")


def test_alphas_that_are_not_there(run_stage):
    ALPHAS.unlink()
    derive_fails(run_stage, "[Errno 2] No such file or directory")


@pytest.mark.parametrize("text", ["", "epoch,cell,edge,operation,weight\n"])
def test_alphas_that_are_empty(text, run_stage):
    ALPHAS.write_text(text)
    derive_fails(run_stage, "it has no rows")


@pytest.mark.parametrize("cut", [1, 2, 19, 25, 40])
def test_alphas_that_are_cut_within_a_row(cut, run_stage):
    ALPHAS.write_bytes(ALPHAS.read_bytes()[:-cut])
    derive_fails(run_stage, "it ends within a line")


@pytest.mark.parametrize("rows", [1, 7, 8, 16, 20, 31])
def test_alphas_that_are_cut_after_a_row(rows, run_stage):
    lines = ALPHAS.read_text().splitlines(keepends=True)
    ALPHAS.write_text("".join(lines[:-rows]))
    derive_fails(run_stage, "epoch 1 does not have each operation on each edge of both cells once, in order")


@pytest.mark.parametrize("row", ["", "5", "1,normal,0-2,none", "1,normal,0-2,none,"])
def test_alphas_with_a_short_row(row, run_stage):
    lines = ALPHAS.read_text().splitlines()
    ALPHAS.write_text("\n".join([*lines[:-1], row or "1", lines[-1], ""]))
    derive_fails(run_stage, "not every row has the columns epoch, cell, edge, operation, weight")


def test_alphas_without_a_column(run_stage):
    ALPHAS.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in ALPHAS.read_text().splitlines()))
    derive_fails(run_stage, "not every row has the columns epoch, cell, edge, operation, weight")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("1,normal,0-2,none,heavy", "could not convert string to float: 'heavy'"),
        ("1,normal,0-2,none,nan", "a weight is not finite"),
        ("one,normal,0-2,none,0.1", "invalid literal for int() with base 10: 'one'"),
        ("1,other,0-2,none,0.1", "epoch 1 does not have each operation on each edge"),
        ("1,normal,0,none,0.1", "epoch 1 does not have each operation on each edge"),
        ("1,normal,0-2,more,0.1", "epoch 1 does not have each operation on each edge"),
    ],
)
def test_alphas_with_a_wrong_row(row, why, run_stage):
    lines = ALPHAS.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("1,normal,0-2,none,"))
    ALPHAS.write_text("\n".join([*lines[:first], row, *lines[first + 1 :], ""]))
    derive_fails(run_stage, why)


def test_alphas_that_are_no_text(run_stage):
    ALPHAS.write_bytes(b"\xff\xfe\x00\n")
    derive_fails(run_stage, "'utf-8' codec can't decode")


# The report

JSON = {
    "results/evaluate/DARTS_V2-2-0/metrics.json": "top1",
    "results/search/darts-darts-0/metrics.json": "train_loss",
    "results/gradcam/DARTS_V2-2-0/metrics.json": "confidence",
}
TABLES = {
    "results/evaluate/DARTS_V2-2-0/history.csv": "test_top1",
    "results/search/darts-darts-0/history.csv": "valid_top1",
    "results/search/darts-darts-0/alphas.csv": "weight",
    "results/complexity/table.csv": "conv_macs",
    "results/complexity/blocks.csv": "equation",
    "results/preference/cells.csv": "verdict",
    "results/preference/operations.csv": "chosen",
    "results/gradcam/DARTS_V2-2-0/predictions.csv": "confidence",
}
PICTURES = ["results/gradcam/DARTS_V2-2-0/pictures/1-heat.png", "results/gradcam/DARTS_V2-2-0/pictures/0-input.png"]


def report_fails(run_stage, path, why=""):
    line = run_stage("report")
    assert line.startswith(f"{path}: is missing or damaged ({why}"), line
    assert line.endswith("); `dvc repro` makes it anew")


@pytest.mark.parametrize("path", [*JSON, *TABLES])
@pytest.mark.parametrize(
    "spoil", [os.unlink, truncate, lambda path: truncate(path, 0)], ids=["missing", "cut", "empty"]
)
def test_a_result_that_the_report_cannot_read(path, spoil, run_stage):
    spoil(path)
    report_fails(run_stage, path)


@pytest.mark.parametrize(("path", "key"), JSON.items())
def test_a_result_that_lacks_a_key(path, key, run_stage):
    for text in ("{}", "[]", "[{}]", "5"):
        Path(path).write_text(text)
        report_fails(run_stage, path, f"it lacks {key}")


@pytest.mark.parametrize(("path", "key"), list(JSON.items())[:2])
def test_a_result_that_is_no_number(path, key, run_stage):
    edit_json(path, **{key: "high"})
    report_fails(run_stage, path, f"it lacks {key}")


@pytest.mark.parametrize(("path", "column"), TABLES.items())
def test_a_table_that_lacks_a_column(path, column, run_stage):
    path = Path(path)
    path.write_text(path.read_text().replace(column, "other", 1))
    report_fails(run_stage, path, "not every row has the columns ")


@pytest.mark.parametrize("path", PICTURES)
@pytest.mark.parametrize("spoil", [os.unlink, truncate], ids=["missing", "cut"])
def test_a_heat_map_that_the_report_cannot_read(path, spoil, run_stage):
    spoil(path)
    report_fails(run_stage, Path(path).parent)


def test_a_drawing_of_a_genotype_that_is_not_there(run_stage):
    path = Path("results/cells/darts-reduce.png")
    path.unlink()
    assert run_stage("report") == f"{path}: No such file or directory; `dvc repro` makes it anew"


# What is no mistake of the user's


def test_a_bug_keeps_its_traceback(project, run_stage, monkeypatch):
    def bug(*arguments):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("nas.training.device.choose_device", bug)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run_stage("search", "darts", "darts", 0)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("two\nlines"), "two lines"),
        (OSError(28, "No space left on device", "results/x"), "[Errno 28] No space left on device: 'results/x'"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "I/O error: No space left on device"),
        (MemoryError(), "out of memory; lower batch_size, channels, layers or crop_padding; of many images set data."),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "out of memory; lower batch_size, channels, layers or c"),
        (KeyboardInterrupt(), "interrupted; run it again to go on from the last whole epoch"),
    ],
    ids=repr,
)
def test_what_the_system_says(error, line, run_stage, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("nas.training.device.choose_device", fail)
    assert run_stage("search", "darts", "darts", 0).startswith(line)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_that_cannot_be_written_is_told_once(capfd):
    log = logging.getLogger("nas")
    level, handlers = log.level, log.handlers
    stage._log_to(Path("/dev/full"))
    try:
        for _ in range(3):
            log.info("goes on")
    finally:
        log.level, log.handlers = level, handlers
    out, err = capfd.readouterr()
    assert out == 3 * "goes on\n"
    assert err == "/dev/full cannot be written ([Errno 28] No space left on device): goes on without it\n"


def run_some_stage(folder, main, **environment):
    """Run a stage whose ``main(params, name)`` has the body `main`, in a process of its own."""
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
    lines = ["import logging, sys", "from pathlib import Path", "from nas.pipeline.stage import run"]
    lines += ["def main(params, name):", f"    {main}", "sys.argv = ['stages/some.py']", "run(main)"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_disk_too_full_for_the_copy_of_the_lock_ends_in_one_line(run_stage, monkeypatch):
    def fail():
        raise OSError(28, "No space left on device", "dvc.lock")

    monkeypatch.setenv("DVC_STAGE", "complexity")
    monkeypatch.setattr(stage, "_runners", list)
    monkeypatch.setattr(stage, "keep", fail)
    assert run_stage("complexity").startswith("[Errno 28] No space left on device: 'dvc.lock'")


def test_characters_that_the_console_lacks_are_spelled_out(tmp_path):
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_some_stage(tmp_path, r"logging.getLogger('nas').info('class \u732b')", **ascii_alone)
    assert (done.returncode, done.stdout, done.stderr) == (0, "class \\u732b\n", "")
    assert (tmp_path / "logs/some.log").read_text(encoding="utf-8").endswith(" class 猫\n")


def test_a_large_picture_is_read_without_a_word(tmp_path):
    Image.new("1", (12_000, 9_000)).save(tmp_path / "large.png")
    reading = "read_image(Path('large.png'), lambda picture: picture.resize((4, 3)))"
    done = run_some_stage(tmp_path, f"from nas.data.streaming import read_image; print({reading}.shape)")
    assert (done.stdout, done.stderr) == ("torch.Size([3, 3, 4])\n", "")


@pytest.fixture
def fill(project):
    """Replace folders by disks of 4 KB, which nothing of ours fits on."""
    mounted = []

    def replace(folder):
        mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder]
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True)
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk cannot be mounted here: that needs root")
        mounted.append(folder)

    yield replace
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    ("folder", "stage", "arguments"),
    [
        ("checkpoints", "search", ["darts", "darts", "0"]),
        ("checkpoints", "evaluate", ["DARTS_V2", "2", "0"]),
        ("models/evaluate", "evaluate", ["DARTS_V2", "2", "0"]),
        ("models/pretrain", "pretrain", ["vgg16_cifar"]),
        ("models/slim", "slim", ["vgg16_cifar", "0.01"]),
        ("data", "prepare", []),
        ("results/gradcam", "gradcam", ["DARTS_V2-2-0"]),
    ],
)
def test_a_disk_that_is_full_is_told_in_one_line(folder, stage, arguments, fill, run_stage):
    shutil.rmtree("checkpoints")
    fill(folder)
    assert "No space left on device" in run_stage(stage, *arguments)
    assert not [path for path in Path(folder).rglob("*") if path.is_file()]
