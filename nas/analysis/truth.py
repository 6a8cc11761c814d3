"""What a search is worth where the accuracy of every genotype of its space is known: rank, regret, chance.

Pure functions over tables. `table` has a row for each trained genotype, recipe and seed, with its top1 in percent;
`aliases` maps every genotype of the space to the one that was trained in its place, since both compute the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from random import Random
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom, kendalltau, rankdata

from nas.space import notation
from nas.space.bench201 import Bench201Genotype
from nas.space.genotypes import CELLS, AnyGenotype, derive_from_weights, weights_at

Row = Mapping[str, Any]

DRAWS = 10_000  # of genotypes, for the chance of a search
RESAMPLES, SAMPLED = 1000, 1000  # bootstrap samples for an interval of τ, and genotypes to take them from at most
BEST = 0.1  # the share of a space whose overlap two rankings are compared by


class Worth(NamedTuple):
    """What a genotype is worth in its space.

    Attributes
    ----------
    top1 : float
        Percent, the mean over the seeds.
    rank : int
        Among the trained genotypes; 1 for the best, and equal ones share a rank.
    regret : float
        To the best of the space, in points.
    worse : float
        The share of all genotypes of the space that are less accurate: how often a random draw finds a worse one.
    """

    top1: float
    rank: int
    regret: float
    worse: float


@dataclass(frozen=True)
class Truth:
    """The accuracy of a space's genotypes by one recipe.

    Parameters
    ----------
    accuracies : mapping of str to float
        Percent, of every trained genotype the mean over its seeds; at least one.
    trained_as : mapping
        Of every genotype of the space, as `canonical` gives it, the one of `accuracies` that stands for it.
    """

    accuracies: Mapping[str, float]
    trained_as: Mapping[Hashable, str]

    @classmethod
    def of(cls, table: Iterable[Row], aliases: Iterable[Row] = (), recipe: str | None = None) -> Truth:
        """From rows of genotype, recipe, seed and top1, and rows of genotype and trained_as.

        By default of the table's first recipe; a genotype without an alias stands for itself alone, and what that
        recipe did not train is left out.

        Raises
        ------
        ValueError
            If the table has no row of that recipe, a seed of a genotype twice, or a top1 that is no percentage, or an
            alias names a genotype that was not trained.
        """
        table = list(table)
        accuracies = {genotype: mean(each.values()) for genotype, each in _by_seed(table, recipe).items()}
        trained_as: dict[Hashable, str] = {canonical(genotype): genotype for genotype in accuracies}
        by_any = {row["genotype"] for row in table}
        for row in aliases:
            if row["trained_as"] in accuracies:
                trained_as[canonical(row["genotype"])] = row["trained_as"]
            elif row["trained_as"] not in by_any:
                raise ValueError(f"{row['genotype']} is trained as {row['trained_as']}, which the table does not have")
        return cls(accuracies, trained_as)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many genotypes of the space each trained one stands for."""
        counts = Counter(self.trained_as.values())
        return {genotype: counts[genotype] for genotype in self.accuracies}

    @property
    def best(self) -> float:
        return max(self.accuracies.values())

    @property
    def random(self) -> float:
        """The accuracy to expect of a genotype drawn uniformly from the space, in percent."""
        return sum(self.accuracies[genotype] * size for genotype, size in self.sizes.items()) / len(self.trained_as)

    @cached_property
    def _ascending(self) -> tuple[np.ndarray, np.ndarray]:
        """Accuracies in rising order, and how many genotypes of the space the first so many stand for."""
        order = sorted(self.accuracies, key=self.accuracies.__getitem__)
        sizes = np.cumsum([0, *(self.sizes[genotype] for genotype in order)])
        return np.array([self.accuracies[genotype] for genotype in order]), sizes

    def worse(self, top1: float) -> float:
        """The share of the space that is less accurate than `top1`, in percent."""
        accuracies, sizes = self._ascending
        return float(sizes[np.searchsorted(accuracies, top1)] / sizes[-1])

    def worth(self, genotype: str | AnyGenotype) -> Worth | None:
        """What a genotype of the space is worth; None if it is not in the table, which may be of a sample."""
        trained = self.trained_as.get(canonical(genotype))
        if trained is None:
            return None
        top1 = self.accuracies[trained]
        accuracies, _ = self._ascending
        better = len(accuracies) - int(np.searchsorted(accuracies, top1, side="right"))
        return Worth(top1, 1 + better, self.best - top1, self.worse(top1))

    def chance(self, accuracies: Sequence[float]) -> float:
        """The probability that as many genotypes, drawn uniformly from the space, have at least this mean accuracy.

        A one-sided Monte Carlo test from `DRAWS` draws; of searches that differ by their seed alone it is the p-value
        that they find no more than chance.
        """
        genotypes, source = list(self.accuracies), Random(0)
        sizes, needed = [self.sizes[genotype] for genotype in genotypes], sum(accuracies) - 1e-9
        drawn = source.choices([self.accuracies[g] for g in genotypes], sizes, k=DRAWS * len(accuracies))
        sums = np.array(drawn).reshape(DRAWS, len(accuracies)).sum(axis=1)
        return float(1 + (sums >= needed).sum()) / (1 + DRAWS)


