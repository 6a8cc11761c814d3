"""dvc.lock: whether results on disk are those that it names, how it is mended when a kill has cut it short, and how
results that came with git are kept like those of a run.

DVC empties the file and then writes it, after every stage. Each stage begins by keeping a copy of what stands there
then; `mend` puts it back. It lacks the last finished stage at most, whose result DVC's run cache brings back.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nas.pipeline import dvc_yaml
from nas.pipeline.errors import UserError
from nas.pipeline.files import whole_file, write_text

LOCK = Path("dvc.lock")
KEPT = Path(".dvc/tmp/nas/dvc.lock")
REMEMBERED = Path(".dvc/tmp/nas/remembered")  # the checksum of the dvc.lock of which `remember` has kept all


def keep() -> None:
    """Keep a copy of dvc.lock, if that is whole."""
    if Path(".dvc").is_dir() and LOCK.exists() and _is_whole(LOCK):
        with whole_file(KEPT) as temporary:
            shutil.copyfile(LOCK, temporary)


def mend() -> str | None:
    """Put the kept copy in the place of a dvc.lock that was cut short; return what was done, None if nothing.

    Raises
    ------
    UserError
        If there is no copy.
    """
    if not LOCK.exists() or _is_whole(LOCK):
        return None
    if not KEPT.exists():
        raise UserError(
            f"{LOCK}: was cut short; `git checkout {LOCK}` takes the committed one, from which dvc repro goes on"
        )
    with whole_file(LOCK) as temporary:
        shutil.copyfile(KEPT, temporary)
    return f"{LOCK}: was cut short, by a kill or a full disk; is as it was before the last stage again"


def remember() -> None:
    """Give DVC's run cache the results that came with git, which no stage was run for here.

    It brings back what a run left in it, so that without this a change that is taken back would run again. A result is
    taken that is on disk as dvc.lock has it, made from what dvc.lock says; what else is wrong, `dvc repro` says.
    """
    if not (Path(".dvc").is_dir() and LOCK.exists() and LOCK.stat().st_size):
        return
    if REMEMBERED.exists() and REMEMBERED.read_text() == _md5(LOCK):
        return
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo

    with suppress(DvcException, LockError), Repo() as repo, lock_repo(repo):
        for stage in repo.index.stages:
            if stage.cmd_changed or stage.changed_outs() or not all(dep.hash_info for dep in stage.deps):
                continue
            for dep in stage.deps:  # as dvc.lock has it: on disk it may be another by now, or not there yet
                dep.get_hash = lambda dep=dep: dep.hash_info
            repo.stage_cache.save(stage)
        write_text(REMEMBERED, _md5(LOCK))


def _is_whole(path: Path) -> bool:
    """Whether each entry is complete. What ends with one lacks the stages after it, which the run cache brings back."""
    try:
        stages = dvc_yaml.read(path)["stages"].values()
        files = [file for stage in stages for kind in ("deps", "outs") for file in stage.get(kind, [])]
        params = [of_file for stage in stages for of_file in stage.get("params", {}).values()]
        return (
            path.read_text(encoding="utf-8").endswith("\n")
            and all(isinstance(stage["cmd"], str) for stage in stages)
            and all(file["path"] and file["md5"] for file in files)
            and all(isinstance(of_file, dict) for of_file in params)
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


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
