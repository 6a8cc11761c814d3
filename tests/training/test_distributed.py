"""Several processes against one at the same batches, and how they start, fail and end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ENVIRONMENT, ROOT, Project
from torch import nn
from torch.nn.functional import batch_norm

from nas.data import batches as data
from nas.data import sharing
from nas.data.batches import Batches
from nas.data.streaming import cpus
from nas.dnal.backbones import build
from nas.dnal.phases import GateRecipe, learn_gates
from nas.fast import accelerate, conditions
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.pipeline.errors import FAILURE, UserError
from nas.search.algorithm import make
from nas.search.loop import AlphaRecipe, search
from nas.space.published import PUBLISHED
from nas.space.spaces import SearchSpace
from nas.training import checkpoint, distributed
from nas.training.checkpoint import Checkpoint
from nas.training.loop import train
from nas.training.recipe import Recipe

RECIPE = Recipe(
    epochs=2,
    learning_rate=0.02,
    learning_rate_min=0.0,
    momentum=0.9,
    weight_decay=1e-3,
    gradient_clip=1.0,
    precision=32,
)
ALPHA = AlphaRecipe(learning_rate=0.02, betas=(0.5, 0.999), weight_decay=1e-3)
SPACE = SearchSpace("small", ("none", "skip_connect", "max_pool_3x3", "dil_conv_3x3", "pib_conv_3x3"))

# Each job is computed by one process and by several, in float64, so that rounding hides nothing.


def batches(count: int, size: int, **options: object) -> Batches:
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(3, (count,), generator=generator)
    images = (torch.rand(count, 1, 8, 8, generator=generator) * 80).to(torch.uint8)
    images[torch.arange(count), 0, labels * 3] += 150  # a bright row tells the class
    return Batches(images, labels, batch_size=size, mean=[0.3], std=[0.3], **options)


def augmented(count: int = 34) -> Batches:
    return batches(count, 16, shuffle=True, crop_padding=1, flip=True, cutout=4)


def job_batches() -> dict:
    found = list(augmented().epoch(7))
    return {"images": [images for images, _ in found], "labels": [labels for _, labels in found]}


def job_norms() -> dict:
    """Batch norms of two and four dimensions in float32, of means that are large against the deviation, 7 images."""
    found = {}
    for name, shape in (("maps", (7, 3, 4, 4)), ("vectors", (7, 3))):
        torch.manual_seed(0)
        x, weights = 100 + torch.randn(shape), torch.randn(shape)
        norm = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3)
        nn.init.uniform_(norm.weight)
        distributed.synchronise(norm)
        mine = sharing.part(7)
        x = x[mine].clone().requires_grad_()
        y = norm(x)
        (y * weights[mine]).sum().backward()
        found[name] = {"y": y.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
        found[name] |= {"mean": norm.running_mean, "variance": norm.running_var, "evaluated": norm.eval()(x).detach()}
    return found


def rows_and_state(rows: list[dict], model: nn.Module) -> dict:
    return {"rows": rows, "state": model.state_dict()}


def network() -> Network:
    torch.manual_seed(0)
    how = {"channels": 4, "layers": 1, "num_classes": 3, "in_channels": 1, "auxiliary": True}
    return accelerate(Network(PUBLISHED["DARTS_V2"], **how).double())


def trained(key: str | None = None) -> dict:
    model, options = network(), {"auxiliary_weight": 0.4, "drop_path": 0.3, "seed": 5}
    return rows_and_state(train(model, augmented(), batches(11, 8), RECIPE, **options, key=key), model)


def job_train() -> dict:
    return trained()


class Stop(Exception):
    """Stands for a kill between two epochs."""


def job_resume() -> dict:
    save = Checkpoint.save

    def stop(self: Checkpoint, records: list[dict]) -> None:
        save(self, records)
        sharing.mean([torch.zeros(())])  # the first has written when the others go on
        raise Stop

    Checkpoint.save = stop
    try:
        trained("k")
    except Stop:
        pass
    finally:
        Checkpoint.save = save
    torch.manual_seed(sharing.rank())  # a new process has another state of the global generator
    return trained("k")


def job_pretrain() -> dict:
    """Open gates, which have no gradient; another learning rate at every step, and no clipping."""
    torch.manual_seed(0)
    model = build("vgg16_cifar", width=0.0625, num_classes=3, in_channels=1, image_size=8).double()
    recipe = replace(RECIPE, gradient_clip=None, cosine_epochs=4, by_step=True)
    return rows_and_state(train(model, augmented(), batches(11, 8), recipe, seed=5), model)


def job_gates() -> dict:
    torch.manual_seed(0)
    model = build("vgg16_cifar", width=0.0625, num_classes=3, in_channels=1, image_size=8).double()
    recipe = GateRecipe(epochs=2, penalty=0.01, learning_rate=0.01, momentum=0.9, precision=32)
    return rows_and_state(learn_gates(model, augmented(), recipe, seed=5), model)


def searched(name: str, recompute: bool = False) -> dict:
    torch.manual_seed(0)
    model = Supernet(SPACE, channels=2, layers=3, nodes=1, num_classes=3, in_channels=1, recompute=recompute).double()
    halves = augmented(21), batches(20, 16, shuffle=True), batches(20, 16)  # the last two batches have 5 images and 4
    history, alphas = search(accelerate(model), *halves, replace(RECIPE, epochs=1), ALPHA, make(name), seed=5)
    return rows_and_state(history + alphas, model)


def job_search_first() -> dict:
    return searched("darts")


def job_search_second() -> dict:
    return searched("darts_second")


def job_search_recomputed() -> dict:
    return searched("darts", recompute=True)


def job_search_gdas() -> dict:
    return searched("gdas")


JOBS = [value for name, value in globals().items() if name.startswith("job_")]


def all_jobs(folder: Path) -> dict:
    os.environ["NAS_CHECKPOINTS"] = str(folder / "checkpoints")
    conditions.SMALLEST = 0  # small maps are computed as large ones are
    data.normalise = partial(data.normalise, dtype=torch.float64)
    torch.set_num_threads(1)
    return {job.__name__.removeprefix("job_"): job() for job in JOBS}


def one_of(rank: int, count: int, parent: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {distributed.LAUNCHER: str(parent), FAILURE: str(folder / "failure"), "GLOO_SOCKET_IFNAME": "lo"}
    assert distributed.start(torch.device("cpu"), count, 1)
    with pytest.raises(UserError, match="they differ"):
        distributed.require_same(rank, "they differ")
    if rank:
        checkpoint.save_file = None  # the first alone writes checkpoints
    torch.save(all_jobs(folder), folder / f"{rank}.pt")
    assert distributed.finish() == (rank == 0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What one process leaves of every job."""
    smallest, threads, normalise = conditions.SMALLEST, torch.get_num_threads(), data.normalise
    try:
        return all_jobs(tmp_path_factory.mktemp("alone"))
    finally:
        conditions.SMALLEST, data.normalise = smallest, normalise
        del os.environ["NAS_CHECKPOINTS"]
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of three processes leaves of every job: one has no image of the last batch of two."""
    folder, context = tmp_path_factory.mktemp("together"), torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_of, args=(rank, 3, os.getpid(), folder)) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(3)]


def test_together_they_take_the_same_images_augmented_alike(alone: dict, together: list[dict]) -> None:
    for name in ("images", "labels"):
        parts = zip(*(found["batches"][name] for found in together), strict=True)
        for whole, of_all in zip(alone["batches"][name], parts, strict=True):
            assert torch.equal(torch.cat(of_all), whole)
            assert max(map(len, of_all)) - min(map(len, of_all)) <= 1


@pytest.mark.parametrize("kind", ["maps", "vectors"])
def test_batch_norm_is_that_of_the_whole_batch(kind: str, together: list[dict]) -> None:
    """Against the definition (Ioffe & Szegedy, 2015, algorithm 1) in float64."""
    torch.manual_seed(0)
    shape = (7, 3, 4, 4) if kind == "maps" else (7, 3)
    x, weights = 100 + torch.randn(shape), torch.randn(shape)
    norm = (nn.BatchNorm2d if kind == "maps" else nn.BatchNorm1d)(3)
    weight, bias = nn.init.uniform_(norm.weight).detach().double().requires_grad_(), torch.zeros(3).double()
    x, weights, bias = x.double().requires_grad_(), weights.double(), bias.requires_grad_()
    dims, per = [0, 2, 3][: len(shape) - 1], [1, 3, 1, 1][: len(shape)]
    mean, count = x.mean(dims, keepdim=True), x.numel() // 3
    variance = (x - mean).square().mean(dims, keepdim=True)
    y = (x - mean) / (variance + 1e-5).sqrt() * weight.view(per) + bias.view(per)
    (y * weights).sum().backward()
    found = [of["norms"][kind] for of in together]
    running = 0.1 * mean.detach().flatten(), 0.9 + 0.1 * variance.detach().flatten() * count / (count - 1)
    close = {"rtol": 1e-4, "atol": 1e-4}  # of x itself, 100 in float32, the last digit is 8e-6; of Σx², 1e-3
    for of in found:
        torch.testing.assert_close(of["mean"].double(), running[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(of["variance"].double(), running[1], rtol=1e-5, atol=1e-6)
    for name, expected in (("y", y), ("x", x.grad), ("evaluated", batch_norm(x, *running, weight, bias))):
        torch.testing.assert_close(torch.cat([of[name] for of in found]).double(), expected.detach(), **close)
    for name, expected in (("weight", weight.grad), ("bias", bias.grad)):
        torch.testing.assert_close(sum(of[name] for of in found).double(), expected, **close)


TRAININGS = [name for name in (job.__name__.removeprefix("job_") for job in JOBS) if name not in ("batches", "norms")]


@pytest.mark.parametrize("name", TRAININGS)
def test_together_they_train_as_one(name: str, alone: dict, together: list[dict]) -> None:
    expected, found = alone[name], together[0][name]
    for row, whole in zip(found["rows"], expected["rows"], strict=True):
        assert row == {k: v if isinstance(v, str | list) else pytest.approx(v, rel=1e-8) for k, v in whole.items()}
    for key, tensor in expected["state"].items():
        torch.testing.assert_close(found["state"][key], tensor, rtol=1e-7, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", TRAININGS)
def test_all_have_the_same_bits(name: str, together: list[dict]) -> None:
    first = together[0][name]
    for other in together[1:]:
        assert other[name]["rows"] == first["rows"]
        assert all(torch.equal(other[name]["state"][key], tensor) for key, tensor in first["state"].items())


def test_a_resumed_training_ends_in_the_same_bits(together: list[dict]) -> None:
    for found in together:
        assert found["resume"]["rows"] == found["train"]["rows"]
        states = zip(found["resume"]["state"].values(), found["train"]["state"].values(), strict=True)
        assert all(torch.equal(a, b) for a, b in states)


# How they start, fail and end

TOY = """
import os, signal, sys, time
from nas.pipeline.stage import run


