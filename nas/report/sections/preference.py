"""Does a search prefer an operation, and would another seed have it prefer the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nas.analysis.preference import RULE, SIGNIFICANT
from nas.pipeline.records import CellPreference, OperationPreference, Repeatability, damaged
from nas.report.contents import Report
from nas.report.render import bold, render
from nas.space.genotypes import CELLS
from nas.space.spaces import SPACES

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def section(report: Report) -> str:
    """What stage derive found of each search and of each space.

    Nothing of a random one, which prefers nothing, and of NAS-Bench-201's, where none is a choice too.
    """
    spaces = {name for name, space in SPACES.items() if space.is_bench201}
    trained = {name: searched for name, searched in report.contents.trained.items() if searched.space not in spaces}
    if not trained:
        return ""
    folder = report.results / "preference"
    cells = {(row.genotype, row.cell): row for row in CellPreference.read(folder / "cells.csv").itertuples()}
    operations = OperationPreference.read(folder / "operations.csv")
    repeats = Repeatability.read(folder / "repeatability.csv")

    def of(cell: str, genotypes: list[str]) -> DataFrame:
        """What is told of each operation in one kind of cell of some genotypes."""
        rows = operations[(operations["cell"] == cell) & operations["genotype"].isin(genotypes)]
        if rows.empty:
            raise damaged(folder / "operations.csv", ValueError(f"it lacks {', '.join([*genotypes, cell])}"))
        return rows.set_index("operation")

    try:
        rows = [
            _preferred(f"{name}, {title}", cells[name, cell], of(cell, [name]))
            for name in trained
            for cell, title in CELLS.items()
        ]
    except KeyError as error:
        raise damaged(folder / "cells.csv", ValueError(f"it lacks {', '.join(error.args[0])}")) from None
    several = len({searched.algorithm for searched in trained.values()}) > 1
    repeated = []
    for told in repeats.itertuples():
        alike = [name for name, searched in trained.items() if searched[:2] == (told.space, told.algorithm)]
        title = f"{told.space} by {told.algorithm}" if several else told.space
        repeated.append(_repeated(f"{title}, {CELLS[told.cell]}", told, of(told.cell, alike)))
    return render("preference", rows=rows, repeats=repeated, rule=RULE, significant=SIGNIFICANT)


def _preferred(name: str, told: NamedTuple, operations: DataFrame) -> tuple[str, ...]:
    largest = operations["weight_max"].idxmax()
    return (
        name,
        bold(told.verdict),
        f"{told.margin:.3f}",
        f"{told.entropy:.3f}",
        _ranked(operations["weight_mean"], ".3f", most=3),
        f"{largest} {operations['weight_max'][largest]:.3f}",
        _ranked(operations["leads"]),
        _ranked(operations["chosen"]),
    )


def _repeated(name: str, told: NamedTuple, operations: DataFrame) -> tuple[str, ...]:
    shares = (f"{100 * told.agreement:.0f} %", f"{100 * told.chance:.0f} %", f"{told.p_value:.3f}")
    chosen = operations["chosen"].groupby("operation", sort=False).sum()
    return (name, bold(told.verdict), *shares, _ranked(chosen))


def _ranked(values: Series, form: str = "", most: int | None = None) -> str:
    """``b 3, a 1``: from the largest down, at most so many, zeros left out; a name and its number stay on one line."""
    ranked = sorted(values.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name}\N{NO-BREAK SPACE}{value:{form}}" for name, value in ranked if value)
