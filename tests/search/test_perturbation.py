"""Selection by perturbation: what a removal costs, what is chosen by it, where α misleads, and a resumed selection."""

from copy import deepcopy

import pytest
import torch
from test_algorithms import Doubled, Noise, made, recipe, small
from test_search import crashing, loaders
from torch import Tensor, nn

from nas.networks import supernet as supernets
from nas.networks.supernet import Supernet
from nas.search.algorithm import Algorithm
from nas.search.loop import AlphaRecipe, search
from nas.search.perturbation import Decisions, choose_edges, choose_operation, rounds, select, tuning, worth
from nas.space.genotypes import CELLS, edges
from nas.space.spaces import SPACES, SearchSpace
from nas.training.loop import cross_entropy

DARTS = SPACES["darts"]
pytestmark = pytest.mark.usefixtures("paths")


def searched(name: str = "darts") -> tuple[Supernet, Algorithm]:
    """A supernet in float64 that has learned a little, and its algorithm as it ended."""
    algorithm = made(name)
    supernet, batches = small(algorithm), loaders()
    for each in batches:
        each.__class__ = Doubled
    search(supernet, *batches, recipe(2), AlphaRecipe(0.05), algorithm, seed=1)
    return supernet, algorithm


@pytest.fixture(scope="module")
def finished() -> tuple[Supernet, Algorithm]:
    return searched()


def selected(finished: tuple[Supernet, Algorithm], **options: object) -> tuple[Supernet, tuple]:
    supernet, algorithm = deepcopy(finished)
    weights, _, valid = loaders()
    weights.__class__ = valid.__class__ = Doubled
    options = {"tune_epochs": 1, "seed": 3} | options
    return supernet, select(supernet, algorithm, weights, valid, recipe(), **options)


# What is measured


class Nothing(nn.Module):
    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(self.operation(x))


@pytest.mark.parametrize("cell, edge, column", [("normal", 0, 1), ("normal", 3, 4), ("reduce", 1, 2), ("reduce", 4, 3)])
def test_a_removal_is_worth_what_is_left_without_the_operation(finished, cell, edge, column) -> None:
    """Against the mixture as it was, of cells whose operation gives nothing."""
    supernet, algorithm = deepcopy(finished)
    decisions = Decisions(supernet, algorithm)
    decisions.choose("normal", 1, 3)
    valid = loaders()[2]
    valid.__class__ = Doubled
    found = worth(supernet, decisions.mixtures(cell, edge, column), valid, recipe())
    assert found != worth(supernet, decisions.mixtures(), valid, recipe())
    for layer, mixed in enumerate(supernet.cells):
        if (layer in supernet.reductions) == (cell == "reduce"):
            operations = mixed.edges[edge].operations
            number = mixed.edges[edge].columns.index(column)
            operations[number] = Nothing(operations[number])
    right, losses = 0, []
    for images, labels in valid.epoch(0):
        logits = supernet(images, decisions.mixtures())
        right += (logits.argmax(1) == labels).sum().item()
        losses.append(cross_entropy(logits, labels).item())
    assert found == pytest.approx((100 * right / len(valid.labels), -sum(losses) / len(losses)), abs=1e-9)


def test_an_edge_is_removed_whole_and_one_that_is_fixed_is_its_operation(finished) -> None:
    supernet, algorithm = finished
    decisions = Decisions(supernet, algorithm)
    plain = algorithm.mixtures(supernet.alphas(), "valid")
    assert all(torch.equal(a.weights, b.weights) for a, b in zip(decisions.mixtures(), plain, strict=True))
    assert all(mixture.chosen is None for mixture in decisions.mixtures())
    decisions.choose("reduce", 2, 4)
    decisions.choose("reduce", 3, 1)
    decisions.drop("reduce", 3)
    normal, reduce = decisions.mixtures("normal", 1)
    assert not normal.weights[1].any() and torch.equal(normal.weights[2:], plain[0].weights[2:])
    assert reduce.weights[2:4].tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert reduce.chosen == [None, None, 4, 1, None]


def test_a_last_batch_that_is_not_full_is_left_out_and_a_limit_kept(finished) -> None:
    supernet, algorithm = finished
    valid = loaders(20)[2]  # of 8, 8 and 4 images
    valid.__class__ = Doubled
    seen = []
    hook = supernet.register_forward_hook(lambda module, inputs, result: seen.append(len(inputs[0])))
    for most, sizes in ((None, [8, 8]), (1, [8]), (9, [8, 8])):
        seen.clear()
        worth(supernet, Decisions(supernet, algorithm).mixtures(), valid, recipe(), most)
        assert seen == sizes
    hook.remove()


# What is chosen