def main(params, name):
    import torch
    import torch.distributed as dist
    from nas.data import sharing
    from nas.training import distributed
    from nas.pipeline.errors import UserError

    if not distributed.start(torch.device("cpu"), params.devices, params.nodes):
        return
    print(f"pid {os.getpid()}\\n", end="", flush=True)
    what, last = os.environ["WHAT"], sharing.rank() > 0
    if what == "mistake" or (what == "one mistake" and last):
        raise UserError("this one is the user's")
    if what == "bug" and last:
        raise KeyError("a bug")
    if what == "killed" and last:
        os.kill(os.getpid(), signal.SIGKILL)
    total = torch.ones(())
    dist.all_reduce(total)  # which waits for the others
    if what == "wait":
        print("ready\\n", end="", flush=True)
        time.sleep(600)
    if distributed.finish():
        print("wrote", int(total))


run(main)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """A stage whose processes do what WHAT says, started."""
    (tmp_path / "toy.py").write_text(TOY)
    default = (ROOT / "presets/default.yaml").read_text()

    def start(what: str, devices: int = 2, nodes: int = 1, **environment: str) -> subprocess.Popen:
        text = default.replace("\ndevices: 1", f"\ndevices: {devices}").replace("\nnodes: 1", f"\nnodes: {nodes}")
        (tmp_path / "params.yaml").write_text(text)
        return subprocess.Popen(
            [sys.executable, "toy.py"],
            cwd=tmp_path,
            env=ENVIRONMENT | {"PYTHONPATH": str(ROOT), "WHAT": what} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # also when it ends between the two looks that psutil takes
        return False


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while any(lives(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def numbers(text: str) -> list[int]:
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("pid")]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("mistake", "this one is the user's"),
        ("one mistake", "this one is the user's"),
        ("killed", "process 2 of 2 was killed (SIGKILL); run it again to go on"),
    ],
)
def test_a_failure_of_one_ends_all_in_one_line(what: str, line: str, toy: Callable[..., subprocess.Popen]) -> None:
    process = toy(what)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (1, f"error: toy: {line}\n")
    assert gone(numbers(output))


