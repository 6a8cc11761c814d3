"""Does a search prefer an operation, and would another seed have it prefer the same?"""

from collections.abc import Mapping

from nas.analysis.preference import RULE, SIGNIFICANT
from nas.pipeline.records import damaged, read_json
from nas.report.contents import Report
from nas.report.render import render
from nas.space.genotypes import CELLS


def section(report: Report) -> str:
    """What stage derive found of each search and of each space; nothing of a random one, which prefers nothing."""
    if not report.contents.searches or report.contents.algorithm == "random":
        return ""
    path = report.results / "preference" / "metrics.json"
    told = read_json(path)
    try:
        rows = [
            _preferred(f"{name}, {title}", told["searches"][name][cell])
            for name in report.contents.searches
            for cell, title in CELLS.items()
        ]
        repeats = [
            _repeated(f"{space}, {title}", cells[cell])
            for space, cells in told["spaces"].items()
            for cell, title in CELLS.items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path, ValueError(f"it lacks {error}")) from None
    return render("preference", rows=rows, repeats=repeats, rule=RULE, significant=SIGNIFICANT)


def _preferred(name: str, told: Mapping) -> tuple[str, ...]:
    largest = max(told["weights_max"], key=told["weights_max"].get)
    return (
        name,
        f"**{told['verdict']}**",
        f"{told['margin']:.3f}",
        f"{told['entropy']:.3f}",
        _ranked(told["weights_mean"], ".3f", most=3),
        f"{largest} {told['weights_max'][largest]:.3f}",
        _ranked(told["leads"]),
        _ranked(told["chosen"]),
    )


def _repeated(name: str, told: Mapping) -> tuple[str, ...]:
    shares = (f"{100 * told['agreement']:.0f} %", f"{100 * told['chance']:.0f} %", f"{told['p_value']:.3f}")
    return (name, f"**{told['verdict']}**", *shares, _ranked(told["chosen"]))


def _ranked(values: Mapping[str, float], form: str = "", most: int | None = None) -> str:
    """``b 3, a 1``: from the largest down, at most so many, zeros left out."""
    ranked = sorted(values.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {value:{form}}" for name, value in ranked if value)
