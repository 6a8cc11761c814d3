"""The report of a git revision: which one it is, and what changed since another.

results/report.html is an output of DVC: it depends on what dvc.yaml declares and on nothing else, and is the same in
every commit that has the same results. So what a commit says of itself is written into a copy, outside the pipeline.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import write_text
from nas.pipeline.lock import LOCK, require_locked
from nas.pipeline.names import RESULTS, SUMMARY
from nas.report.html import LINK, REVISION
from nas.report.render import PAGES

PAGE = RESULTS / "report.html"
COPY = Path("report.html")
MAIN = "main"


def write_with_revision(since: str = MAIN, path: Path = COPY) -> Path:
    """Write results/report.html with the git revision of dvc.lock, and what changed since another, to `path`.

    Parameters
    ----------
    since : a branch, tag or commit of git; where it holds the same dvc.lock there is no section on changes.
    path : the file to write, by default report.html, which git ignores.

    Returns
    -------
    `path`

    Raises
    ------
    UserError
        If the page is not what dvc.lock names, this is no git repository, or git knows no `since`.
    """
    if not LOCK.exists():
        raise UserError(f"{LOCK}: is not there; `dvc repro` makes it and the report")
    require_locked([PAGE])
    page = PAGE.read_text(encoding="utf-8")
    if REVISION not in page:
        raise UserError(f"{PAGE}: has no place for a revision; `dvc repro` makes it anew")
    other = _commit(since)
    block = PAGES.get_template("revision.html.j2").render(
        revision=_revision(), since=since, other=other, changes=_changes(other) if _differs(other) else None
    )
    write_text(path, page.replace(LINK, '<a href="#revision">Revision</a>').replace(REVISION, block, 1))
    return path


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.strip().splitlines()[0]}")
    return done.stdout.rstrip("\n")


def _commit(name: str) -> str:
    """The commit that `name` stands for, in full."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except (UserError, IndexError):
        raise UserError(f"{name}: git knows no such revision (a branch of another clone is origin/{name})") from None


def _revision() -> dict[str, object]:
    """Of HEAD: its commit, date, subject and branch, and which files that the results come from differ from it."""
    commit, date, subject = _git("log", "-1", "--format=%H%n%cs%n%s").split("\n", 2)
    changed = _git("status", "--porcelain", "--", LOCK.name, "params.yaml", "dvc.yaml", "nas", "stages", "genotypes")
    return {
        "commit": commit,
        "date": date,
        "subject": subject,
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "changed": [line[3:] for line in changed.splitlines()],
    }


def _differs(other: str) -> bool:
    return subprocess.run(["git", "diff", "--quiet", other, "--", LOCK.name], check=False).returncode != 0


def _changes(other: str) -> dict[str, list[tuple[str, str, str, str]]]:
    """Rows of name, there, here and the difference, of parameters and of results, by DVC's diffs."""
    params = _dvc("params", "diff", other).get("params.yaml", {})
    metrics = _dvc("metrics", "diff", other, "--targets", SUMMARY.as_posix()).get(SUMMARY.as_posix(), {})
    return {"parameters": list(_rows(params)), "results": list(_rows(metrics))}


def _rows(diff: Mapping[str, Mapping]) -> Iterator[tuple[str, str, str, str]]:
    for name, values in sorted(diff.items()):
        ends = [values.get("old"), values.get("new")]
        yield name, *map(_shown, ends), f"{values['diff']:+.6g}" if values.get("diff") is not None else "–"


def _shown(value: object) -> str:
    """A number with six digits at most; – where there was or is none."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _dvc(*arguments: str) -> dict:
    """What a command of DVC says as JSON."""
    command = [sys.executable, "-m", "dvc", *arguments[:2], "--json", *arguments[2:]]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        said = done.stderr.strip().splitlines() or [reason(error)]
        raise UserError(f"dvc {' '.join(arguments[:2])}: {said[-1]}") from None
