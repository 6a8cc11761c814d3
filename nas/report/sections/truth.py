"""Searches judged by the truth of their space: regret, rank, chance, and the scores that a search must beat."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from nas.analysis.truth import (
    Tau,
    Truth,
    agreement,
    anytime,
    between_seeds,
    by_genotype,
    favourite,
    is_bench201,
    recipe_of,
    recipes,
    tau_interval,
    trajectory,
)
from nas.pipeline import records
from nas.pipeline.names import Search, truth_folder
from nas.pipeline.params import RANDOM
from nas.pipeline.records import Alias, Alphas, GroundTruth, Opinion, ProxyScore, damaged
from nas.report.contents import Report
from nas.report.figures.truth import plot_distribution, plot_regret, plot_taus
from nas.report.intervals import LEVEL, holm
from nas.report.published import bench201 as published
from nas.report.render import bold, render

Rows = Sequence[tuple]
Paths = Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]  # an algorithm, and the trajectory of each of its searches


def section(report: Report) -> str:
    """Of every space whose genotypes were trained, if there is one."""
    spaces = [_space(report, space) for space in report.contents.truth]
    if not spaces:
        return ""
    ours: dict[str, list[float]] = {}
    for space in spaces:
        for name, regrets in space["regrets"].items():
            ours.setdefault(name, []).extend(regrets)
    there = next((space["published"] for space in spaces if space["published"]), None)
    values = {"published": _published(ours, there), "recipe": published.RECIPE, "best": published.BEST}
    return render("truth", spaces=spaces, level=LEVEL, **values)


def _space(report: Report, space: str) -> dict:
    """Draw the figures of a space; return what its subsection tells, by its first recipe where not said."""
    folder = truth_folder(space, report.results)
    table = GroundTruth.read(folder / "table.csv").to_dict("records")
    aliases = Alias.read(folder / "aliases.csv").to_dict("records")
    truths = {recipe: _truth(folder, table, aliases, recipe) for recipe in recipes(table)}
    first = next(iter(truths.values()))
    paths = {recipe: _paths(report, space, truth) for recipe, truth in truths.items()}
    drawn = next(iter(paths.values()))
    ends = {name: _known(each) for name, each in drawn.items()}
    ends = {name: each for name, each in ends.items() if each}
    plot_distribution(
        list(first.accuracies.values()),
        list(first.sizes.values()),
        {name: [row["top1"] for row in each] for name, each in ends.items()},
        report.folder / f"truth-{space}.png",
        random=first.random,
    )
    curves = {name: anytime(each) for name, each in drawn.items() if name != RANDOM}
    curves = {name: rows for name, rows in curves.items() if rows}
    if curves:
        plot_regret(curves, report.folder / f"regret-{space}.png", random=first.best - first.random)
    scores = _scores(report, folder, space, first, between_seeds(table))
    return {
        "name": space,
        "recipes": [_recipe(table, recipe, truth) for recipe, truth in truths.items()],
        "searches": [(recipe, _searches(paths[recipe], truth)) for recipe, truth in truths.items() if ends],
        "curves": bool(curves),
        "scores": scores,
        "agreement": [_agreement(row) for row in agreement(table)],
        "regrets": {name: [row["regret"] for row in each] for name, each in ends.items()},
        "published": truths.get(recipe_of(published.EPOCHS)) if all(map(is_bench201, first.accuracies)) else None,
    }


def _truth(folder: Path, table: Sequence[Mapping], aliases: Sequence[Mapping], recipe: str) -> Truth:
    try:
        return Truth.of(table, aliases, recipe)
    except ValueError as error:
        raise damaged(folder / "table.csv", error) from None


def _paths(report: Report, space: str, truth: Truth) -> Paths:
    """Of each algorithm that searched the space, what its searches stood for at each epoch."""
    paths: dict[str, list] = {}
    for searched in report.contents.searches.values():
        if searched.space == space:
            paths.setdefault(searched.algorithm, []).append(_path(report, searched, truth))
    return paths


def _path(report: Report, searched: Search, truth: Truth) -> list[dict[str, Any]]:
    folder = searched.results(report.results)
    ended = None if searched.algorithm == RANDOM else records.Search.read(folder / "metrics.json").epoch
    try:
        return trajectory(Alphas.read(folder / "alphas.csv").to_dict("records"), truth, ended)
    except ValueError as error:
        raise damaged(folder / "alphas.csv", error) from None


def _known(paths: Sequence[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """What the searches of an algorithm ended with, as far as the truth has it."""
    return [path[-1] for path in paths if path[-1]["top1"] is not None]


def _recipe(table: Sequence[Mapping], recipe: str, truth: Truth) -> tuple:
    seeds, accuracies = {row["seed"] for row in table if row["recipe"] == recipe}, truth.accuracies.values()
    noise = between_seeds(table, recipe)
    return (
        recipe,
        len(truth.trained_as),
        len(accuracies),
        len(seeds),
        *(f"{accuracy:.2f}" for accuracy in (min(accuracies), truth.random, truth.best)),
        "–" if noise is None else f"{noise:.2f}",
    )


def _searches(paths: Paths, truth: Truth) -> Rows:
    """A row an algorithm, the least regret first."""
    ends = {name: found for name, each in paths.items() if (found := _known(each))}
    chances = holm({name: truth.chance([row["top1"] for row in each]) for name, each in ends.items() if name != RANDOM})
    rows = []
    for name, each in sorted(ends.items(), key=lambda item: mean(row["regret"] for row in item[1])):
        told, all_of_them = len(each), len(paths[name])
        rows.append(
            (
                name,
                told if told == all_of_them else f"{told} of {all_of_them}",
                _spread([row["top1"] for row in each]),
                f"{mean(row['regret'] for row in each):.2f}",
                f"{mean(row['rank'] for row in each):.1f}",
                f"{100 * mean(row['worse'] for row in each):.0f} %",
                _chance(chances[name]) if name in chances else "–",
            )
        )
    return [
        *rows,
        ("a random draw, on average", "–", f"{truth.random:.2f}", f"{truth.best - truth.random:.2f}", *3 * "–"),
    ]


def _scores(report: Report, folder: Path, space: str, truth: Truth, noise: float | None) -> Rows:
    """Draw how well scores rank the space; return a row for each proxy, and for the supernets of each algorithm."""
    found: dict[tuple[str, str], list[tuple[Tau, float]]] = {}
    for name, judged in _judged(folder / "proxies.csv", ProxyScore, "proxy", "score", truth):
        found[name, "untrained"] = [judged]
    for searched in report.contents.asked:
        if searched.space == space:
            judged = _judged(searched.opinions(report.results), Opinion, "search", "top1", truth)
            found.setdefault((searched.algorithm, "its supernet"), []).extend(each for _, each in judged)
    found = {key: each for key, each in found.items() if each}
    if not found:
        return []
    taus = {
        kind: {name: [tau for tau, _ in each] for (name, its), each in found.items() if its == kind}
        for kind in ("untrained", "its supernet")
    }
    plot_taus(*taus.values(), report.folder / f"scores-{space}.png", seeds=noise)
    rows = [
        (
            *key,
            mean(tau.value for tau, _ in each),
            _ends(each[0][0]) if len(each) == 1 else "–",
            f"{mean(top1 for _, top1 in each):.2f}",
            f"{truth.best - mean(top1 for _, top1 in each):.2f}",
            f"{100 * mean(truth.worse(top1) for _, top1 in each):.0f} %",
        )
        for key, each in found.items()
    ]
    rows.sort(key=lambda row: math.inf if math.isnan(row[2]) else -row[2])
    return [(*row[:2], _number(row[2]), *row[3:]) for row in rows]


def _judged(
    path: Path, record: type[records.Row], name: str, value: str, truth: Truth
) -> Iterator[tuple[str, tuple[Tau, float]]]:
    """Of each score in a table, what it is called, its τ and the accuracy of its choice; nothing without the file.

    A score of fewer than two of the genotypes that were trained ranks nothing, and is passed over.
    """
    if not path.exists():
        return
    columns: dict[str, dict[str, float]] = {}
    for row in record.read(path).to_dict("records"):
        columns.setdefault(row[name], {})[row["genotype"]] = row[value]
    for called, scores in columns.items():
        try:
            pairs = by_genotype(scores, truth)
        except ValueError as error:
            raise damaged(path, error) from None
        if len(pairs[0]) > 1:
            yield called, (tau_interval(*pairs), favourite(*pairs))


def _agreement(row: Mapping[str, Any]) -> tuple:
    return (
        row["one"],
        row["other"],
        row["genotypes"],
        _number(row["tau"].value),
        _ends(row["tau"]),
        f"{row['common']} of {row['count']}",
        f"{row['expected']:.1f}",
        _chance(row["p_value"]),
    )


def _published(ours: Mapping[str, Sequence[float]], there: Truth | None) -> Rows:
    """What algorithms reach in NAS-Bench-201's space, and the mean regret of ours beside it."""
    return [
        (
            found.algorithm,
            f"{found.accuracy:.2f} ± {found.deviation:.2f}",
            f"{published.BEST - found.accuracy:.2f}",
            f"{100 * there.worse(found.accuracy):.0f} %" if there else "–",
            f"{mean(ours[found.algorithm]):.2f}" if found.algorithm in ours else "–",
            found.source,
        )
        for found in published.FOUND
    ]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _ends(tau: Tau) -> str:
    return "–" if math.isnan(tau.low) else f"{tau.low:.2f} to {tau.high:.2f}"


def _spread(accuracies: Sequence[float]) -> str:
    return f"{mean(accuracies):.2f}" + (f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else "")


def _chance(p_value: float) -> str:
    return bold(f"{p_value:.3f}") if p_value <= LEVEL else f"{p_value:.3f}"
