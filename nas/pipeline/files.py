"""Outputs that are whole or not there: each is written under a temporary name, then renamed."""

import ctypes
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2(2)
DAY = 86_400  # seconds


@contextmanager
def whole_file(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    What is `durable` is on the disk before it takes the name, so that a loss of power leaves the file before it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            _to_disk(temporary)
        os.replace(temporary, path)
        if durable and os.name == "posix":
            _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; put it in its place when the block ends without an error.

    Nothing of an earlier folder at `path` remains, nor of what a kill left of one a day ago. Where the system can
    exchange two folders (Linux), there is a whole one at `path` at every moment.
    """
    path = Path(path)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}{end}.tmp") for end in ("", ".old"))
    shutil.rmtree(temporary, ignore_errors=True)
    _clean_up(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if not (path.exists() and _exchange(temporary, path)):
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _clean_up(path: Path) -> None:
    """Delete what kills left of `whole_folder` more than a day ago; what is younger another process may be writing."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            if left.is_dir() and left.stat().st_mtime < time.time() - DAY:
                shutil.rmtree(left)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step of the system; whether it can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return rename is not None and rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def write_text(path: str | Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def require_columns(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Raise ValueError unless each of `rows`, at least one, has a value in all of `columns`."""
    if not rows or any(row.get(column) in (None, "") for row in rows for column in columns):
        raise ValueError(f"not every row has the columns {', '.join(columns)}")


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
