"""Selection by perturbation: Wang, Cheng, Chen, Tang & Hsieh, "Rethinking Architecture Selection in Differentiable
NAS", ICLR 2021.

A large α need not mean that the supernet needs the operation. So the finished supernet is asked itself: the operation
of an edge without which its validation accuracy is the least is the edge's (algorithm 1). The edge is fixed to it, the
weights are trained on for some epochs, and the next edge is asked. Then each node keeps the two edges it misses most.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

import torch
from torch import nn

from nas.data.batches import Batches
from nas.networks.supernet import Mixture, Supernet
from nas.search.algorithm import Algorithm, Batch
from nas.search.loop import move_weights
from nas.space.genotypes import AnyGenotype, derive_from_weights
from nas.space.spaces import SearchSpace
from nas.training import distributed
from nas.training.checkpoint import Checkpoint
from nas.training.device import autocast, seed_for
from nas.training.loop import Meter, cross_entropy, run_epochs
from nas.training.optim import SGD
from nas.training.recipe import Recipe

Worth = tuple[float, float]  # top-1 in percent, and minus the loss, which tells equal ones apart
OPEN = -1  # in the place of an edge's operation that is not chosen yet
TUNING = 0.1  # of the search's learning rate is what the weights are tuned with: its program's


class Decisions(nn.Module):
    """What is chosen so far of each kind of cell, which a checkpoint keeps, and the mixtures that follow from it.

    Parameters
    ----------
    supernet : Supernet
        Finished; its α stays as it is.
    algorithm : Algorithm
        That found it, in its last epoch: its mixture for a validation stands wherever nothing is chosen.
    """

    def __init__(self, supernet: Supernet, algorithm: Algorithm) -> None:
        super().__init__()
        self.space, self.edges = supernet.space, supernet.space.places(supernet.nodes)
        self.operations = {cell: self.space.of_edges(cell, supernet.nodes) for cell in self.space.kinds}  # of each edge
        with torch.no_grad():
            self.relaxed = [mixture.weights for mixture in algorithm.mixtures(supernet.alphas(), "valid")]
        for cell, weights in zip(self.operations, self.relaxed, strict=True):
            # On the CPU: they are read for every mixture, and a GPU would have to be waited for.
            self.register_buffer(f"operation_{cell}", torch.full((len(weights),), OPEN))
            self.register_buffer(f"kept_{cell}", torch.ones(len(weights), dtype=torch.bool))

    def choose(self, cell: str, edge: int, column: int) -> None:
        self.get_buffer(f"operation_{cell}")[edge] = column

    def drop(self, cell: str, edge: int) -> None:
        self.get_buffer(f"kept_{cell}")[edge] = False

    def of(self, cell: str) -> tuple[list[int], list[bool]]:
        """Each edge's operation, its column or `OPEN`, and whether the edge stays."""
        return self.get_buffer(f"operation_{cell}").tolist(), self.get_buffer(f"kept_{cell}").tolist()

    def mixtures(self, cell: str = "", edge: int = 0, column: int | None = None) -> list[Mixture]:
        """Of each kind of cell; of a `cell`, without a `column` of an `edge`, or without the edge."""
        found = []
        for kind, relaxed in zip(self.operations, self.relaxed, strict=True):
            weights, (operations, kept) = relaxed.clone(), self.of(kind)
            for row, chosen in enumerate(operations):
                if chosen != OPEN:
                    weights[row] = 0
                    weights[row, chosen] = float(kept[row])
            if kind == cell:
                weights[edge, slice(None) if column is None else column] = 0
            # Of a fixed edge no more than its operation is computed; where none is fixed the fast path takes all.
            computed: list[Any] = [None if chosen == OPEN else chosen for chosen in operations]
            found.append(Mixture(weights, computed if any(c is not None for c in computed) else None))
        return found

    def genotype(self) -> AnyGenotype:
        """What all choices stand for."""
        tables = {}
        for cell in self.operations:
            rows = zip(*self.of(cell), strict=True)
            tables[cell] = [
                [float(kept and column == chosen) for column in range(len(self.space.columns))] for chosen, kept in rows
            ]
        return derive_from_weights(self.space.operations, self.space.of_all(tables))


