"""The tests under each Python, and with the oldest dependencies, that pyproject.toml claims: python -m tests.matrix.

    python -m tests.matrix                                 # all rows of the table
    python -m tests.matrix 3.13:highest -- tests/space     # one row, some tests

uv makes an environment for each in .matrix/ and resolves: `lowest-direct` takes the lower bound of everything that
pyproject.toml names, `highest` the newest. Pythons are those on the PATH, or what uv can download.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"
# The oldest of everything belongs to the oldest Python: for newer ones there may be no builds of it.
ROWS = ("3.11:lowest-direct", "3.11:highest", "3.12:highest", "3.13:highest")
TESTS = ["-n", "2", "--dist", "worksteal", "-m", "not slow or end_to_end"]
VERSIONS = "import importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in ('torch', 'numpy', 'dvc')))"


class Outcome(NamedTuple):
    row: str
    what: str
    versions: str = "–"
    minutes: float = 0.0
    good: bool = False


def attempt(row: str, tests: list[str]) -> Outcome:
    """Make the environment of `row`, PYTHON:RESOLUTION, and run the tests in it."""
    python, resolution = row.split(":")
    environment, began = FOLDER / f"{python}-{resolution}", time.monotonic()
    binaries = environment / "bin"
    install = ["--python", str(binaries / "python"), "--resolution", resolution, "-r", "pyproject.toml", "--all-extras"]
    for command in (["venv", "--clear", "--python", python, str(environment)], ["pip", "install", *install]):
        if subprocess.run(["uv", *command, "--quiet"], cwd=ROOT).returncode:
            return Outcome(row, f"`uv {' '.join(command[:2])}` failed")
    told = environment / "tests.xml"
    paths = {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(environment)}
    command = [str(binaries / "python"), "-m", "pytest", *TESTS, f"--junitxml={told}", *tests]
    status = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | paths).returncode
    versions = subprocess.run([binaries / "python", "-c", VERSIONS], capture_output=True, text=True).stdout.strip()
    what = counted(told) if told.is_file() else f"pytest ended with status {status}"
    return Outcome(row, what, versions, (time.monotonic() - began) / 60, status == 0)


def counted(report: Path) -> str:
    """``1,234 passed, 1 failed, 2 skipped``, of pytest's report in JUnit's form."""
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    return f"{int(suite.get('tests', 0)) - failed - skipped:,} passed, {failed} failed, {skipped} skipped"


def table(outcomes: list[Outcome]) -> str:
    lines = ["| Python | dependencies | tests | versions | minutes |", "|---|---|---|---|---:|"]
    for outcome in outcomes:
        python, resolution = outcome.row.split(":")
        lines.append(f"| {python} | {resolution} | {outcome.what} | {outcome.versions} | {outcome.minutes:.0f} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    rows, tests = arguments[:end] or list(ROWS), arguments[end + 1 :]
    unknown = set(rows) - set(ROWS)
    if unknown:
        print(f"error: unknown row {min(unknown)} (known: {', '.join(ROWS)})", file=sys.stderr)
        return 2
    outcomes = [attempt(row, tests) for row in rows]
    print(table(outcomes))
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
