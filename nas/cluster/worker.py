"""What a worker of `nas.parallel` does: one stage, by DVC, never twice at once, and never longer than its driver."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil

from nas.pipeline.errors import reason
from nas.pipeline.files import whole_file

if TYPE_CHECKING:
    from dvc.repo import Repo

LOGS = Path("logs/parallel")
LOCKS = Path(".dvc/tmp/parallel")
PROGRAM = "nas.parallel"
POLL = 0.1  # seconds
GRACE = 20.0  # seconds that DVC is given to write its files once it shall stop
MARK = "NAS_WORKER"  # in the environment of all that runs for a stage: which stage of which checkout
RAN, FAILED, CACHED, KILLED = 0, 1, 3, 4  # exit statuses of `main`
RESTORED = "is cached - skipping run"  # DVC's word for what its run cache brought back
ENDINGS = {RAN: "done", FAILED: "failed", CACHED: "cached", KILLED: "killed"}


def follow(root: str, stage: str, attempt: int, environment: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """Run `stage` of the checkout at `root` and tell how it goes.

    Parameters
    ----------
    root : str
        The checkout's folder, the same on every node.
    attempt : int
        From 0; a later one goes on in the same log.
    environment : dict
        Variables to set, or to remove where the value is None.

    Yields
    ------
    (state, note)
        Whenever it changes: running (on which host, at which epoch) or waiting (for what); last done, cached, killed
        or failed (the last error).
    """
    host = socket.gethostname()
    if not (Path(root) / ".dvc").is_dir():
        yield "failed", f"{host} has no checkout at {root}: every node needs it under this path"
        return
    log = Path(root) / LOGS / f"{_file_name(stage)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    changed = os.environ | {"PATH": path, MARK: f"{root}:{stage}"} | environment
    with log.open("ab" if attempt else "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "nas.cluster.worker", stage, str(os.getpid())],
            cwd=root,
            env={name: value for name, value in changed.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    told = None
    try:
        while process.poll() is None:
            state, note = _progress(log)
            if (state, note) != told:
                told = state, note
                yield state, " ".join(filter(None, [note, f"on {host}" if state == "running" else ""]))
            time.sleep(POLL)
    except BaseException:
        process.kill()  # its child sees that, and ends what runs
        raise
    _kill_session(process.pid)
    ending = ENDINGS.get(process.returncode, "killed" if process.returncode < 0 else "failed")
    if ending == "done" and any(RESTORED in line for line in _tail(log)):
        ending = "cached"
    yield ending, _last_error(log) if ending == "failed" else ""


def _file_name(stage: str) -> str:
    return quote(stage, safe="@")


def _kill_session(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return file.read().decode(errors="replace").splitlines()


def _progress(log: Path) -> tuple[str, str]:
    for line in reversed(_tail(log)):
        if epoch := re.search(r"\bepoch (\d+)/(\d+)", line):
            return "running", epoch[0]
        if line.startswith("waiting: "):
            return "waiting", line.removeprefix("waiting: ")
        if line.startswith("Running stage"):
            break
    return "running", ""


def _last_error(log: Path) -> str:
    errors = [line for line in _tail(log) if re.match(r"error: |\w*Error\b", line)]
    return errors[-1] if errors else "see its log"


def main() -> int:
    """``python -m nas.cluster.worker STAGE PARENT``: reproduce one stage, unless the process PARENT ends before."""
    stage, parent = sys.argv[1], int(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # Ray's workers block SIGINT
    # A worker of Ray that ends kills its children, but not theirs: DVC is a grandchild, so that it can tidy up.
    if child := os.fork():
        return _wait(child, parent)
    parent = os.getppid()
    sys.argv = [PROGRAM, stage]  # what DVC's lock files say of this process
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    with exclusive(stage, _say):
        _kill_leftovers()
        status = _reproduce(stage) if os.getppid() == parent else KILLED
    if os.getppid() != parent:
        _kill_session(0)
    return status


def _wait(child: int, parent: int) -> int:
    while os.getppid() == parent:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else KILLED
        time.sleep(POLL)
    return KILLED


def _say(message: str) -> None:
    print(f"waiting: {message}", flush=True)


def _end_after(parent: int) -> None:
    """Once `parent` has ended, end this process and all that it started.

    The stage's command ends at once: it can be killed at any moment. DVC may be writing dvc.lock, so it is given time.
    """
    while os.getppid() == parent:
        time.sleep(POLL)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(POLL)
    _kill_session(0)


def _kill_leftovers() -> None:
    """What an earlier run of this stage left here, if all that watched over it was killed too."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            same = process.environ().get(MARK) == os.environ[MARK]
            if same and os.getsid(process.pid) != os.getsid(0):
                process.kill()


