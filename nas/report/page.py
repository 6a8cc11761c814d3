"""The report: its sections in their order, as report.md for a code host and as report.html for anywhere else."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from markdown import markdown
from markupsafe import Markup

from nas.pipeline.errors import UserError
from nas.pipeline.files import whole_folder, write_text
from nas.report.contents import Contents, Report, evaluated
from nas.report.render import TEMPLATES
from nas.report.sections import (
    accuracy,
    baselines,
    complexity,
    data,
    dnal,
    genotypes,
    gradcam,
    preference,
    recipe,
    roadmap,
    search,
)

SECTIONS = (
    accuracy.summary,
    accuracy.section,
    roadmap.section,
    baselines.found_or_random,
    baselines.single_blocks,
    preference.section,
    search.section,
    genotypes.section,
    complexity.networks,
    complexity.blocks,
    gradcam.section,
    dnal.section,
    data.section,
    recipe.section,
)


def write(results: Path, contents: Contents) -> None:
    """Draw the figures into ``results/figures``, write ``results/report.md`` and ``results/report.html``.

    Raises
    ------
    UserError
        If a result that `contents` names is missing or damaged.
    """
    rows = evaluated(results, contents.networks)
    with whole_folder(results / "figures") as folder:
        report = Report(results, contents, rows, folder)
        text = "\n\n".join(part for part in (section(report) for section in SECTIONS) if part) + "\n"
        html = page(text, {"figures": folder, "cells": results / "cells"})
    write_text(results / "report.md", text)
    write_text(results / "report.html", html)


def page(text: str, folders: Mapping[str, Path]) -> str:
    """The Markdown as one HTML file: style inline, pictures as data, tables that scroll sideways on a phone.

    `folders` tells where the pictures lie whose paths begin with a name of theirs.
    """

    def embedded(match: re.Match) -> str:
        folder, name = match[1].split("/")
        # An animation that has been shown to its end begins anew when its source is set.
        again = ' title="click to play again" onclick="this.src = this.src"' if name.endswith(".gif") else ""
        return f'src="{_data_uri(folders[folder] / name)}"{again}'

    body = markdown(text, extensions=["tables"])
    body = re.sub(r'src="([^"]+)"', embedded, body)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    return TEMPLATES.get_template("page.html.j2").render(body=Markup(body)) + "\n"


def _data_uri(path: Path) -> str:
    try:
        return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `dvc repro` makes it anew") from None