def canonical(genotype: str | AnyGenotype) -> Hashable:
    """What genotypes have in common whose nodes list the same two edges in another order.

    A text is read by `nas.space.enumerate`, or else by `nas.space.notation`; of NAS-Bench-201's it is the benchmark's.
    """
    if isinstance(genotype, str):
        genotype = notation.spelled(genotype)
    if isinstance(genotype, Bench201Genotype):
        return genotype.architecture
    cells: dict[str, Any] = {}
    for cell in CELLS:
        edges = getattr(genotype, cell)
        pairs = (sorted(edges[i : i + 2], key=lambda edge: (edge[1], edge[0])) for i in range(0, len(edges), 2))
        cells[cell] = tuple(edge for pair in pairs for edge in pair)
    return replace(genotype, **cells)


def is_bench201(genotype: str) -> bool:
    """Whether a genotype is spelled as NAS-Bench-201 does."""
    return genotype.startswith("|")


def recipe_of(epochs: int) -> str:
    """What a published training is called among the recipes: ``200 epochs``."""
    return f"{epochs} epochs"


def recipes(table: Iterable[Row]) -> list[str]:
    """The recipes of a table, in the order in which they come."""
    return list(dict.fromkeys(row["recipe"] for row in table))


def _by_seed(table: Iterable[Row], recipe: str | None = None) -> dict[str, dict[int, float]]:
    """Of each genotype the top1 of each seed, by one recipe."""
    found: dict[str, dict[int, float]] = {}
    for row in table:
        recipe = row["recipe"] if recipe is None else recipe
        if row["recipe"] != recipe:
            continue
        if not 0 <= row["top1"] <= 100:
            raise ValueError(f"top1 of {row['genotype']} is {row['top1']}, which is no percentage")
        if row["seed"] in (of_seeds := found.setdefault(row["genotype"], {})):
            raise ValueError(f"seed {row['seed']} of {row['genotype']} is there twice")
        of_seeds[row["seed"]] = row["top1"]
    if not found:
        raise ValueError(f"it has no row of the recipe {recipe}" if recipe else "it has no rows")
    return found


# A search, epoch by epoch


def trajectory(alphas: Sequence[Mapping[str, str]], truth: Truth, last: int | None = None) -> list[dict[str, Any]]:
    """What the genotype is worth that α stands for at each epoch of an alphas.csv, from 0, the start.

    Parameters
    ----------
    alphas : sequence of mapping
        Rows of epoch, cell, edge, operation and weight, as `nas.space.genotypes.weights_at` takes them.
    truth : Truth
    last : int, optional
        The epoch whose α is the search's result, if that is not the last: with it the rows end.

    Returns
    -------
    list of dict
        For each epoch: epoch, genotype, and the fields of `Worth`, None where the truth does not have the genotype.
    """
    by_epoch: dict[int, list[Mapping[str, str]]] = {}
    for row in alphas:
        by_epoch.setdefault(int(row["epoch"]), []).append(row)
    rows = []
    for epoch, of_epoch in sorted(by_epoch.items()):
        if last is not None and epoch > last:
            break
        genotype = derive_from_weights(*weights_at(of_epoch, epoch))
        worth = truth.worth(genotype) or Worth(*[None] * len(Worth._fields))  # type: ignore[arg-type]
        rows.append({"epoch": epoch, "genotype": genotype, **worth._asdict()})
    return rows


def anytime(trajectories: Sequence[Sequence[Row]]) -> list[dict[str, float]]:
    """Regret against epochs over the seeds of a search: rows of epoch, mean, low and high (the range), in points.

    A search that ended keeps its result. Epochs at which the regret of one is not known are left out.
    """
    rows = []
    for epoch in sorted({row["epoch"] for each in trajectories for row in each}):
        now = [[row["regret"] for row in each if row["epoch"] <= epoch][-1] for each in trajectories]
        if None not in now:
            rows.append({"epoch": epoch, "mean": mean(now), "low": min(now), "high": max(now)})
    return rows


# Rankings


class Tau(NamedTuple):
    """Kendall's τ-b, and its 95 % interval."""

    value: float
    low: float
    high: float


def tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's τ-b (Biometrika 33, 1945), which takes ties into account; NaN if either side is all ties."""
    return float(kendalltau(rankdata(one), rankdata(other), variant="b").statistic)  # ranks: infinities may be equal