def select(
    supernet: Supernet,
    algorithm: Algorithm,
    weights_batches: Batches,
    valid_batches: Batches,
    recipe: Recipe,
    *,
    tune_epochs: int = 5,
    batches: int | None = None,
    seed: int,
    key: str | None = None,
    name: str = "select",
) -> tuple[AnyGenotype, list[dict[str, Any]]]:
    """Select a genotype from a finished supernet by what it misses most.

    A round chooses an operation of one edge of each kind of cell, in an order that is drawn; when all edges are fixed,
    the two edges into one node that stay (of NAS-Bench-201's cell all do). Between two rounds the weights are tuned.

    Parameters
    ----------
    supernet : Supernet
        As its search left it, on the device of the batches; tuned in place, α apart.
    algorithm : Algorithm
        That searched, prepared and in its last epoch (``prepare``, ``begin``).
    weights_batches, valid_batches : Batches
        The half that trains the weights, and the half of α in its order, without augmentation.
    recipe : Recipe
        The search's. Tuning is a training of its own with a tenth of its learning rate.
    tune_epochs : int, default 5
        Between two rounds.
    batches : int, optional
        Batches of a validation; None takes all, but for a last one that is not full.
    seed : int
    key, name : str, optional
        Where ``training.checkpoint.Checkpoint`` keeps the state; None keeps none.

    Returns
    -------
    genotype : Genotype or Bench201Genotype
    history : list of dict
        A row a round: valid_top1 (percent, after the round) and choices, rows of `nas.pipeline.records.Choice`.
    """
    distributed.synchronise(supernet)
    decisions = Decisions(supernet, algorithm)
    order = {cell: rounds(supernet.space, supernet.nodes, f"{seed}/{cell}") for cell in supernet.space.kinds}
    count = len(order["normal"])
    recipe = tuning(recipe, max(tune_epochs * (count - 1), 1))
    optimizer = recipe.optimizer(supernet.weights().values())
    checkpoint = Checkpoint(name, key, supernet=supernet, optimizer=optimizer, decisions=decisions) if key else None

    def measure(*removed: Any) -> Worth:
        return worth(supernet, decisions.mixtures(*removed), valid_batches, recipe, batches)

    def one_round(number: int, round_seed: int, tick: Callable[[], object]) -> dict[str, Any]:
        choices, record = [], {}
        for cell in order:
            chosen, index = order[cell][number]
            choose = choose_operation if chosen == "operation" else choose_edges
            choices += [{"round": number + 1, "cell": cell} | row for row in choose(decisions, cell, index, measure)]
        for epoch in range(tune_epochs if number + 1 < count else 0):  # nothing is asked after the last round
            optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(tune_epochs * number + epoch)
            shuffled = weights_batches.epoch(seed_for(round_seed, epoch))
            record["train_loss"] = tune(supernet, decisions.mixtures(), shuffled, recipe, optimizer)
        tick()
        return record | {"valid_top1": measure()[0], "choices": choices}

    history = run_epochs(count, 1, seed, checkpoint, one_round)
    return decisions.genotype(), history


def rounds(space: SearchSpace, nodes: int, seed: str) -> list[tuple[str, int]]:
    """What is chosen in turn: ("operation", edge) of all edges, then ("edges", node) of nodes with more than two.

    Where all edges stay, in NAS-Bench-201's cell, no node chooses.
    """
    source, of_edges = Random(seed), list(range(len(space.places(nodes))))
    of_nodes = [] if space.is_bench201 else list(range(1, nodes))
    source.shuffle(of_edges)
    source.shuffle(of_nodes)
    return [("operation", edge) for edge in of_edges] + [("edges", node) for node in of_nodes]


def tuning(recipe: Recipe, epochs: int) -> Recipe:
    """The search's recipe as its weights are tuned by: from a tenth of its learning rate, over `epochs` in all."""
    rate = TUNING * recipe.learning_rate
    return replace(recipe, learning_rate=rate, learning_rate_min=min(recipe.learning_rate_min, rate), epochs=epochs)


def choose_operation(
    decisions: Decisions, cell: str, edge: int, measure: Callable[..., Worth]
) -> list[dict[str, object]]:
    """Fix `edge` to that of `SearchSpace.choices` without which ``measure(cell, edge, column)`` is the least.

    Returns a row for each operation.
    """
    names = decisions.operations[cell][edge]
    columns = [column for column, may_be in enumerate(decisions.space.choices) if may_be]
    without = {column: measure(cell, edge, column) for column in columns}
    best = min(columns, key=without.__getitem__)
    decisions.choose(cell, edge, best)
    return [
        _row("operation", decisions.edges[edge], names[column], found, column == best)
        for column, found in without.items()
    ]


def choose_edges(decisions: Decisions, cell: str, node: int, measure: Callable[..., Worth]) -> list[dict[str, object]]:
    """Keep the two edges into `node` without which ``measure(cell, edge)`` is the least; return a row for each edge."""
    into = [edge for edge, (_, target) in enumerate(decisions.edges) if target == 2 + node]
    without = {edge: measure(cell, edge) for edge in into}
    kept = sorted(into, key=without.__getitem__)[:2]
    for edge in set(into).difference(kept):
        decisions.drop(cell, edge)
    columns, _ = decisions.of(cell)
    return [
        _row("edge", decisions.edges[edge], decisions.operations[cell][edge][columns[edge]], found, edge in kept)
        for edge, found in without.items()
    ]


def _row(removed: str, edge: tuple[int, int], operation: str, without: Worth, chosen: bool) -> dict[str, object]:
    return {
        "removed": removed,
        "edge": f"{edge[0]}-{edge[1]}",
        "operation": operation,
        "top1": without[0],
        "loss": -without[1],
        "chosen": int(chosen),
    }


@torch.no_grad()
def worth(
    supernet: Supernet, mixtures: Sequence[Mixture], batches: Batches, recipe: Recipe, most: int | None = None
) -> Worth:
    """What a supernet with these mixtures scores on the first full batches, `most` at most; if none is full, on one.

    Batch norms take each batch's own statistics, as in training: running averages fit no mixture from which something
    was just removed, and what a removal cost would be mostly that misfit. To settle them anew for each mixture would
    cost a second pass. All mixtures see the same batches, so they compare; nothing reads the running averages.
    """
    supernet.train()
    meter = Meter()
    full = max(len(batches.images) // batches.batch_size, 1)  # a small batch's statistics say little
    for images, labels in islice(batches.epoch(0), full if most is None else min(full, most)):
        with autocast(images.device, recipe.precision):
            logits = supernet(images, mixtures)
        meter.add(cross_entropy(logits, labels), logits, labels)
    loss, top1, _ = meter.means()
    return top1, -loss


def tune(
    supernet: Supernet, mixtures: Sequence[Mixture], batches: Iterable[Batch], recipe: Recipe, optimizer: SGD
) -> float:
    """Train the weights on `batches` of (images, labels), with mixtures that stay; the mean loss."""
    supernet.train()
    meter, weights = Meter(), supernet.weights()
    for batch in batches:
        move_weights(supernet, weights, mixtures, batch, recipe, optimizer, meter)
    return meter.means()[0]
