"""Collect every genotype that later stages may name, and say how clear each choice was: python -m stages.derive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nas.pipeline.errors import UserError
from nas.pipeline.names import (
    DRAWINGS,
    GENOTYPES,
    OWN_GENOTYPES,
    PREFERENCE,
    Label,
    Search,
    genotype_file,
    selection,
    stage_name,
)
from nas.pipeline.params import RANDOM, Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.space.genotypes import AnyGenotype

Weights = tuple[list[str], dict[str, list[list[float]]]]


def read_weights(searched: Search, epoch: int | None = None) -> Weights:
    """What a search stood for after `epoch`, by default what it found."""
    from nas.pipeline import records
    from nas.pipeline.records import Alphas, damaged
    from nas.space import genotypes

    if epoch is None and searched.algorithm != RANDOM:
        epoch = records.Search.read(searched.results() / "metrics.json").epoch
    table, remedy = searched.results() / "alphas.csv", f"run {stage_name('search', *searched)} again"
    rows = Alphas.read(table, remedy).to_dict("records")
    try:
        return genotypes.weights_at(rows, epoch)
    except ValueError as error:
        raise damaged(table, error, remedy) from None


def write_preferences(ends: Mapping[Search, Weights], found: Mapping[str, AnyGenotype], params: Params) -> None:
    """What each search prefers and, of a space searched with several seeds, whether its choice repeats.

    Both are told of DARTS's cell, where none is no choice: NAS-Bench-201's is left out.
    """
    from nas.analysis.preference import Preference, repeatability
    from nas.pipeline.files import whole_folder
    from nas.pipeline.records import CellPreference, OperationPreference, Repeatability

    s, cells, operations, spaces = params.search, [], [], []
    for searched, (names, weights) in ends.items():
        space = params.space(searched.space)
        if searched.algorithm == RANDOM or space.is_bench201:
            continue
        for cell, of_cell in weights.items():
            preference = Preference(names, of_cell, space.edges and space.edges[cell])
            which = {"genotype": searched.genotype(s.algorithms, s.seeds), "cell": cell}
            cells.append(which | preference.summary())
            operations += [which | row for row in preference.by_operation()]
        if searched.seed == s.seeds[-1] and len(s.seeds) > 1:
            alike = [found[searched._replace(seed=seed).genotype(s.algorithms, s.seeds)] for seed in s.seeds]
            which = {"space": searched.space, "algorithm": searched.algorithm}
            spaces += [which | {"cell": cell} | row for cell, row in repeatability(space.columns, alike).items()]
    with whole_folder(PREFERENCE) as folder:
        CellPreference.write(folder / "cells.csv", cells)
        OperationPreference.write(folder / "operations.csv", operations)
        Repeatability.write(folder / "repeatability.csv", spaces)


def made(name: str, known: Mapping[str, AnyGenotype], params: Params) -> AnyGenotype:
    """The genotype of that name: a known one, or one that is drawn, selected or made from another."""
    from nas.space.genotypes import load, random_genotype

    label = Label.of(name)
    if name in known:
        return known[name]
    if label.kind == "random":
        return random_genotype(params.space(label.base), params.search.nodes, f"{params.seed}/{name}")
    if label.kind == "all":
        return made(label.base, known, params).with_all(label.argument)
    if label.kind == "perturbed":
        return load(params.search.found()[label.base].selection() / "genotype.json")
    return selected(name, params)


def selected(name: str, params: Params) -> AnyGenotype:
    """What a search stood for at an epoch, or with at most so many skip connections in its normal cell."""
    from nas.pipeline.records import SearchHistory
    from nas.space.genotypes import derive_from_weights, with_fewer_skips

    found, pairs = selection(name)
    searched, asked = params.search.found()[found], dict(pairs)
    if asked.get("epoch", 0) > (last := len(SearchHistory.read(searched.results() / "history.csv"))):
        raise UserError(f"evaluate.genotypes: {name}: that search ended after epoch {last}")
    weights = read_weights(searched, asked.get("epoch"))
    return with_fewer_skips(*weights, asked["skips"]) if "skips" in asked else derive_from_weights(*weights)


def main(params: Params, name: str) -> None:
    from nas.pipeline.files import whole_folder, write_json
    from nas.report.figures.cells import draw_genotype
    from nas.space.genotypes import derive_from_weights
    from nas.space.notation import own, read
    from nas.space.published import PUBLISHED

    searches = params.search.found()
    ends = {searched: read_weights(searched) for searched in searches.values()}
    found = {label: derive_from_weights(*ends[searched]) for label, searched in searches.items()}
    known = PUBLISHED | {label: read(path) for label, path in own(OWN_GENOTYPES).items()} | found
    known |= {label: made(label, known, params) for label in params.evaluate.genotypes}
    with whole_folder(GENOTYPES) as folder, whole_folder(DRAWINGS) as drawings:
        for label, genotype in known.items():
            write_json(folder / genotype_file(label).name, genotype.to_dict())
            draw_genotype(genotype, label, drawings)
    write_preferences(ends, found, params)


if __name__ == "__main__":
    run(main)
