"""docs/: every link leads somewhere, every test named is there, every number quoted is what its file says."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from nas.report.published.pibconv import PIBCONV_TABLE_1

PAGES = sorted((ROOT / "docs").glob("*.md"))
QUOTED = re.compile(r"(-?\d+(?:\.\d+)?)<!-- (.+?): (.+?) -->")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@each_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert named
    for file, name in named:
        assert name in functions(ROOT / file), f"{file}::{name}"


@each_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def truth(source: str, key: str) -> float:
    """What a quotation refers to: a key of one of the repository's files, or of the paper's Table 1."""
    if source == "paper":
        genotype, layers, column = key.split()
        (row,) = [row for row in PIBCONV_TABLE_1 if (row.genotype, row.layers) == (genotype, int(layers))]
        return getattr(row, column)
    return json.loads((ROOT / source).read_text(encoding="utf-8"))[key]


def test_every_number_quoted_is_what_its_source_says() -> None:
    found = [quotation for page in PAGES for quotation in QUOTED.findall(page.read_text(encoding="utf-8"))]
    assert len(found) >= 25
    for number, source, key in found:
        digits = len(number.partition(".")[2])
        assert f"{truth(source, key):.{digits}f}" == number, f"{source}: {key}"