def test_what_costs_most_is_chosen_and_never_none(finished) -> None:
    supernet, algorithm = finished
    decisions = Decisions(supernet, algorithm)
    without = {1: (50.0, -1.0), 2: (40.0, -0.5), 3: (40.0, -0.7), 4: (60.0, -9.0)}
    rows = choose_operation(decisions, "normal", 2, lambda cell, edge, column: without[column])
    assert [row["chosen"] for row in rows] == [0, 0, 1, 0]  # of equal accuracies the larger loss
    assert rows[2] == {
        "removed": "operation", "edge": "0-3", "operation": "dil_conv_3x3", "top1": 40.0, "loss": 0.7, "chosen": 1,
    }  # fmt: skip
    assert decisions.of("normal") == ([-1, -1, 3, -1, -1], [True] * 5)
    for edge in range(5):
        decisions.choose("normal", edge, 1 + edge % 4)
        decisions.choose("reduce", edge, 1)
    rows = choose_edges(decisions, "normal", 1, lambda cell, edge: ([70.0, 90.0, 80.0][edge - 2], 0.0))
    assert [(row["edge"], row["operation"], row["chosen"]) for row in rows] == [
        ("0-3", "dil_conv_3x3", 1),
        ("1-3", "sep_conv_3x3", 0),
        ("2-3", "skip_connect", 1),
    ]
    decisions.drop("reduce", 2)
    genotype = decisions.genotype()
    assert genotype.normal == (
        ("skip_connect", 0),
        ("avg_pool_3x3", 1),
        ("dil_conv_3x3", 0),
        ("skip_connect", 2),
    )
    assert genotype.reduce == tuple(("skip_connect", source) for source in (0, 1, 1, 2))
    assert genotype.normal_concat == (2, 3)


def test_every_edge_has_its_turn_then_every_node_with_a_choice() -> None:
    for nodes in (1, 2, 4):
        drawn = rounds(DARTS, nodes, "0/normal")
        count = len(edges(nodes))
        assert sorted(drawn[:count]) == [("operation", edge) for edge in range(count)]
        assert sorted(drawn[count:]) == [("edges", node) for node in range(1, nodes)]
        assert drawn == rounds(DARTS, nodes, "0/normal")
    assert rounds(DARTS, 4, "0/normal") != rounds(DARTS, 4, "0/reduce") != rounds(DARTS, 4, "1/reduce")


def test_where_alpha_favours_noise_what_is_of_use_is_selected(monkeypatch) -> None:
    candidate = supernets._candidate

    def planted(operation: str, channels: int, stride: int) -> nn.Module:
        return Noise(stride) if operation.startswith("noise") else candidate(operation, channels, stride)

    monkeypatch.setattr(supernets, "_candidate", planted)
    torch.manual_seed(0)
    space = SearchSpace("planted", ("noise_1", "skip_connect", "noise_2"))
    # Of one node, so that there is no edge which others can stand in for
    supernet = Supernet(space, channels=4, layers=3, nodes=1, num_classes=3, in_channels=1)
    # The row that tells the class is hardly brighter: no noise can be done with.
    weights, alpha, valid = loaders(768, brighter=40, batch_size=32)
    search(supernet, weights, alpha, valid, recipe(6), AlphaRecipe(1e-6), seed=1)
    for alphas in supernet.alphas():
        alphas.data[:, 0] = 0.5
    assert supernet.genotype().operations() == {"noise_1"}
    genotype, _ = select(supernet, made("darts"), weights, valid, recipe(6), tune_epochs=1, seed=1)
    assert genotype.operations() == {"skip_connect"}


# How the weights are tuned


def test_weights_are_tuned_between_rounds_and_alpha_stays(finished) -> None:
    found, before = selected(finished)[0], finished[0]
    assert all(torch.equal(a, b) for a, b in zip(found.alphas(), before.alphas(), strict=True))
    assert not torch.equal(found.classifier.weight, before.classifier.weight)
    untouched, (_, history) = selected(finished, tune_epochs=0)
    assert torch.equal(untouched.classifier.weight, before.classifier.weight)
    assert len(history) == 6 and not any("train_loss" in row for row in history)


def test_the_learning_rate_is_a_tenth_of_the_searchs_and_falls_over_all_tuning() -> None:
    found = tuning(recipe(50, 0.025), 20)
    assert [found.learning_rate_at(epoch) for epoch in (0, 20)] == pytest.approx([0.0025, 0.001])
    assert tuning(recipe(50, 0.0025), 20).learning_rate_at(20) == pytest.approx(0.00025)  # and never rises


@pytest.mark.parametrize("name", ["drnas", "fair_darts", "smooth_darts+darts_minus", "oles", "darts_second"])
def test_it_selects_from_what_any_of_these_found(name: str) -> None:
    supernet, algorithm = searched(name)
    decisions = Decisions(supernet, algorithm)
    for edge in range(5):
        decisions.choose("normal", edge, 2)
    assert decisions.mixtures()[0].weights.sum(dim=1).tolist() == [1.0] * 5
    _, (genotype, history) = selected((supernet, algorithm), batches=1)
    assert len(genotype.normal) == 4 and len(history) == 6
    assert {row["cell"] for row in history[0]["choices"]} == set(CELLS)


# Killed and run again


def test_a_selection_that_is_killed_ends_in_the_same_bits(finished, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    supernet, result = selected(finished)
    for kill in (2, 5):
        with crashing(monkeypatch, epochs=kill):
            selected(finished, key="key")
    resumed, again = selected(finished, key="key")
    assert again == result
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), supernet.parameters(), strict=True))
