"""Whether results on disk are those that dvc.lock names: a report of others would show what no stage left."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from nas.pipeline import dvc_yaml
from nas.pipeline.errors import UserError

LOCK = Path("dvc.lock")


def require_locked(paths: Iterable[Path]) -> None:
    """Raise UserError unless each of `paths`, files or folders, is what dvc.lock says that its stage left.

    Nothing is asked where there is no dvc.lock: then no stage has run through DVC yet.
    """
    if not LOCK.exists():
        return
    stages = dvc_yaml.read(LOCK)["stages"]
    left = {out["path"]: (name, out["md5"]) for name, stage in stages.items() for out in stage.get("outs", [])}
    for path in paths:
        name, expected = left.get(path.as_posix(), ("a stage", None))
        if _md5(path) != expected:
            raise UserError(f"{path}: is not what dvc.lock says that {name} left; `dvc repro` brings back or makes it")


def _md5(path: Path) -> str:
    """The checksum that DVC gives a file or a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = [{"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listed.sort(key=lambda entry: entry["relpath"])
    return f"{hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest()}.dir"