def test_a_bug_in_one_ends_all_with_its_traceback(toy: Callable[..., subprocess.Popen]) -> None:
    process = toy("bug")
    output, errors = process.communicate()
    assert process.returncode == 1 and errors.count("Traceback") == 1 and "KeyError: 'a bug'" in errors
    assert gone(numbers(output))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(number: int, toy: Callable[..., subprocess.Popen]) -> None:
    process, lines = toy("wait"), ""
    while lines.count("ready") < 2:
        lines += process.stdout.readline()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert gone(numbers(lines)) and len(numbers(lines)) == 2
    errors = process.communicate()[1]
    expected = {signal.SIGTERM: 143, signal.SIGINT: 1, signal.SIGKILL: -9}
    assert process.returncode == expected[number]
    told = "error: toy: interrupted; run it again to go on from the last whole epoch\n"
    assert errors == (told if number == signal.SIGINT else "")


def test_on_several_nodes_they_find_each_other_as_torchrun_says(toy: Callable[..., subprocess.Popen]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": "0"}
    processes = [toy("work", 1, 2, RANK=rank, GLOO_SOCKET_IFNAME="lo", **shared) for rank in "01"]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert ["wrote 2" in output for output in outputs] == [True, False]


def test_too_few_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"^devices: 2 is not allowed: torch sees 1 GPU on this node$"):
        distributed.start(torch.device("cuda"), 2, 1)


