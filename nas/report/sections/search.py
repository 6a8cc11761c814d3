"""The searches: scores, curves, warnings, and how the choice of operations evolves in each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.pipeline.names import genotype_file
from nas.pipeline.records import Alphas, Search, SearchHistory
from nas.report.contents import Report, listed
from nas.report.figures.alphas import comparable, on_edges, plot_alphas, plot_decision
from nas.report.figures.animation import animate_cell
from nas.report.figures.cells import ends, inputs_of
from nas.report.figures.charts import epochs_chart
from nas.report.figures.curves import plot_search
from nas.report.render import bold, render
from nas.space.genotypes import CELLS, AnyGenotype, favourite, load

SCORES = ("valid_top1", "train_top1", "valid_loss", "entropy_normal", "entropy_reduce")
SKIPS = ("skips_normal", "skips_reduce")
MANY = 8  # searches


def section(report: Report) -> str:
    """All searches in a table, then each by itself."""
    if not report.contents.searches:
        return ""
    recipe, trained = report.contents.recipes["Search"], report.contents.trained
    if not trained:
        return render("search", rows=[])
    # Of many searches, those of the first seed alone are shown one by one.
    first = {name for name, searched in trained.items() if searched.seed == next(iter(trained.values())).seed}
    shown = set(trained) if len(trained) <= MANY else first
    folders = {name: searched.results(report.results) for name, searched in trained.items()}
    scores = {name: Search.read(folder / "metrics.json").model_dump() for name, folder in folders.items()}
    tables = {name: SearchHistory.read(folder / "history.csv") for name, folder in folders.items()}
    histories = {name: table.to_dict("records") for name, table in tables.items()}
    plot_search(histories, report.folder / "search.png")
    halves = {"validation": "valid_top1", "training": "train_top1"}
    report.charts["search"] = epochs_chart(histories, halves, "top-1 accuracy (%)")
    return render(
        "search",
        recipe=recipe,
        data=report.contents.data,
        devices=listed(score["device"] for score in scores.values()),
        rows=[
            (
                name,
                *("–" if score[key] is None else f"{score[key]:.2f}" for key in SCORES),
                *("–" if score[key] is None else score[key] for key in SKIPS),
            )
            for name, score in scores.items()
        ],
        collapsed=_collapsed(scores, {name: load(genotype_file(name, report.results)) for name in scores}),
        searches=[_evolution(report, name, folder) for name, folder in folders.items() if name in shown],
        left_out=len(folders) - len(shown),
    )


def _collapsed(scores: Mapping[str, Mapping], found: Mapping[str, AnyGenotype]) -> list[dict]:
    """The cells of which skip connections hold at least half of the edges."""
    return [
        {"search": name, "cell": CELLS[cell], "skips": score[f"skips_{cell}"], "edges": len(edges)}
        for name, score in scores.items()
        for cell, edges in found[name].placed().items()
        if 2 * score[f"skips_{cell}"] >= len(edges)
    ]


def _evolution(report: Report, name: str, folder: Path) -> dict:
    """Draw the softmax weights of a search; return what its subsection tells of them."""
    rows = Alphas.read(folder / "alphas.csv").to_dict("records")
    found = load(genotype_file(name, report.results))
    operations = dict.fromkeys(row["operation"] for row in rows)
    placed = found.placed()
    skippable = all(comparable([row for row in rows if row["cell"] == cell]) for cell in placed)
    tables = {}
    for cell, edges in placed.items():
        own, title = [row for row in rows if row["cell"] == cell], CELLS[cell]
        kept = [f"{source}-{target}" for (source, target), _ in edges]
        heading, files = f"{name}: {title}", f"{name}-{cell}"
        animate_cell(own, report.folder / f"evolution-{files}.gif", title=heading)
        plot_alphas(own, report.folder / f"alphas-{files}.png", title=heading)
        if skippable:
            plot_decision(own, kept, report.folder / f"decision-{files}.png", title=heading)
        tables[title] = _final_weights(own, kept)
    return {
        "name": name,
        "cells": list(placed),
        "operations": operations,
        "tables": tables,
        "skippable": skippable,
    }


def _final_weights(rows: Sequence[Mapping], kept: Sequence[str]) -> list[tuple]:
    """A row an edge, in bold the strongest operation that a genotype may hold and the edges of the genotype."""
    last = max(row["epoch"] for row in rows)
    edges: dict[str, dict[str, float]] = {}
    there = on_edges(rows)
    for row in rows:
        if row["epoch"] == last:
            edges.setdefault(row["edge"], {})[row["operation"]] = row["weight"]
    lines, inputs = [], inputs_of(edges)
    for edge, weights in edges.items():
        best = favourite(weights) if inputs > 1 else max(weights, key=weights.__getitem__)
        texts = {name: f"{weight:.3f}" if name in there[edge] else "–" for name, weight in weights.items()}
        shown = (bold(text) if name == best else text for name, text in texts.items())
        named = _edge(edge, inputs)
        lines.append((bold(named) if edge in kept else named, *shown))
    return lines


def _edge(edge: str, inputs: int) -> str:
    """``1-3`` as ``cₖ₋₁ → node 1``."""
    names = [*("cₖ₋₂", "cₖ₋₁")[-inputs:], *(f"node {i}" for i in range(ends(edge)[1]))]
    return " → ".join(names[state] for state in ends(edge))
