"""What the project says of itself, where it says it twice; and what SECURITY.md promises of the sources."""

import ast
import re
import tomllib
from pathlib import Path

import matrix
import pytest
import yaml

import nas

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
SOURCES = sorted(path for room in ("nas", "stages") for path in (ROOT / room).rglob("*.py"))


def test_the_citation_is_of_this_version_and_of_the_newest_in_the_changelog() -> None:
    released = re.findall(
        r"^## \[(\d\S*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert (CITATION["version"], str(CITATION["date-released"])) == released[0]
    assert CITATION["version"] == nas.__version__
    assert CITATION["license"] == PROJECT["license"]
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_each_study_is_cited_with_who_wrote_it_and_where_it_is() -> None:
    assert {"cff-version", "message", "title", "references"} <= set(CITATION)
    for reference in CITATION["references"]:
        assert {"type", "title", "authors", "year", "notes"} <= set(reference)
        assert re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"]) if "doi" in reference else reference["url"]
    cited = " ".join(reference["notes"] for reference in CITATION["references"])
    for study in ("pibconv", "efficientnetv2", "dnal_cifar10", "darts"):
        assert re.search(rf"\b{study}\b", cited) and (ROOT / f"presets/{study}.yaml").is_file()


def test_every_python_that_is_claimed_is_in_the_matrix_and_the_oldest_with_the_oldest_dependencies() -> None:
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert list(dict.fromkeys(row.split(":")[0] for row in matrix.ROWS)) == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"
    assert f"{claimed[0]}:lowest-direct" in matrix.ROWS
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert tuple(workflow["jobs"]["tests"]["strategy"]["matrix"]["row"]) == matrix.ROWS


def test_the_matrix_tells_what_failed(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text('<testsuites><testsuite tests="1240" failures="2" errors="1" skipped="3"/></testsuites>')
    assert matrix.counted(report) == "1,234 passed, 3 failed, 3 skipped"
    assert matrix.main(["3.9:highest"]) == 2


def test_hooks_and_requirements_pin_one_ruff() -> None:
    pins = re.findall(r"\bruff==([\w.]+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert set(pins) == set(re.findall(r"^ruff==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


UNSAFE = {
    "eval",
    "exec",
    "torch.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "pickle.load",
    "pickle.loads",
}
LOADERS = {"_Fast", "_Plain"}  # of nas.pipeline.dvc_yaml: safe ones


def unsafe(source: str) -> list[str]:
    """The calls that could run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called, given = (
                ast.unparse(node.func),
                {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords},
            )
            safe = called == "yaml.load" and (len(node.args) < 2 or ast.unparse(node.args[1]) in LOADERS)
            if called in UNSAFE or (called == "yaml.load" and not safe) or given.get("allow_pickle") == "True":
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["eval(x)", "torch.load(p)", "yaml.load(t, yaml.Loader)", "pickle.loads(b)", "np.load(f, allow_pickle=True)"],
)
def test_what_would_run_what_it_reads_is_seen(source: str) -> None:
    assert unsafe(source)


def test_yaml_is_read_by_safe_loaders() -> None:
    from nas.pipeline import dvc_yaml

    assert all(issubclass(getattr(dvc_yaml, name), yaml.SafeLoader | yaml.CSafeLoader) for name in LOADERS)


def test_what_the_checklist_answers_is_all_of_it_and_what_it_names_is_there() -> None:
    """The paper has fourteen practices; a path, and a test in it, must be found as it is written."""
    text = (ROOT / "docs/checklist.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+)\. [^|]+\| \*\*(?:yes|no|in part)\*\*", text, re.MULTILINE) == [
        str(n) for n in range(1, 15)
    ]
    named = [name for name in re.findall(r"`([^`]+)`", text) if "/" in name and not name.endswith("/")]
    assert len(named) > 15
    for name in named:
        path, _, test = name.partition("::")
        assert (ROOT / path).exists(), name
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8") if test else True, name