def test_nodes_without_torchrun(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/stages/evaluate.py", "DARTS_V2", "20", "0"])
    with pytest.raises(UserError, match="^nodes: 2 needs torchrun; start on every node: torchrun ") as told:
        distributed.start(torch.device("cpu"), 4, 2)
    assert "--nnodes 2 --nproc-per-node 4 " in str(told.value)
    assert str(told.value).endswith(" -m stages.evaluate DARTS_V2 20 0")


def test_torchrun_with_other_numbers_or_without_its_variables(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="^RANK is set, but not LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: "):
        distributed.start(torch.device("cpu"), 2, 1)
    for name, value in (("LOCAL_RANK", "0"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "x"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    for devices, nodes in ((2, 1), (1, 1)):
        with pytest.raises(UserError, match=f"^torchrun started 4 processes, but .* is {devices} · {nodes} "):
            distributed.start(torch.device("cpu"), devices, nodes)


def test_processes_of_one_node_share_its_cpus(monkeypatch) -> None:
    there = cpus()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert cpus() == max(1, there // 2)


def test_a_stage_over_two_processes(finished: Project, copy_of: Callable[[Project], Project]) -> None:
    project = copy_of(finished)
    path = project.folder / "results/evaluate/DARTS_V2-2-0/history.csv"
    before = path.read_text()
    shutil.rmtree(project.folder / "checkpoints")
    project.set(devices=2)
    output = project.run("dvc", "repro", "--single-item", "evaluate@DARTS_V2-2-0").stdout
    assert output.count("epoch 2/2") == 1
    assert before != path.read_text()
    for one, two in zip(before.splitlines()[1:], path.read_text().splitlines()[1:], strict=True):
        assert list(map(float, two.split(","))) == pytest.approx(list(map(float, one.split(","))), rel=1e-3)
    assert len(list((project.folder / "checkpoints").rglob("*.safetensors"))) == 1