@contextmanager
def exclusive(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock `name` of this checkout, which ends with the process; wait while another holds it, and say so.

    DVC's own lock of a stage knows its holder by its process number alone, which means nothing on another node.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    path = LOCKS / f"{_file_name(name)}.lock"
    with path.open("a+") as file:
        said = ""
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                message = f"another run has {name} ({file.read().strip() or 'it is starting'})"
                if message != said:
                    say(message)
                said = message
                time.sleep(POLL)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def wait_for_dvc(say: Callable[[str], None]) -> None:
    """Return once DVC's lock of the repository was free; say who holds it after DVC's usual 3 seconds."""
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo

    said = False
    with Repo() as repo:
        while True:
            try:
                with lock_repo(repo):
                    return
            except LockError:
                if not said:
                    say(f"DVC's lock is held by {_holder(Path(repo.tmp_dir) / 'lock')}")
                said = True


def _holder(lock: Path) -> str:
    try:
        process = psutil.Process(int(lock.read_text().split()[0]))
        return f"process {process.pid} ({' '.join(process.cmdline()[-3:])})"
    except (OSError, ValueError, IndexError, psutil.Error):
        return "another process"


def _reproduce(stage: str) -> int:
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.lock import LockError
    from dvc.repo import Repo

    _write_whole()
    said = ""
    with Repo(_wait_for_lock=True) as repo:
        while True:
            wait_for_dvc(_say)
            _forget_dead(repo, stage)
            try:
                return RAN if repo.reproduce([stage], single_item=True) else CACHED
            except ReproductionError as error:
                cause = error.__cause__ or error
            except (DvcException, OSError) as error:
                cause = error
            if not isinstance(cause, LockError):
                # The command's own error stands above; DVC's tells how it ended.
                print(f"{'dvc' if 'failed to run' in str(cause) else 'error'}: {reason(cause)}", flush=True)
                return KILLED if re.search(r"exited with (-9|137)$", str(cause)) else FAILED
            if str(cause) != said:
                said = str(cause)
                _say(" ".join(line.strip() for line in said.splitlines()[:2]))
            time.sleep(10 * POLL)


def _forget_dead(repo: "Repo", stage: str) -> None:
    """Take out of DVC's rwlock what dead workers left there, or the file itself if a kill left half of it.

    DVC knows a process by its number alone, so one that died on another node may look alive on this one. Ours hold
    their stage's lock while they live.
    """
    from dvc.rwlock import RWLOCK_FILE, RWLockFileCorruptedError, _edit_rwlock

    def alive(info: dict) -> bool:
        ours, _, other = info["cmd"].partition(" ")
        return ours != PROGRAM or (info["pid"] == os.getpid() if other == stage else _is_held(other))

    try:
        with _edit_rwlock(repo.tmp_dir, repo.fs, repo.config["core"].get("hardlink_lock", False)) as lock:
            readers = {path: [info for info in infos if alive(info)] for path, infos in lock["read"].items()}
            lock["read"] = {path: infos for path, infos in readers.items() if infos}
            lock["write"] = {path: info for path, info in lock["write"].items() if alive(info)}
    except RWLockFileCorruptedError:
        Path(repo.tmp_dir, RWLOCK_FILE).unlink(missing_ok=True)


def _is_held(name: str) -> bool:
    try:
        with (LOCKS / f"{_file_name(name)}.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def _write_whole() -> None:
    """DVC empties dvc.lock, then writes it: a full disk or a kill in between would lose every stage's entry."""
    from dvc.utils.serialize import _common

    write = _common._dump_data

    def write_whole(path: str, data: object, dumper: Callable, fs: object = None, **options: object) -> None:
        with whole_file(path) as temporary:
            write(temporary, data, dumper, fs, **options)

    _common._dump_data = write_whole


if __name__ == "__main__":
    sys.exit(main())
