"""What a checkpoint keeps of modules and optimizers, where it lies, and which files stay."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from nas.pipeline.errors import UserError
from nas.training.checkpoint import Checkpoint, checkpoints


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


def step(module: nn.Module, optimizer: Optimizer, number: int = 0) -> None:
    """With a gradient for the bias in even steps alone, as of an operation that is drawn now and then."""
    optimizer.zero_grad()
    torch.manual_seed(number)
    for parameter in list(module.parameters())[: 1 + (number % 2 == 0)]:
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step()


OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "SGD without momentum": lambda parameters: SGD(parameters, lr=0.1),
    "Adam": lambda parameters: Adam(parameters, lr=0.1, betas=(0.5, 0.999), weight_decay=0.01),
}


@pytest.mark.parametrize("made", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_an_optimizer_goes_on_to_the_same_bits(made: str, steps: int) -> None:
    module, copy = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer, other = (OPTIMIZERS[made](m.parameters()) for m in (module, copy))
    for number in range(1, steps + 1):
        step(module, optimizer, number)
    optimizer.param_groups[0]["lr"] = 0.05
    Checkpoint("n", "k", module=module, optimizer=optimizer).save([{"epoch": 1}])
    assert Checkpoint("n", "k", module=copy, optimizer=other).restore() == [{"epoch": 1}]
    assert other.param_groups[0]["lr"] == 0.05
    for number in range(steps + 1, steps + 4):
        for each in ((module, optimizer), (copy, other)):
            step(*each, number)
    for a, b in zip(module.parameters(), copy.parameters(), strict=True):
        assert torch.equal(a, b)
        assert optimizer.state[a].keys() == other.state[b].keys()


def test_the_file_holds_the_optimizers_state_dict(folder: Path) -> None:
    module = nn.Linear(3, 2)
    adam = OPTIMIZERS["Adam"](module.parameters())
    step(module, adam)
    Checkpoint("n", "k", module=module, adam=adam).save([])
    with safe_open(folder / "n/k.safetensors", "pt") as file:
        moments = {f"adam/{i}/{key}" for i in (0, 1) for key in ("step", "exp_avg", "exp_avg_sq")}
        assert set(file.keys()) == {"module/weight", "module/bias", "records", "optimizers"} | moments
        assert torch.equal(file.get_tensor("adam/1/exp_avg"), adam.state[module.bias]["exp_avg"])
        (group,) = json.loads(file.get_tensor("optimizers").numpy().tobytes())["adam"]["param_groups"]
    assert group["betas"] == [0.5, 0.999] and group["params"] == [0, 1]


def state(module: nn.Module, adam: Optimizer) -> list[Tensor]:
    return [*module.parameters(), *(value for own in adam.state.values() for value in own.values())]


def test_no_damage_goes_on_silently_to_other_bits(folder: Path) -> None:
    """A flipped bit, a tail of zeros, a cut: refused in one line, unless all that counts is as it was."""
    module = nn.Linear(3, 2)
    adam = OPTIMIZERS["Adam"](module.parameters())
    step(module, adam)
    Checkpoint("n", "k", module=module, adam=adam).save([{"epoch": 1, "loss": 0.5}])
    path, kept = folder / "n/k.safetensors", state(module, adam)
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(8, len(whole))]
    zeros = [whole[:-n] + bytes(n) for n in (1, 40, 200)]
    cut = [whole[:-n] for n in (1, 40, 200)]
    told = 0
    for content in flipped + zeros + cut:
        path.write_bytes(content)
        copy = nn.Linear(3, 2)
        other = OPTIMIZERS["Adam"](copy.parameters())
        try:
            records = Checkpoint("n", "k", module=copy, adam=other).restore()
        except UserError as error:
            told += "the checkpoint is damaged (" in str(error) and "\n" not in str(error)
            continue
        assert records == [{"epoch": 1, "loss": 0.5}]
        assert all(torch.equal(a, b) for a, b in zip(kept, state(copy, other), strict=True))
    assert told > 0.95 * len(flipped)


def test_a_part_that_is_missing_is_told(folder: Path) -> None:
    module = nn.Linear(3, 2)
    Checkpoint("n", "k", module=module).save([{"epoch": 1}])
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        Checkpoint("n", "k", module=module, adam=OPTIMIZERS["Adam"](module.parameters())).restore()


def test_many_epochs_fit(folder: Path) -> None:
    """A safetensors file's description of itself ends at 100 MB."""
    module = nn.Linear(3, 2)
    records = [{"epoch": epoch, "alphas": "0" * 10**6} for epoch in range(110)]
    Checkpoint("n", "k", module=module).save(records)
    assert Checkpoint("n", "k", module=module).restore() == records


def test_it_is_on_the_disk_before_it_takes_the_earlier_ones_place(folder: Path, monkeypatch) -> None:
    module, done = nn.Linear(3, 2), []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("disk"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("name"), replace(*paths))[1])
    Checkpoint("n", "k", module=module).save([])
    assert done == ["disk", "name", "disk"]


def test_a_checkpoint_of_another_key_is_not_taken() -> None:
    module = nn.Linear(3, 2)
    Checkpoint("n", "one", module=module).save([{"epoch": 1}])
    assert Checkpoint("n", "other", module=module).restore() == []
    assert Checkpoint("m", "one", module=module).restore() == []
    assert Checkpoint("n", "one", module=module).restore() == [{"epoch": 1}]


def test_the_newest_four_and_those_of_a_day_stay(folder: Path) -> None:
    hours = {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 23, "g": 25, "h": 1000}
    for name, age in hours.items():
        Checkpoint("n", name).save([])
        os.utime(folder / f"n/{name}.safetensors", (time.time() - 3600 * age,) * 2)
    Checkpoint("m", "old").save([])
    os.utime(folder / "m/old.safetensors", (0, 0))
    Checkpoint("n", "a").prune()
    Checkpoint("m", "old").prune()
    assert sorted(p.stem for p in (folder / "n").iterdir()) == ["a", "b", "c", "d", "e", "f"]
    assert (folder / "m/old.safetensors").exists()  # one of the newest four of its stage
    for age, name in enumerate("abcdef"):
        os.utime(folder / f"n/{name}.safetensors", (age, age))
    Checkpoint("n", "a").prune()
    assert sorted(p.stem for p in (folder / "n").iterdir()) == ["c", "d", "e", "f"]


def test_a_checkpoint_that_is_used_again_counts_as_new(folder: Path) -> None:
    Checkpoint("n", "k").save([])
    path = folder / "n/k.safetensors"
    os.utime(path, (0, 0))
    Checkpoint("n", "k").restore()
    assert path.stat().st_mtime > time.time() - 3600


def test_where_checkpoints_lie(tmp_path: Path, folder: Path, monkeypatch) -> None:
    """DVC sets DVC_ROOT: to the repository, also for what it runs in a temporary copy of it."""
    assert checkpoints() == folder
    monkeypatch.delenv("NAS_CHECKPOINTS")
    copy = tmp_path / ".dvc/tmp/exps/tmpk2"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert checkpoints() == Path("checkpoints")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert checkpoints() == tmp_path / "checkpoints"
    monkeypatch.chdir(tmp_path)  # an ordinary dvc repro
    assert checkpoints() == Path("checkpoints")
    monkeypatch.setenv("DVC_ROOT", "/another/repository")
    assert checkpoints() == Path("checkpoints")
