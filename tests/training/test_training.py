"""The training loop against the update written out; checkpoints that continue to the same bits."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.batches import Batches
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.genotypes import PUBLISHED
from nas.training import loop as training
from nas.training.loop import Checkpoint, Meter, Recipe, choose_device, run_epochs, seed_for, train

RECIPE = Recipe(
    epochs=3,
    learning_rate=0.05,
    learning_rate_min=0.0,
    momentum=0.9,
    weight_decay=1e-3,
    gradient_clip=1.0,
    precision=32,
)


@pytest.fixture(autouse=True)
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINTS", tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def network(auxiliary: bool = True) -> Network:
    torch.manual_seed(0)
    return Network(PUBLISHED["DARTS_V2"], channels=4, layers=2, num_classes=3, in_channels=1, auxiliary=auxiliary)


def loaders() -> tuple[Batches, Batches]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (40,), generator=generator)
    images = (torch.rand(40, 1, 8, 8, generator=generator) * 80).to(torch.uint8)
    images[torch.arange(40), 0, labels * 3] += 150  # a bright row tells the class
    options = {"batch_size": 16, "mean": [0.3], "std": [0.3]}
    train_batches = Batches(images[:32], labels[:32], shuffle=True, crop_padding=1, cutout=2, **options)
    return train_batches, Batches(images[32:], labels[32:], **options)


def test_cosine_follows_sgdr() -> None:
    recipe = Recipe(
        epochs=4, learning_rate=1.0, learning_rate_min=0.2, momentum=0, weight_decay=0, gradient_clip=1, precision=32
    )
    expected = [0.2 + 0.4 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    assert [recipe.learning_rate_at(t) for t in range(4)] == pytest.approx(expected)
    assert recipe.learning_rate_at(0) == 1.0


def test_steps_divide_by_ten_at_each_milestone() -> None:
    recipe = replace(RECIPE, epochs=5, milestones=(1, 3))
    assert [recipe.learning_rate_at(t) for t in range(5)] == pytest.approx([0.05, 0.005, 0.005, 0.0005, 0.0005])
    assert {replace(RECIPE, milestones=()).learning_rate_at(t) for t in range(3)} == {0.05}


def test_meter_counts_like_numpy() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 12)).astype(np.float32), rng.integers(12, size=50)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(50), labels]
    ranks = (logits > logits[np.arange(50), labels][:, None]).sum(1)
    meter = Meter()
    for part in (slice(0, 20), slice(20, 50)):  # batches of different sizes
        meter.add(torch.tensor(losses[part].mean()), torch.tensor(logits[part]), torch.tensor(labels[part]))
    expected = (losses.mean(), 100 * (ranks < 1).mean(), 100 * (ranks < 5).mean())
    assert meter.means() == pytest.approx(expected, rel=1e-6)


def test_a_step_is_sgd_with_clipping_and_the_auxiliary_loss() -> None:
    recipe = Recipe(**(vars(RECIPE) | {"epochs": 2}))
    trained, reference = network(), network()
    train_batches, test_batches = loaders()
    train(trained, train_batches, test_batches, recipe, auxiliary_weight=0.4, seed=5)
    velocity = {}
    reference.train()
    steps = [(0.05, batch) for batch in train_batches.epoch(seed_for(5, 0))]
    steps += [(0.025, batch) for batch in train_batches.epoch(seed_for(5, 1))]  # the cosine's middle
    for learning_rate, (images, labels) in steps:
        logits, auxiliary = reference(images)
        loss = nn.functional.cross_entropy(logits, labels) + 0.4 * nn.functional.cross_entropy(auxiliary, labels)
        names, parameters = zip(*reference.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        with torch.no_grad():
            for name, p, g in zip(names, parameters, gradients, strict=True):
                velocity[name] = 0.9 * velocity.get(name, 0) + g * min(1, 1.0 / norm) + 1e-3 * p
                p -= learning_rate * velocity[name]
    for name, p in reference.named_parameters():
        torch.testing.assert_close(dict(trained.named_parameters())[name], p, rtol=1e-4, atol=1e-5, msg=name)


def test_drop_path_rises_linearly_and_last_epoch_is_the_result(monkeypatch) -> None:
    seen = []
    forward = Network.forward

    def watched(self, x):
        if self.training:
            seen.append(self.drop_path)
        return forward(self, x)

    monkeypatch.setattr(Network, "forward", watched)
    model = network(auxiliary=False)
    train_batches, test_batches = loaders()
    rows = train(model, train_batches, test_batches, RECIPE, drop_path=0.3, seed=5)
    assert seen == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2])
    loss, top1, top5 = training.test(model, test_batches, RECIPE)
    assert (rows[-1]["test_loss"], rows[-1]["test_top1"], rows[-1]["test_top5"]) == (loss, top1, top5)
    assert [row["epoch"] for row in rows] == [1, 2, 3]


class Stop(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_training_ends_in_the_same_bits(stop_after: int, monkeypatch, checkpoints) -> None:
    train_batches, test_batches = loaders()
    whole = network()
    rows = train(whole, train_batches, test_batches, RECIPE, auxiliary_weight=0.4, drop_path=0.2, seed=5)

    save = Checkpoint.save

    def stop(self, records):
        save(self, records)
        if len(records) == stop_after:
            raise Stop

    options = {"auxiliary_weight": 0.4, "drop_path": 0.2, "seed": 5, "key": "k", "name": "n"}
    monkeypatch.setattr(Checkpoint, "save", stop)
    with pytest.raises(Stop):
        train(network(), train_batches, test_batches, RECIPE, **options)
    monkeypatch.setattr(Checkpoint, "save", save)
    torch.manual_seed(999)  # a new process has another state of the global generator
    resumed = network()
    again = train(resumed, train_batches, test_batches, RECIPE, **options)
    assert again == rows
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    training.remove_checkpoints("n")
    assert not list(checkpoints.rglob("*"))


def test_a_checkpoint_of_another_key_is_not_taken() -> None:
    train_batches, test_batches = loaders()
    train(network(), train_batches, test_batches, RECIPE, auxiliary_weight=0.4, seed=5, key="one", name="n")
    model = network()
    assert Checkpoint("n", "other", network=model).restore() == []
    assert len(Checkpoint("n", "one", network=model, optimizer=RECIPE.optimizer(model.parameters())).restore()) == 3


def test_adams_state_is_restored_whole() -> None:
    parameter = nn.Linear(3, 2)
    adam = torch.optim.Adam(parameter.parameters(), lr=0.1, betas=(0.5, 0.999))
    for _ in range(3):
        adam.zero_grad()
        parameter(torch.ones(1, 3)).square().sum().backward()
        adam.step()
    Checkpoint("n", "k", module=parameter, adam=adam).save([{"epoch": 1}])
    copy = nn.Linear(3, 2)
    other = torch.optim.Adam(copy.parameters(), lr=0.1, betas=(0.5, 0.999))
    assert Checkpoint("n", "k", module=copy, adam=other).restore() == [{"epoch": 1}]
    for model, optimizer in ((parameter, adam), (copy, other)):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    assert torch.equal(parameter.weight, copy.weight)


def test_the_key_follows_settings_data_and_code(tmp_path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    key = training.result_key(tmp_path, {"epochs": 3})
    assert key == training.result_key(tmp_path, {"epochs": 3})
    assert key != training.result_key(tmp_path, {"epochs": 4})
    (tmp_path / "meta.json").write_text('{"a": 1}')
    assert key != training.result_key(tmp_path, {"epochs": 3})


def test_divergence_ends_in_one_line() -> None:
    with pytest.raises(UserError, match="loss is not finite in epoch 1: .* lower the learning rate"):
        run_epochs(2, 1, 0, None, lambda epoch, seed, tick: {"loss": math.nan})


def test_every_epoch_has_its_own_seed_and_sets_the_generators() -> None:
    drawn = []
    run_epochs(3, 1, 7, None, lambda epoch, seed, tick: drawn.append((seed, torch.rand(1).item())) or {})
    assert len(set(drawn)) == 3
    again = []
    run_epochs(3, 1, 7, None, lambda epoch, seed, tick: again.append((seed, torch.rand(1).item())) or {})
    assert again == drawn


def test_seeds_are_stable_and_distinct() -> None:
    digest = hashlib.sha256(b"0/search@darts").hexdigest()
    assert seed_for(0, "search@darts") == int(digest[:16], 16) // 2
    assert len({seed_for(s, n) for s in range(20) for n in ("a", "b")}) == 40
    assert all(0 <= seed_for(s) < 2**63 for s in range(100))


def test_bf16_trains_close_to_float32() -> None:
    train_batches, test_batches = loaders()
    results = {}
    for precision in (32, "bf16"):
        model = network()
        recipe = Recipe(**(vars(RECIPE) | {"precision": precision}))
        results[precision] = train(model, train_batches, test_batches, recipe, auxiliary_weight=0.4, seed=5)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert results[32] != results["bf16"]
    assert results["bf16"][0]["train_loss"] == pytest.approx(results[32][0]["train_loss"], rel=0.1)


def test_choose_device_sets_threads_and_refuses_a_missing_gpu(monkeypatch) -> None:
    threads = torch.get_num_threads()
    try:
        assert choose_device("cpu", 3) == torch.device("cpu")
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert choose_device("auto", 1) == torch.device("cpu")
        with pytest.raises(UserError, match="device: cuda .* auto or cpu"):
            choose_device("cuda", 1)
    finally:
        torch.set_num_threads(threads)
