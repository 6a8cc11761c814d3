"""The report shows what the lists name, with the numbers that stand in results/, and needs nothing else."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Project

from nas import published
from nas.errors import UserError
from nas.report import Contents, write

RECIPES = {"Search": {"epochs": 1, "order": "second", "channels": 2, "layers": 3, "nodes": 1}} | {
    "Evaluation": {"epochs": 2, "channels": 4}
}


def contents(**changes: object) -> Contents:
    given = {
        "spaces": ["darts"],
        "networks": [("DARTS_V2", 2, [0]), ("darts", 2, [0])],
        "gradcam": ["DARTS_V2-2-0"],
        "recipes": RECIPES,
        "data": "digits",
    }
    return Contents(**(given | changes))


@pytest.fixture
def results(finished: Project, tmp_path: Path) -> Path:
    shutil.copytree(finished.folder / "results", tmp_path / "results")
    return tmp_path / "results"


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without the header."""
    section = text.split(f"## {heading}\n")[1]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[2 : 2 + next((i for i, row in enumerate(rows[2:]) if len(row) != len(rows[0])), len(rows))]


def test_numbers_are_those_of_the_metrics(results: Path) -> None:
    write(results, contents())
    rows = table((results / "report.md").read_text(), "Test accuracy")
    assert len(rows) == 2
    for row, run in zip(rows, ("DARTS_V2-2-0", "darts-2-0"), strict=True):
        metrics = json.loads((results / "evaluate" / run / "metrics.json").read_text())
        genotype, layers, top1, top5, params, gmac, _ = row
        assert f"{genotype}-{layers}-0" == run
        assert top1 == f"**{metrics['top1']:.2f}**"
        assert top5 == f"{metrics['top5']:.2f}"
        assert params == f"{metrics['params'] / 1e6:.4f}"
        assert gmac == f"{metrics['gmac']:.4f}"
    assert [row[-1] for row in rows] == ["*54.52*", "–"]  # Table 1 has DARTS_V2 at 2 layers


def test_complexity_stands_beside_the_papers_table(results: Path) -> None:
    write(results, contents())
    rows = table((results / "report.md").read_text(), "Complexity of the paper's Table 1")
    assert len(rows) == len(published.PIBCONV_TABLE_1) == 20
    assert rows[0][:6] == ["DARTS_V2", "20", "3.3493", "*3.3*", "0.5475", "*0.547*"]
    assert rows[-1][:6] == ["DARTS_PseudoInvBn", "2", "0.3765", "*0.385*", "0.0661", "*0.067*"]
    assert rows[-1][6:8] == ["-2.2 %", "-1.4 %"]


def test_several_seeds_give_mean_and_deviation(results: Path) -> None:
    for seed, top1 in ((1, 80.0), (2, 90.0), (3, 94.0)):
        shutil.copytree(results / "evaluate/DARTS_V2-2-0", results / f"evaluate/DARTS_V2-2-{seed}")
        path = results / f"evaluate/DARTS_V2-2-{seed}/metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"top1": top1}))
    write(results, contents(networks=[("DARTS_V2", 2, [1, 2, 3])]))
    row = table((results / "report.md").read_text(), "Test accuracy")[0]
    assert row[2] == "**88.00** ± 7.21"  # (80 + 90 + 94) / 3, and with n − 1: √((64 + 4 + 36) / 2)


def test_only_what_the_lists_name_is_shown(results: Path) -> None:
    write(results, contents(spaces=[], networks=[("DARTS_V2", 2, [0])], gradcam=[]))
    text = (results / "report.md").read_text()
    assert "| darts |" not in text
    assert "\n## Search\n" not in text
    assert "\n## Grad-CAM\n" not in text
    assert sorted(p.name for p in (results / "figures").iterdir()) == ["accuracy.png", "training.png"]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"])
        if tag in ("link", "script", "a", "iframe"):
            self.links += [value for name, value in values.items() if name in ("href", "src")]


def test_the_page_needs_no_other_file_and_the_markdown_only_those_beside_it(results: Path) -> None:
    write(results, contents())
    html, text = (results / "report.html").read_text(), (results / "report.md").read_text()
    named = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    page = Page(html)
    assert len(page.images) == len(named) >= 10
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert page.links == []
    assert "http" not in html
    assert all((results / name).is_file() for name in named)
    assert {p.name for p in (results / "figures").iterdir()} == {
        Path(n).name for n in named if n.startswith("figures/")
    }
    assert 'name="viewport"' in html


def test_a_missing_result_leaves_the_earlier_report(results: Path) -> None:
    write(results, contents())
    before = (results / "report.html").read_bytes()
    (results / "evaluate/darts-2-0/history.csv").unlink()
    with pytest.raises(UserError, match=r"darts-2-0/history.csv: is missing or damaged .*dvc repro"):
        write(results, contents())
    assert (results / "report.html").read_bytes() == before
    assert (results / "figures/accuracy.png").exists()
