"""README.md and docs/: links lead somewhere, tests that are named exist, every number quoted is what its source says.

A quotation is a number with its source behind it: NUMBER<!-- A -->, or A less B, A over B, A / UNIT in the place of A.
A and B are one of:

    paper: GENOTYPE LAYERS COLUMN                PIBConv's Table 1
    Fig. 1: SPACE COLUMN                         PIBConv's roadmap
    DNAL: TABLE METHOD-or-PENALTY COLUMN         DNAL's tables
    PATH.json: KEY
    PATH.csv: COLUMN where COLUMN=VALUE, ...

With * in PATH it is the mean over those files, and with ", deviation" behind it the standard deviation.
"""

import ast
import csv
import json
import re
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import pytest
from conftest import ROOT

from nas.report.published.dnal import OTHERS, TABLES, Row
from nas.report.published.pibconv import PIBCONV_FIG_1, PIBCONV_TABLE_1

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CLAIMS = ROOT / "docs/claims.md"
QUOTED = re.compile(r"(\d+(?:\.\d+)?)<!-- (.+?) -->")
MARKS = re.compile(r"<!-- (?:not run|run): .+? -->")  # of tests/docs/blocks.py
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@each_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert named or page.name not in ("claims.md", "differences.md")
    for file, name in named:
        assert name in functions(ROOT / file), f"{file}::{name}"


@each_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def one(found: list) -> object:
    (only,) = found
    return only


def looked_up(quotation: str) -> float:
    """The number that a source has under a key."""
    source, _, key = quotation.partition(": ")
    if source == "paper":
        genotype, layers, column = key.split()
        rows = [row for row in PIBCONV_TABLE_1 if (row.genotype, row.layers) == (genotype, int(layers))]
        return getattr(one(rows), column)
    if source == "Fig. 1":
        space, column = key.split()
        return getattr(one([step for step in PIBCONV_FIG_1 if step.space == space]), column)
    if source == "DNAL":
        table, which, column = key.split()
        rows = [r for r in (*TABLES[table], *OTHERS[table]) if which in (r.method, f"{r.penalty or 0:.0e}")]
        return getattr(one(rows), column)
    values = [written(path, key.removesuffix(", deviation")) for path in ROOT.glob(source)]
    return stdev(values) if key.endswith(", deviation") else mean(values)


def written(path: Path, key: str) -> float:
    """A number of a JSON file, or of the one line of a CSV file that a key describes."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".csv":
        return json.loads(text)[key]
    column, _, where = key.partition(" where ")
    wanted = dict(field.split("=") for field in where.split(", ")).items()
    return float(one([row for row in csv.DictReader(text.splitlines()) if wanted <= row.items()])[column])


def truth(quotation: str) -> float:
    """What a quotation stands for, by the arithmetic that it names."""
    if " less " in quotation:
        a, b = quotation.split(" less ")
        return looked_up(a) - looked_up(b)
    if " over " in quotation:
        a, b = quotation.split(" over ")
        return looked_up(a) / looked_up(b)
    number, _, unit = quotation.partition(" / ")
    return looked_up(number) / float(unit or 1)


def test_every_number_quoted_is_what_its_source_says() -> None:
    text = "".join(MARKS.sub("", page.read_text(encoding="utf-8")) for page in PAGES)
    found = QUOTED.findall(text)
    assert len(found) == text.count("<!--") >= 100
    for number, quotation in found:
        digits = len(number.partition(".")[2])
        assert f"{truth(quotation) + 1e-9:.{digits}f}" == number, quotation  # a half is rounded up


def rows_of_claims() -> list[list[str]]:
    """The cells of every claim: claim, reproduced by, measured here, verdict."""
    lines = CLAIMS.read_text(encoding="utf-8").splitlines()
    return [
        re.split(r" \| ", line.strip("| "))
        for line in lines
        if line.startswith("| ") and "| reproduced by |" not in line
    ]


def test_every_decimal_number_beside_a_claim_names_its_source() -> None:
    for claim, _, measured, _ in rows_of_claims():
        rest = re.sub(r"`[^`]*`", "", QUOTED.sub("", measured))
        assert not re.search(r"\d\.\d", rest), f"{claim}: {rest}"


def test_what_reproduces_a_claim_is_a_preset_a_stage_a_test_or_a_section_of_the_report() -> None:
    presets = {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    stages = {path.stem for path in (ROOT / "stages").glob("*.py")}
    templates = [path.read_text(encoding="utf-8") for path in (ROOT / "nas/report/templates").glob("*.j2")]
    headings = set(re.findall(r"^## (.+)$", "\n".join(templates), re.MULTILINE))
    for claim, by, _, _ in rows_of_claims():
        assert by == "–" or re.search(r"[`\"\]]", by), claim
        for name in re.findall(r"`([^`]+)`", by):
            assert name in presets | stages or name.startswith("tests/"), f"{claim}: {name}"
        assert set(re.findall(r'"([^"]+)"', by)) <= headings, claim


def as_good(a: Row, b: Row) -> bool:
    """Whether `a` is at least as good as `b` in accuracy, multiply-adds and parameters, so far as both are given."""
    costs = [(a.macs, b.macs), (a.params, b.params)]
    return a.top1 >= b.top1 and all(None in pair or pair[0] <= pair[1] for pair in costs)


def test_which_of_the_other_methods_dnal_beats_in_all() -> None:
    """The counts and names that claims.md gives."""
    beaten, unbeaten = {}, {}
    for table, others in OTHERS.items():
        ours = [row for row in TABLES[table] if row.method == "DNAL"]
        assert not any(as_good(other, row) for other in others for row in ours)
        beaten[table] = sum(any(as_good(row, other) for row in ours) for other in others)
        unbeaten[table] = [o.method for o in others if not any(as_good(row, o) for row in ours)]
    cifar = ("vgg16_cifar", "resnet56", "mobilenet_v2_cifar")
    imagenet = ("vgg16_bn", "resnet50", "mobilenet_v2")
    assert [(sum(beaten[t] for t in ts), sum(len(OTHERS[t]) for t in ts)) for ts in (cifar, imagenet)] == [
        (8, 17),
        (16, 25),
    ]
    assert (beaten["vgg16_bn"], len(OTHERS["vgg16_bn"])) == (2, 8)
    assert unbeaten["vgg16_cifar"] == [] and unbeaten["resnet56"] == ["KSE(G=4)", "HRank"]
    assert unbeaten["mobilenet_v2_cifar"] == [f"FLGC(G={g})" for g in range(2, 9)]
    assert unbeaten["resnet50"] == ["ABCPruner"] * 3 and unbeaten["proxylessnas"] == ["CARS-I", "ProxylessNAS"]
    text = CLAIMS.read_text(encoding="utf-8")
    assert "8 of the other 17" in text and "16 of 25, of VGG16's 2 of 8" in text


def test_the_kept_runs_gates_end_open_or_closed() -> None:
    files = [path for path in ROOT.glob("studies/dnal/results/slim/*/gates.csv") if "-0.0/" not in path.as_posix()]
    assert len(files) == 4
    for path in files:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        last = [int(row["count"]) for row in rows if row["epoch"] == rows[-1]["epoch"]]
        assert len(last) == 20 and last[0] + last[-1] == sum(last) == 1184, path
