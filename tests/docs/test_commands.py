"""Every command of README.md and docs/ is run, or says why not: see blocks.py."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from blocks import LANGUAGES, PAGES, Page, Reader, furnish, furnish_to_make
from conftest import ROOT, Project, make_project, update
from ruamel.yaml import YAML

from nas.cli import app
from nas.pipeline.params import check

Copy = Callable[[Project], Project]
MARKED = re.compile(r"<!-- (?:not run|run): ")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What git holds: sources and small results, nothing that was run."""
    project = make_project(tmp_path_factory.mktemp("clone") / "project")
    furnish(project)
    return project


def as_cases() -> list:
    pages = [page for page in PAGES if any(block.runs for block in page.blocks)]
    return [pytest.param(page, id=str(page)) for page in pages]


@pytest.mark.slow
@pytest.mark.parametrize("page", as_cases())
def test_what_a_page_says_can_be_done(page: Page, copy_of: Copy, tmp_path: Path, request) -> None:
    project = copy_of(request.getfixturevalue("finished" if page.has_run_once else "clone"))
    if page.has_run_once:
        furnish_to_make(project)
        project.commit("what make needs")
    reader = Reader(project, tmp_path / "tools")
    for block in page.blocks:
        if block.runs:
            reader.do(block)


def test_every_block_is_run_or_says_why_not() -> None:
    blocks = [(page, block) for page in PAGES for block in page.blocks]
    assert sum(block.runs for _, block in blocks) > 50
    for page, block in blocks:
        assert block.language in LANGUAGES, f"{page}:{block.line}: a block of no language that a test can run"
        assert block.mark != "run" or block.reason == "in a project that has run once", f"{page}:{block.line}"
        if block.language == "bash":  # also where it is not run
            subprocess.run(["bash", "-n", "-c", block.text], check=True)
        for test in re.findall(r"tests/[\w/]+\.py", block.reason):
            assert (ROOT / test).is_file(), f"{page}:{block.line}: {test}"


def test_what_a_page_sets_is_allowed_in_the_default_parameters_too() -> None:
    """The pages are tried with smaller ones."""
    yaml = YAML(typ="safe")
    for page in PAGES:
        if any(block.language == "diff" for block in page.blocks):  # of the sources, which know more names then
            continue
        tree = yaml.load((ROOT / "presets/default.yaml").read_text(encoding="utf-8"))
        for block in page.blocks:
            if block.language == "yaml":
                update(tree, yaml.load(block.text))
                check(tree, f"{page}:{block.line}")


def test_no_block_and_no_mark_escapes_the_extractor() -> None:
    for page in PAGES:
        assert page.text.count("```") == 2 * len(page.blocks), page
        assert len(MARKED.findall(page.text)) == sum(bool(block.mark) for block in page.blocks), page
        assert not re.search(r"^    (dvc|nas|python|make|git|pip|import|from) ", page.prose, re.M), page


def test_what_prose_names_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    presets = {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    commands = set(app) - {"--help", "-h", "--version"}
    for page in PAGES:
        said = "\n".join(re.findall(r"`([^`]+)`", page.prose) + [block.text for block in page.blocks])
        assert set(re.findall(r"\bmake ([a-z][\w-]*)", said)) <= targets, page
        assert set(re.findall(r"\bnas preset ([a-z]\w*)", said)) <= presets | {"pibcon"}, page  # a mistake on purpose
        assert set(re.findall(r"\bnas ([a-z]+)\b", said)) <= commands, page


def test_the_reference_lists_every_command_and_every_preset() -> None:
    reference = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `nas (\w+)", reference, re.M)) == set(app) - {"--help", "-h", "--version"}
    studies = (ROOT / "docs/studies/index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", studies, re.M)) == {path.stem for path in (ROOT / "presets").glob("*")}
