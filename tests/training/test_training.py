"""The training loop against the update written out; killed and run again, it ends in the same bits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.data.batches import Batches
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.published import PUBLISHED
from nas.training.checkpoint import Checkpoint
from nas.training.device import seed_for
from nas.training.loop import Meter, class_scores, evaluate, run_epochs, scores, train
from nas.training.recipe import Recipe

RECIPE = Recipe(
    epochs=3,
    learning_rate=0.05,
    learning_rate_min=0.0,
    momentum=0.9,
    weight_decay=1e-3,
    gradient_clip=1.0,
    precision=32,
)
# Two steps an epoch, of a cosine of four epochs
BY_STEP = replace(RECIPE, gradient_clip=None, cosine_epochs=4, by_step=True)
COSINE_OF_8 = [0.05 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(4)]


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


@pytest.mark.parametrize(
    ("recipe", "clip", "rates"),
    [
        (replace(RECIPE, epochs=2), 1.0, [0.05, 0.05, 0.025, 0.025]),  # of the cosine the start and the middle
        (replace(BY_STEP, epochs=2), math.inf, COSINE_OF_8),
    ],
)
def test_a_step_is_sgd_with_clipping_and_the_auxiliary_loss(recipe: Recipe, clip: float, rates: list[float]) -> None:
    trained, reference = network(), network()
    train_batches, test_batches = loaders()
    train(trained, train_batches, test_batches, recipe, auxiliary_weight=0.4, seed=5)
    velocity, norms = {}, []
    reference.train()
    steps = [batch for epoch in range(2) for batch in train_batches.epoch(seed_for(5, epoch))]
    for learning_rate, (images, labels) in zip(rates, steps, strict=True):
        logits, auxiliary = reference(images)
        loss = nn.functional.cross_entropy(logits, labels) + 0.4 * nn.functional.cross_entropy(auxiliary, labels)
        names, parameters = zip(*reference.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters)
        norms.append(math.sqrt(sum(g.double().square().sum().item() for g in gradients)))
        with torch.no_grad():
            for name, p, g in zip(names, parameters, gradients, strict=True):
                velocity[name] = 0.9 * velocity.get(name, 0) + g * min(1, clip / norms[-1]) + 1e-3 * p
                p -= learning_rate * velocity[name]
    assert max(norms) > 1.0
    for name, p in reference.named_parameters():
        torch.testing.assert_close(dict(trained.named_parameters())[name], p, rtol=1e-4, atol=1e-5, msg=name)


def test_without_a_clip_a_gradient_of_any_length_is_applied_whole() -> None:
    """Of a linear layer that starts at 0, whose gradient is the mean of (softmax − one-hot) · image."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    nn.init.zeros_(model[1].weight)
    images = torch.randint(256, (8, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])
    batches = Batches(images, labels, batch_size=8, mean=[0.0], std=[0.001])
    train(model, batches, batches, replace(BY_STEP, epochs=1), seed=5)
    error = torch.full((8, 3), 1 / 3) - nn.functional.one_hot(labels, 3)
    gradient = error.T @ (images.flatten(1) / 255 / 0.001) / 8
    assert gradient.norm() > 100
    torch.testing.assert_close(model[1].weight.detach(), -0.05 * gradient)


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
    loss, top1, top5 = evaluate(model, test_batches, RECIPE)
    assert (rows[-1]["test_loss"], rows[-1]["test_top1"], rows[-1]["test_top5"]) == (loss, top1, top5)
    assert [row["epoch"] for row in rows] == [1, 2, 3]


class Stop(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.parametrize("recipe", [RECIPE, BY_STEP], ids=["by epoch", "by step"])
@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_training_ends_in_the_same_bits(stop_after: int, recipe: Recipe, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path))
    train_batches, test_batches = loaders()
    whole = network()
    rows = train(whole, train_batches, test_batches, recipe, auxiliary_weight=0.4, drop_path=0.2, seed=5)

    save = Checkpoint.save

    def stop(self, records):
        save(self, records)
        if len(records) == stop_after:
            raise Stop

    options = {"auxiliary_weight": 0.4, "drop_path": 0.2, "seed": 5, "key": "k", "name": "n"}
    monkeypatch.setattr(Checkpoint, "save", stop)
    with pytest.raises(Stop):
        train(network(), train_batches, test_batches, recipe, **options)
    monkeypatch.setattr(Checkpoint, "save", save)
    torch.manual_seed(999)  # a new process has another state of the global generator
    resumed = network()
    again = train(resumed, train_batches, test_batches, recipe, **options)
    assert again == rows
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_finished_training_is_not_trained_again(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path))
    train_batches, test_batches = loaders()
    options = {"auxiliary_weight": 0.4, "seed": 5, "name": "n"}
    first, again = network(), network()
    rows = train(first, train_batches, test_batches, RECIPE, **options, key="k")
    monkeypatch.setattr(Batches, "epoch", None)
    assert train(again, train_batches, test_batches, RECIPE, **options, key="k") == rows
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    with pytest.raises(TypeError):  # of other code, data or parameters it is
        train(network(), train_batches, test_batches, RECIPE, **options, key="other")


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


def test_scores_are_the_last_epochs():
    history = [{"epoch": i, "test_top1": 10.0 * i, "test_top5": 20.0 * i, "test_loss": 1.0 / i} for i in (1, 2)]
    assert scores(history) == {"top1": 20.0, "top5": 40.0, "loss": 0.5}


class Says(nn.Module):
    """Takes every image for the class that its first pixel says."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return nn.functional.one_hot(x[:, 0, 0, 0].round().long(), 4).float()


def told_as(labels: list[int], said: list[int]) -> Batches:
    images = torch.tensor(said, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 5, 5)
    return Batches(images, torch.tensor(labels), batch_size=3, mean=[0.0], std=[1 / 255])


def test_of_uneven_classes_each_is_told() -> None:
    batches = told_as(labels=[0, 0, 0, 0, 1, 1, 3], said=[0, 0, 0, 2, 1, 0, 0])
    scores = class_scores(Says().train(), batches, ["ant", "bee", "cat", "dog"], 32)
    assert scores["class_top1"] == {"ant": 75.0, "bee": 50.0, "dog": 0.0}  # there is no cat
    assert scores["balanced_top1"] == pytest.approx((75 + 50) / 3)


def test_of_even_classes_the_accuracy_says_it_all() -> None:
    assert class_scores(Says(), told_as([0, 0, 0, 1, 1, 3, 3], [0] * 7), list("abcd"), 32) == {}


def test_more_epochs_than_asked_for_are_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path))
    checkpoint = Checkpoint("n", "k", module=nn.Linear(1, 1))
    checkpoint.save([{"epoch": 1}, {"epoch": 2}])
    with pytest.raises(UserError, match="has 2 epochs of 1; delete it to train from the start"):
        run_epochs(1, 1, 0, checkpoint, lambda *_: {})
