"""Collect every genotype that later stages may name, and say how clear each choice was: python -m stages.derive."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.space.genotypes import Genotype


Weights = tuple[list[str], dict[str, list[list[float]]]]


def final_weights(params: Params) -> dict[tuple[str, int], Weights]:
    """What every search ended with, by space and seed."""
    from nas.pipeline.errors import UserError, reason
    from nas.pipeline.files import read_csv
    from nas.space import genotypes

    ends = {}
    for space, seed in itertools.product(params.search.spaces, params.search.seeds):
        table = Path("results/search") / f"{space}-{seed}" / "alphas.csv"
        try:
            ends[space, seed] = genotypes.final_weights(read_csv(table))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{table}: is missing or damaged ({reason(error)}); run search@{space}-{seed} again"
            ) from None
    return ends


def preferences(ends: Mapping[tuple[str, int], Weights], found: Mapping[str, Genotype], params: Params) -> dict:
    """What each search prefers and, of a space searched with several seeds, whether its choice repeats."""
    from nas.analysis.preference import Preference, repeatability
    from nas.space.genotypes import found_name

    seeds, metrics = params.search.seeds, {"searches": {}, "spaces": {}}
    if params.search.algorithm == "random":  # which prefers nothing
        return metrics
    for (space, seed), (operations, cells) in ends.items():
        told = {cell: Preference(operations, weights).summary() for cell, weights in cells.items()}
        metrics["searches"][found_name(space, seed, seeds)] = told
        if seed == seeds[-1] and len(seeds) > 1:
            genotypes = [found[found_name(space, other, seeds)] for other in seeds]
            metrics["spaces"][space] = repeatability(operations, genotypes)
    return metrics


def made(name: str, known: Mapping[str, Genotype], params: Params) -> Genotype:
    """The genotype of that name: a known one, one drawn at random, or one with a single operation on every edge."""
    from nas.space.genotypes import Label, random_genotype
    from nas.space.spaces import find

    label = Label.of(name)
    if label.kind == "random":
        return random_genotype(find(label.base).operations, params.search.nodes, f"{params.seed}/{name}")
    if label.kind == "all":
        return made(label.base, known, params).with_all(label.argument)
    return known[name]


def main(params: Params, name: str) -> None:
    from nas.pipeline.files import whole_folder, write_json
    from nas.report.figures.cells import draw_cell
    from nas.space.genotypes import CELLS, PUBLISHED, derive_from_weights, found_name

    ends = final_weights(params)
    found = {found_name(*which, params.search.seeds): derive_from_weights(*end) for which, end in ends.items()}
    known = PUBLISHED | found
    known |= {label: made(label, known, params) for label in params.evaluate.genotypes}
    with whole_folder("results/genotypes") as folder:
        for label, genotype in known.items():
            write_json(folder / f"{label}.json", genotype.to_dict())
            for cell, title in CELLS.items():
                edges, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
                draw_cell(edges, concat, folder / f"{label}-{cell}.png", title=f"{label}: {title}")
    write_json("results/preference/metrics.json", preferences(ends, found, params))


if __name__ == "__main__":
    run(main)
