"""The fenced blocks of README.md and docs/: what a reader types, and how a test does what he would.

The blocks of a page run one after another in one project, as they are read:

    ```bash                        a shell runs it, and stops at the first command that fails
    ```console                     lines behind `$ ` are commands, the others what they print; … stands for anything
    ```python                      a program of its own
    ```python title="FILE"         the file's text
    ```yaml title="params.yaml"    these keys of params.yaml change
    ```diff                        a patch
    ```text                        not run: an output, a formula

In the line before, `<!-- not run: REASON -->` leaves a block out, and `<!-- run: in a project that has run once -->`,
before any block, says where the page's blocks run; otherwise it is a fresh clone.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conftest import ENVIRONMENT, ROOT, Project
from ruamel.yaml import YAML

FENCED = re.compile(r'(?:<!-- (not run|run): (.+?) -->\n)?^```(\w*)(?: title="([^"\n]+)")?\n(.*?)^```$', re.M | re.S)
SHOWN = "text"
LANGUAGES = ("bash", "console", "python", "yaml", "diff", SHOWN)


@dataclass(frozen=True)
class Block:
    """`mark` is "run", "not run" or "", `reason` what the comment says behind it."""

    line: int
    mark: str
    reason: str
    language: str
    title: str
    text: str

    @property
    def runs(self) -> bool:
        return self.mark != "not run" and self.language != SHOWN


@dataclass(frozen=True)
class Page:
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return [
            Block(self.text.count("\n", 0, found.start(3)) + 1, *found.groups(default=""))
            for found in FENCED.finditer(self.text)
        ]

    @property
    def prose(self) -> str:
        return FENCED.sub("", self.text)

    @property
    def has_run_once(self) -> bool:
        return any(block.reason == "in a project that has run once" for block in self.blocks if block.mark == "run")

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


PAGES = [Page(ROOT / "README.md"), *(Page(path) for path in sorted((ROOT / "docs").rglob("*.md")))]


def furnish(project: Project) -> None:
    """Add to a project of `make_project` what a clone has besides: small results, studies, a finished .venv."""
    folder = project.folder
    for name in ("results", "studies"):
        ignored = shutil.ignore_patterns("code", "report.html", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=ignored)
    furnish_to_make(project)


def furnish_to_make(project: Project) -> None:
    """The Makefile, and a .venv that has all that its targets want: this Python's."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, project.folder / name)
    venv = project.folder / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (Path(sys.prefix) / name).exists():
            (venv / name).symlink_to(Path(sys.prefix) / name)
    (venv / "ready").touch()


class Reader:
    """Does in `project` what a page says."""

    def __init__(self, project: Project, tools: Path) -> None:
        """`tools`: an empty folder, for the command `nas` of the project's own sources."""
        self.folder = project.folder
        self.project = project
        tools.mkdir()
        nas = tools / "nas"
        nas.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nas "$@"\n')
        nas.chmod(0o755)
        self.environment = ENVIRONMENT | {"PATH": f"{tools}:{ENVIRONMENT['PATH']}", "COLUMNS": "120"}

    def run(self, *command: str, given: str = "") -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def do(self, block: Block) -> None:
        if block.language == "yaml":
            assert block.title == "params.yaml"
            self.project.set(**YAML(typ="safe").load(block.text))
            self.expect_success(block, "nas", "check")
        elif block.title:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "console":
            self.converse(block.text)
        else:
            program, given = {
                "bash": (["bash", "-euo", "pipefail", "-c", block.text], ""),
                "python": ([sys.executable, "-"], block.text),
                "diff": (["git", "apply", "-"], block.text),
            }[block.language]
            self.expect_success(block, *program, given=given)

    def expect_success(self, block: Block, *command: str, given: str = "") -> None:
        status, told = self.run(*command, given=given)
        assert status == 0, f"line {block.line}: exit status {status}\n{block.text}\n{told}"

    def converse(self, text: str) -> None:
        """Type each command of a console, and compare what it prints."""
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, expected = part.partition("\n")
            _, told = self.run("bash", "-c", command)
            pattern = ".*".join(map(re.escape, expected.rstrip().split("…")))
            assert re.fullmatch(pattern, told.rstrip(), re.S), f"$ {command}\n{told}\ninstead of\n{expected}"
