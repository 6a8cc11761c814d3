"""DVC's experiments and plots pages: what they write into params.yaml, need to be seen, leave to a run elsewhere."""

import copy
import difflib
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from html.parser import HTMLParser
from operator import getitem
from pathlib import Path

import pytest
from conftest import ROOT, Project
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml, modify_yaml

from nas.pipeline import params
from nas.pipeline.new import write_vega

Copy = Callable[[Project], Project]
PRESETS = sorted(path.stem for path in (ROOT / params.PRESETS).glob("*.yaml"))
PLOTS = ROOT / ".dvc/plots"
DEFAULT = (ROOT / "presets/default.yaml").read_text()


def lists(tree: dict, above: str = "") -> Iterator[str]:
    """The dotted keys of all lists."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from lists(value, f"{above}{key}.")
        elif isinstance(value, list):
            yield above + key


LISTS = list(lists(load_yaml(ROOT / "presets/default.yaml")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(DEFAULT)
    return path


def changed(path: Path) -> list[str]:
    """The lines that differ from the default: "- old", "+ new"."""
    lines = difflib.ndiff(DEFAULT.splitlines(), path.read_text().splitlines())
    return [line for line in lines if line[0] in "-+"]


# params.yaml

EMPTY = ("select.searches", "truth.spaces", "truth.opinions", "export.slimmed", "latency.networks", "latency.published")
FILLED = [key for key in LISTS if key not in EMPTY]  # by default


@pytest.mark.parametrize("key", [*FILLED, "all"])
def test_an_emptied_list_is_all_that_changes(key: str, file: Path) -> None:
    keys = FILLED if key == "all" else [key]
    expected = copy.deepcopy(load_yaml(file))
    for *sections, name in (key.split(".") for key in keys):
        section = reduce(getitem, sections, expected)
        assert section[name]
        section[name] = []
    apply_overrides(file, [f"{key}=[]" for key in keys])
    assert load_yaml(file) == expected
    assert sum(line.startswith("+") for line in changed(file)) == len(keys)


def test_setting_a_parameter_changes_its_line_alone(file: Path) -> None:
    apply_overrides(file, ["search.epochs=2", "gradcam.classes=['0','3','6']", "data.train_limit=100", "seed=1"])
    assert [line.split("#")[0].rstrip() for line in changed(file)] == [
        "- seed: 0",
        "+ seed: 1",
        "-   train_limit:",
        "+   train_limit: 100",
        "-   epochs: 6",
        "+   epochs: 2",
        "-   - '8'",
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_dvc_would_write_a_preset_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "params.yaml"
    params.preset(name, path)
    text = path.read_text()
    with modify_yaml(path):
        pass
    assert path.read_text() == text
    keys = list(lists(load_yaml(path)))
    assert [key for key in keys if "recipes" not in key] == [key for key in LISTS if "recipes" not in key]
    apply_overrides(path, [f"{key}=[]" for key in keys])
    assert list(lists(load_yaml(path))) == keys


# Plots pages


class Page(HTMLParser):
    """What a browser loads when it opens a page, what stands inertly in <template> apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.inert = [], False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inert |= tag == "template"
        if not self.inert:
            self.sources += [value for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.inert &= tag != "template"


@pytest.fixture(scope="module")
def page(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "dvc_plots"
    done = finished.run("dvc", "plots", "show", "--out", str(out))
    assert "failed" not in done.stderr
    return (out / "index.html").read_text()


def test_a_plots_page_loads_nothing_from_elsewhere(page: str) -> None:
    sources = Page(page).sources
    assert sources.count("../.dvc/plots/vega.js") == 1
    assert not [source for source in sources if ":" in source]
    assert [source for source in sources if source.endswith(".png")]


def test_every_plot_has_a_title_of_its_own(page: str) -> None:
    plots = [json.loads(spec) for spec in re.findall(r"var spec = (.*);\n", page)]
    titles = Counter(plot["title"]["text"] for plot in plots if plot)
    assert max(titles.values()) == 1
    assert any("DARTS_V2-2-0" in title for title in titles)


def test_the_script_that_the_page_loads_is_made(tmp_path: Path) -> None:
    assert "from nas.pipeline.new import write_vega; write_vega()" in (ROOT / "Makefile").read_text()
    write_vega(tmp_path / "vega.js")
    script = (tmp_path / "vega.js").read_text(encoding="utf-8")
    assert re.search(r"\bwindow\.vegaEmbed=", script) and not re.search(r"^(import|export) ", script, re.MULTILINE)
    versions = set(re.findall(r"schema/vega-lite/v(\d)", "".join(p.read_text() for p in PLOTS.glob("*.json"))))
    assert versions == set(re.findall(r'vl_version="(\d)', inspect.getsource(write_vega)))


# Experiments


@pytest.mark.slow
def test_an_experiment_elsewhere_is_not_run_again_here(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.run("dvc", "exp", "run", "--temp", "-n", "other-image", "-S", "gradcam.index=1")
    assert project.run("git", "status", "--porcelain").stdout == ""
    project.run("dvc", "exp", "branch", "other-image", "other")
    files = project.run("git", "diff", "--numstat", "main", "other").stdout
    assert "1\t1\tparams.yaml\n" in files
    assert "results/gradcam/DARTS_V2-2-0/pictures/0-heat.png" in files
    project.set(gradcam={"index": 1})
    assert project.repro() == []
    assert project.run("git", "diff", "other").stdout == ""


def test_git_takes_the_note_of_data_that_it_ignores(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    folder = project.folder / "data/raw/pictures"
    folder.mkdir()
    (folder / "1.png").touch()
    project.run("dvc", "add", "data/raw/pictures")
    status = project.run("git", "status", "--porcelain").stdout
    assert "?? data/raw/pictures.dvc" in status
    assert "1.png" not in status
