"""The console command: what it takes, and that a mistake is one line."""

import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT

import nas
from nas.cli import app, main

COMMANDS = {"check", "export", "new", "parallel", "predict", "preset", "report", "show"}


def test_help_names_every_command(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert {name for name in app if not name.startswith("-")} == COMMANDS
    assert all(f" {name} " in shown for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == nas.__version__


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["preset"], "requires an argument"),
        (["presets", "x"], "did you mean"),
        (["preset", "a", "b"], "'b'"),
        (["check", "--all"], "--all"),
        (["parallel", "--jobs", "0"], "0"),
        (["parallel", "--jobs", "two"], "two"),
        (["preset", "defalt"], "unknown preset 'defalt'; did you mean default? "),
        (["new", "."], ".: exists already; name a new folder"),
        (["report", "--since", "no-such-branch"], ""),
    ],
)
def test_a_mistake_is_one_line(arguments, told, monkeypatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert told.lower() in err.lower()


@pytest.mark.parametrize("module", ["nas", "nas.parallel"])
def test_python_m_is_the_same(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: nas parallel " if module == "nas.parallel" else "Usage: nas COMMAND")


def test_a_kept_study_is_one_of_a_checkout(monkeypatch, tmp_path, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["report", "no-such-study"]) == 1
    assert capfd.readouterr().err == "error: studies/no-such-study: there is no such study\n"
    monkeypatch.chdir(tmp_path)
    assert main(["report", "dnal"]) == 1
    assert capfd.readouterr().err.startswith("error: studies/report.py: is not here; ")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name in [name for name in sys.modules if name.startswith("nas.pipeline.dvc_yaml")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "nas.pipeline.params", raising=False)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert main(["preset", "default"]) == 1
    assert capsys.readouterr().err == "error: pydantic is not installed; pip install 'nas-studies[pipeline]'\n"
