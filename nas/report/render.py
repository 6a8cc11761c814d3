"""A section's template, filled in: rows and verdicts come from Python, the words stand in templates/NAME.md.j2."""

import re
from collections.abc import Iterable, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import nas.report.templates  # noqa: F401, for the fingerprints of code, which follow imports
from nas.space.genotypes import CELLS


def render(name: str, **values: object) -> str:
    """Fill in templates/NAME.md.j2.

    A template breaks its paragraphs into lines as it likes, and leaves blank lines where a part is left out: each
    paragraph and each item of a list becomes one line, any number of blank lines one.
    """
    text = TEMPLATES.get_template(f"{name}.md.j2").render(values)
    text = re.sub(r"(?<!\n)\n(?!\n|\| |- ) *", " ", text.strip())
    return re.sub(r"\n{3,}", "\n\n", text)


SPECIAL = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " ", "\r": " "}
    | {character: f"\\{character}" for character in "\\`*[]|"}
)


NUMBER = re.compile(r"\**[-+−]?\d|\**–\**$")  # in bold, in italics or plain; – where there is none


def literal(value: object) -> object:
    """What a template or a table shows of a value: as it stands, whatever Markdown or HTML would make of it.

    The names of folders and classes are the user's, and may be anything.
    """
    return Markup(value.translate(SPECIAL)) if type(value) is str else value


def bold(text: str) -> Markup:
    return Markup(f"**{literal(text)}**")


def italic(text: str) -> Markup:
    return Markup(f"*{literal(text)}*")


def table(header: str, rows: Iterable[Sequence[object]]) -> Markup:
    """A Markdown table. Its header is written ``name | another``.

    Columns of numbers, and of what begins with one, are aligned to the right; the first column, which names the row,
    and columns of words are not, and their cells may break into lines.
    """
    cells = [[str(literal(cell)) for cell in row] for row in rows]
    columns = [*zip(*cells, strict=True)] or [()] * len(header.split(" | "))
    rule = ["---" if i == 0 or not all(map(NUMBER.match, column)) else "---:" for i, column in enumerate(columns)]
    lines = [header, *(" | ".join(line) for line in (rule, *cells))]
    return Markup("\n".join(f"| {line} |" for line in lines))


def both_cells(what: str, files: str, cells: Iterable[str], kind: str = "png") -> Markup:
    """The pictures of the kinds of `cells` that there are, side by side where there is room."""
    return Markup(" ".join(f"![{what}, {CELLS[cell]}]({files}-{cell}.{kind})" for cell in cells))


def accuracy(row: Mapping) -> str:
    """The test accuracy of one of `Report.evaluated`, with its deviation if there are several seeds."""
    deviation = f" ± {row['deviation']:.2f}" if len(row["seeds"]) > 1 else ""
    return f"{row['accuracy']:.2f}{deviation}"


def interval(ends: tuple[float, float] | None) -> str:
    """``95.3 to 98.7``; – where there is none."""
    return "{:.1f} to {:.1f}".format(*ends) if ends else "–"


TEMPLATES = Environment(
    loader=PackageLoader("nas.report.templates", ""),
    undefined=StrictUndefined,
    autoescape=True,
    finalize=literal,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES = TEMPLATES.overlay(finalize=None)  # of HTML, where values are escaped as HTML alone
TEMPLATES.globals |= {"table": table, "both_cells": both_cells, "interval": interval}
