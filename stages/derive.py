"""Collect every genotype that later stages may name, and say how clear each choice was: python -m stages.derive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nas.pipeline.names import DRAWINGS, GENOTYPES, OWN_GENOTYPES, PREFERENCE, Label, Search, genotype_file, stage_name
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.space.genotypes import Genotype

Weights = tuple[list[str], dict[str, list[list[float]]]]


def final_weights(params: Params) -> dict[Search, Weights]:
    """What every search ended with."""
    from nas.pipeline.records import Alphas, damaged
    from nas.space import genotypes

    ends = {}
    for searched in params.search.searches():
        table, remedy = searched.results() / "alphas.csv", f"run {stage_name('search', *searched)} again"
        rows = Alphas.read(table, remedy).to_dict("records")
        try:
            ends[searched] = genotypes.final_weights(rows)
        except ValueError as error:
            raise damaged(table, error, remedy) from None
    return ends


def write_preferences(ends: Mapping[Search, Weights], found: Mapping[str, Genotype], params: Params) -> None:
    """What each search prefers and, of a space searched with several seeds, whether its choice repeats."""
    from nas.analysis.preference import Preference, repeatability
    from nas.pipeline.files import whole_folder
    from nas.pipeline.records import CellPreference, OperationPreference, Repeatability

    seeds, cells, operations, spaces = params.search.seeds, [], [], []
    for searched, (names, weights) in ends.items() if params.search.algorithm != "random" else ():
        for cell, of_cell in weights.items():
            preference, which = Preference(names, of_cell), {"genotype": searched.genotype(seeds), "cell": cell}
            cells.append(which | preference.summary())
            operations += [which | row for row in preference.by_operation()]
        if searched.seed == seeds[-1] and len(seeds) > 1:
            alike = [found[Search(searched.space, seed).genotype(seeds)] for seed in seeds]
            told = repeatability(names, alike)
            spaces += [{"space": searched.space, "cell": cell} | row for cell, row in told.items()]
    with whole_folder(PREFERENCE) as folder:
        CellPreference.write(folder / "cells.csv", cells)
        OperationPreference.write(folder / "operations.csv", operations)
        Repeatability.write(folder / "repeatability.csv", spaces)


def made(name: str, known: Mapping[str, Genotype], params: Params) -> Genotype:
    """The genotype of that name: a known one, one drawn at random, or one with a single operation on every edge."""
    from nas.space.genotypes import random_genotype
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
    from nas.space.genotypes import CELLS, derive_from_weights
    from nas.space.notation import own, read
    from nas.space.published import PUBLISHED

    ends = final_weights(params)
    found = {searched.genotype(params.search.seeds): derive_from_weights(*end) for searched, end in ends.items()}
    known = PUBLISHED | {label: read(path) for label, path in own(OWN_GENOTYPES).items()} | found
    known |= {label: made(label, known, params) for label in params.evaluate.genotypes}
    with whole_folder(GENOTYPES) as folder, whole_folder(DRAWINGS) as drawings:
        for label, genotype in known.items():
            write_json(folder / genotype_file(label).name, genotype.to_dict())
            for cell, title in CELLS.items():
                edges, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
                draw_cell(edges, concat, drawings / f"{label}-{cell}.png", title=f"{label}: {title}")
    write_preferences(ends, found, params)


if __name__ == "__main__":
    run(main)