def resampled(one: Sequence[float], other: Sequence[float]) -> np.ndarray:
    """τ-b of `RESAMPLES` bootstrap samples of the pairs; the same samples for every two sequences of one length.

    A pair that was drawn twice is a tie on both sides, which τ-b does not count. Of more than `SAMPLED` pairs so many
    are drawn, once for all: their τ varies a little more.
    """
    source, n = np.random.default_rng(0), min(len(one), SAMPLED)
    kept = np.sort(source.choice(len(one), n, replace=False))
    counts = np.stack([np.bincount(source.integers(n, size=n), minlength=n) for _ in range(RESAMPLES)]).astype(float)
    ranks = (rankdata(np.asarray(x)[kept]) for x in (one, other))
    first, second = (np.sign(np.subtract.outer(rank, rank)) for rank in ranks)

    def pairs(signs: np.ndarray) -> np.ndarray:
        return ((counts @ signs) * counts).sum(axis=1)

    with np.errstate(invalid="ignore"):
        return pairs(first * second) / np.sqrt(pairs(np.abs(first)) * pairs(np.abs(second)))


def tau_interval(one: Sequence[float], other: Sequence[float]) -> Tau:
    """τ-b with its 95 % interval by the percentiles of a bootstrap over the genotypes; samples of ties are left out."""
    found = resampled(one, other)
    if np.isnan(found).all():
        return Tau(tau(one, other), float("nan"), float("nan"))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Tau(tau(one, other), float(low), float(high))


def by_genotype(scores: Mapping[str, float], truth: Truth) -> tuple[list[float], list[float]]:
    """Scores and accuracies of the trained genotypes that have a score, a pair each, in the order of the table.

    Where several of the space's genotypes stand for one, as a supernet may see them differently, it has their mean.
    Raises ValueError if a score is NaN, which has no rank.
    """
    of_trained: dict[str, list[float]] = {}
    for genotype, score in scores.items():
        if math.isnan(score):
            raise ValueError(f"the score of {genotype} is NaN")
        trained = truth.trained_as.get(canonical(genotype))
        if trained is not None:
            of_trained.setdefault(trained, []).append(score)
    known = [genotype for genotype in truth.accuracies if genotype in of_trained]
    means = [sum(of_trained[genotype]) / len(of_trained[genotype]) for genotype in known]
    return means, [truth.accuracies[genotype] for genotype in known]


def favourite(scores: Sequence[float], accuracies: Sequence[float]) -> float:
    """The accuracy of what has the largest score; of several that share it the mean."""
    most = max(scores)
    return mean(accuracy for score, accuracy in zip(scores, accuracies, strict=True) if score == most)


def best(accuracies: Mapping[str, float], count: int) -> set[str]:
    """The `count` most accurate genotypes; of equal ones those that come first."""
    return set(sorted(accuracies, key=lambda genotype: -accuracies[genotype])[:count])


def agreement(table: Sequence[Row], share: float = BEST) -> list[dict[str, Any]]:
    """How well every two recipes of a table agree on the ranking of the genotypes that both trained.

    Returns
    -------
    list of dict
        For each pair: one, other, genotypes (how many), tau (a `Tau`), count (how many the best `share` of them are),
        common (how many of these both have), expected (the number to expect by chance) and p_value (the probability of
        at least as many by chance: the hypergeometric tail).
    """
    means = {name: {g: mean(each.values()) for g, each in _by_seed(table, name).items()} for name in recipes(table)}
    rows = []
    for one, other in combinations(means, 2):
        both = [genotype for genotype in means[one] if genotype in means[other]]
        if len(both) < 2:
            continue
        first, second = ({genotype: means[name][genotype] for genotype in both} for name in (one, other))
        count = max(1, round(share * len(both)))
        common = len(best(first, count) & best(second, count))
        rows.append(
            {
                "one": one,
                "other": other,
                "genotypes": len(both),
                "tau": tau_interval(list(first.values()), list(second.values())),
                "count": count,
                "common": common,
                "expected": count * count / len(both),
                "p_value": float(hypergeom.sf(common - 1, len(both), count, count)),
            }
        )
    return rows


def between_seeds(table: Iterable[Row], recipe: str | None = None) -> float | None:
    """Kendall's τ between the accuracies of two seeds, the mean over their pairs; None if a recipe has one seed alone.

    It tells how much of a ranking is the noise of a training. A score may do better: it is held against the mean over
    the seeds, which has less of it.
    """
    of_seeds = _by_seed(table, recipe)
    seeds = sorted(set.intersection(*(set(each) for each in of_seeds.values())))
    columns = [[each[seed] for each in of_seeds.values()] for seed in seeds]
    found = [tau(one, other) for one, other in combinations(columns, 2)]
    return mean(found) if found else None
