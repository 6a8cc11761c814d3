"""Does a search prefer an operation, or is its choice a random one? The question of the EfficientNetV2-blocks study.

`none` is never chosen, so it is left out everywhere and the other softmax weights of an edge are scaled to sum to 1.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from random import Random
from statistics import mean

from nas.space.genotypes import CELLS, Edge, Genotype, favourite, strongest

# The project's own convention, as is the rule
LEAST_MARGIN = 0.1  # of the weight that each operation would have if all were equal
MOST_ENTROPY = 0.99
MOST_EDGES = 2 / 3
SIGNIFICANT = 0.05
DRAWS = 10000

RULE = (
    f"no preference, if the mean margin is below {LEAST_MARGIN:g} of the weight that each operation would have if all "
    f"were equal, or the normalized entropy above {MOST_ENTROPY:g}; otherwise it prefers the operation of the largest "
    "mean weight, if that is the strongest on at least two thirds of the edges; otherwise it is a mix"
)


@dataclass(frozen=True)
class Preference:
    """How clearly the softmax weights of one kind of cell speak for an operation.

    Parameters
    ----------
    operations : sequence of str
        Names of the columns.
    weights : edges × operations
        After the softmax, rows in node order.
    edges : sequence of sequence of str, optional
        The operations that each edge has, as many on all; by default all. Those that it lacks do not count there.
    """

    operations: Sequence[str]
    weights: Sequence[Sequence[float]]
    edges: Sequence[Sequence[str]] | None = None

    @cached_property
    def _tables(self) -> list[dict[str, float]]:
        tables = []
        for names, row in zip(self.edges or [self.operations] * len(self.weights), self.weights, strict=True):
            own = {*names} - {"none"}
            table = {name: weight for name, weight in zip(self.operations, row, strict=True) if name in own}
            total = sum(table.values())  # 0 where none has all the weight: no other is stronger than another
            tables.append({name: weight / total if total else 1 / len(table) for name, weight in table.items()})
        return tables

    @property
    def margin(self) -> float:
        """The strongest weight less the second, mean over edges: 0 to 1. Of a single operation it is 1."""
        ranked = [sorted([0.0, *table.values()], reverse=True) for table in self._tables]
        return mean(row[0] - row[1] for row in ranked)

    @property
    def entropy(self) -> float:
        """Normalized entropy, by its maximum log(operations), mean over edges: 0 (decided) to 1 (all equal)."""
        most = math.log(len(self._tables[0]))
        entropies = [-sum(w * math.log(w) for w in table.values() if w > 0) for table in self._tables]
        return mean(entropies) / most if most else 0.0

    @property
    def leads(self) -> dict[str, int]:
        """On how many edges each operation is the strongest, in the order of the columns."""
        first = Counter(favourite(table) for table in self._tables)
        return {name: first[name] for name in self._names}

    @property
    def weights_mean(self) -> dict[str, float]:
        """Each operation's weight, mean over the edges that have it; 0 if none has."""
        return {name: mean(self._of(name)) for name in self._names}

    @property
    def weights_max(self) -> dict[str, float]:
        """Each operation's largest weight on any edge."""
        return {name: max(self._of(name)) for name in self._names}

    @property
    def _names(self) -> list[str]:
        return [name for name in self.operations if name != "none"]

    def _of(self, name: str) -> list[float]:
        return [table[name] for table in self._tables if name in table] or [0.0]

    @property
    def chosen(self) -> dict[str, int]:
        """How often each operation stands in the cell that is derived."""
        counts = Counter(operation for operation, _ in strongest(self.operations, self.weights))
        return {name: counts[name] for name in self._names}

    @property
    def verdict(self) -> str:
        """By `RULE`."""
        if self.margin < LEAST_MARGIN / len(self._tables[0]) or self.entropy > MOST_ENTROPY:
            return "no preference"
        leader = favourite(self.weights_mean)
        return f"prefers {leader}" if self.leads[leader] >= MOST_EDGES * len(self._tables) else "a mix"

    def summary(self) -> dict[str, float | str]:
        """What there is to tell of the cell: margin, entropy and verdict."""
        return {name: getattr(self, name) for name in ("margin", "entropy", "verdict")}

    def by_operation(self) -> list[dict[str, str | float]]:
        """Of each operation: operation, leads, chosen, weight_mean and weight_max."""
        columns = {"leads": self.leads, "chosen": self.chosen}
        columns |= {"weight_mean": self.weights_mean, "weight_max": self.weights_max}
        return [{"operation": name} | {key: of[name] for key, of in columns.items()} for name in self._names]


def agreement(cells: Sequence[Sequence[Edge]]) -> float:
    """What share of a derived cell's edges (node, state and operation) another one has too, mean over pairs of them.

    `cells` are of equally many nodes, at least two of them.
    """
    return _common(cells) / (len(cells[0]) * len(cells) * (len(cells) - 1) / 2)


def _common(cells: Sequence[Sequence[Edge]]) -> int:
    """How many edges pairs of `cells` have in common, all pairs together: whole, so that equal counts are equal."""
    edges = [{(i // 2, edge) for i, edge in enumerate(cell)} for cell in cells]
    return sum(len(one & other) for one, other in combinations(edges, 2))


def repeatability(operations: Sequence[str], genotypes: Sequence[Genotype]) -> dict[str, dict]:
    """Whether searches that differ by their seed alone agree more than genotypes drawn at random would.

    A one-sided Monte Carlo test for each kind of cell.

    Parameters
    ----------
    operations : sequence of str
        Of the space; where edges have their own, those of any edge: how many they are is what counts.
    genotypes : sequence of Genotype
        One a seed, at least two, of equally many nodes.

    Returns
    -------
    dict
        For normal and reduce: agreement, chance (the agreement to expect of genotypes drawn uniformly), p_value (the
        probability that as many such genotypes agree at least as much, from `DRAWS` draws) and verdict: "repeats" if
        that is at most `SIGNIFICANT`, "not told from chance" if it is more; "too few seeds to tell" if it would be
        more even if all agreed, "no choice" among one operation.
    """
    nodes, names = len(genotypes[0].normal) // 2, [name for name in operations if name != "none"]
    source = Random(0)
    drawn = [_common([_random_cell(source, names, nodes) for _ in genotypes]) for _ in range(DRAWS)]

    def p_value(cells: Sequence[Sequence[Edge]]) -> float:
        return (1 + sum(count >= _common(cells) for count in drawn)) / (1 + DRAWS)

    found = {}
    for cell in CELLS:
        ours = [getattr(genotype, cell) for genotype in genotypes]
        p = p_value(ours)
        verdict = "repeats" if p <= SIGNIFICANT else "not told from chance"
        if len(names) == 1 or p_value([ours[0]] * len(ours)) > SIGNIFICANT:
            verdict = "too few seeds to tell" if len(names) > 1 else "no choice"
        found[cell] = {
            "agreement": agreement(ours),
            "chance": mean(2 / (2 + node) for node in range(nodes)) / len(names),
            "p_value": p,
            "verdict": verdict,
        }
    return found


def _random_cell(source: Random, names: Sequence[str], nodes: int) -> list[Edge]:
    """As in a genotype drawn uniformly: each node has two of the earlier states, each edge any operation."""
    states = [state for node in range(nodes) for state in source.sample(range(2 + node), 2)]
    return list(zip(source.choices(names, k=len(states)), states, strict=True))
