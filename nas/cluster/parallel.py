"""`dvc repro` over many workers: nas parallel [TARGET …] --jobs N [--address ADDRESS].

DVC says what is up to date and records what ran; Ray (Moritz et al., 2018) finds each stage a machine.
"""

import atexit
import os
import secrets
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cluster.worker import LOGS, exclusive, follow, wait_for_dvc
from nas.pipeline.errors import UserError, reason

if TYPE_CHECKING:
    from rich.table import Table

RETRIES = 3  # of a stage that was killed; each goes on from its last checkpoint
OBJECT_STORE = 80 * 2**20  # bytes; Ray's least, since only states are passed
ENDED = ("done", "cached", "failed", "skipped")
STYLES = {"running": "cyan", "done": "green", "cached": "dim", "failed": "bold red", "skipped": "red", "waiting": "dim"}


@dataclass
class Stage:
    """A stage of the pipeline, and how far it is.

    Parameters
    ----------
    name : str
        As DVC writes it: ``evaluate@DARTS_V2-10-0``.
    needs : tuple of str
        The stages that it depends on directly.
    cpus, gpus : float, default 1 and 0
        What it takes of a node while it runs; a part of a GPU lets others share it.
    memory : float, default 0
        In GB (10⁹ bytes); 0 asks for none in particular.
    """

    name: str
    needs: tuple[str, ...] = ()
    cpus: float = 1
    gpus: float = 0
    memory: float = 0
    state: str = "waiting"
    note: str = ""
    attempts: int = 0
    started: float | None = field(default=None, repr=False)
    seconds: float | None = field(default=None, repr=False)

    @classmethod
    def of(cls, name: str, needs: Sequence[str], meta: object) -> "Stage":
        """From what ``meta:`` of dvc.yaml asks for, `times` over; its other keys mean nothing here."""
        known = ("cpus", "gpus", "memory", "times")
        asked = {key: meta[key] for key in known if key in meta} if isinstance(meta, dict) else {}
        for key, value in asked.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UserError(f"dvc.yaml: {name}: meta.{key}: {value!r} is not allowed: must be a number from 0")
        times = asked.pop("times", 1)
        wanted = {key: value * times for key, value in ({"cpus": 1} | asked).items()}
        gpus = wanted.get("gpus", 0)
        if gpus > 1 and gpus != int(gpus):
            raise UserError(f"dvc.yaml: {name}: meta.gpus: {gpus!r} is not allowed: above 1 it must be whole")
        return cls(name, tuple(needs), **wanted)


def read_pipeline(targets: Sequence[str] = (), say: Callable[[str], None] = print) -> dict[str, Stage]:
    """The stages of `targets` (default: all of dvc.yaml) and what they depend on, dependencies first.

    What DVC finds unchanged, and depends on nothing that changed, is ``cached`` already.

    Raises
    ------
    UserError
        If there is no such target, or dvc.yaml cannot be read.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    while True:
        try:
            wait_for_dvc(say)
            with Repo() as repo, lock_repo(repo):
                graph = get_active_graph(repo.index.graph)
                plan = plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))
                stages: dict[str, Stage] = {}
                for found in plan:
                    needs = [need.addressing for need in graph.successors(found)]
                    stage = Stage.of(found.addressing, needs, found.meta)
                    if all(stages[need].state == "cached" for need in needs) and not found.changed():
                        stage.state = "cached"
                    stages[stage.name] = stage
                return stages
        except LockError as busy:
            say("waiting: " + reason(busy))
            time.sleep(1)
        except NotDvcRepoError:
            raise UserError("there is no DVC repository here: run it in the project's root") from None
        except DvcException as error:
            raise UserError(reason(error)) from None


class Board:
    """Shows the stages' states: a live table on a terminal, elsewhere a line for each change of a state."""

    def __init__(self, stages: dict[str, Stage]) -> None:
        from rich.console import Console

        self.stages = stages
        self.console = Console(highlight=False, soft_wrap=True)
        self.live = None

    def set(self, stage: Stage, state: str, note: str = "") -> None:
        changed = state != stage.state or (state == "waiting" and note != stage.note)
        stage.state, stage.note = state, note
        now = time.monotonic()
        if state == "running" and stage.started is None:
            stage.started = now
        if state in ENDED and stage.started is not None:
            stage.seconds = now - stage.started
        if changed and not self.live:
            took = "" if stage.seconds is None else f" after {stage.seconds:.0f} s"
            self.say(f"{stage.name}: {state}{took}{', ' if note else ''}{note}")

    def say(self, message: str) -> None:
        self.console.print(f"{time.strftime('%H:%M:%S')} {message}", markup=False)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the table on the terminal, if there is one."""
        if not self.console.is_terminal:
            yield
            return
        from rich.live import Live

        with Live(get_renderable=self.table, console=self.console, refresh_per_second=2) as self.live:
            try:
                yield
            finally:
                self.live.refresh()
        self.live = None

    def table(self) -> "Table":
        """Of the stages that matter most, as many as the terminal has lines for."""
        from rich.table import Table
        from rich.text import Text

        order = ["failed", "running", "waiting", "skipped", "done", "cached"]
        rows = sorted(self.stages.values(), key=lambda stage: order.index(stage.state))
        table = Table(title=self.summary(), box=None, pad_edge=False, title_justify="left")
        for column in ("stage", "state", "time", ""):
            table.add_column(column, no_wrap=True)
        for stage in rows[: max(self.console.height - 4, 1)]:
            seconds = stage.seconds
            if stage.state == "running" and stage.started is not None:
                seconds = time.monotonic() - stage.started
            told = "" if seconds is None else f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
            table.add_row(Text(stage.name), Text(stage.state, STYLES[stage.state]), told, Text(stage.note))
        return table

    def summary(self) -> str:
        counts = Counter(stage.state for stage in self.stages.values())
        return ", ".join(f"{counts[state]} {state}" for state in STYLES if counts[state]) or "no stages"


def start_ray(address: str | None, jobs: int) -> None:
    """Join the cluster at `address`, or start Ray for this machine alone with room for `jobs` stages.

    Ray's servers listen on every interface; of one for this machine alone, only who has the token in a file that none
    but this user can read may ask anything.

    Raises
    ------
    UserError
        If no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # `follow` sets CUDA_VISIBLE_DEVICES
    if address is None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(_write_token())}
        os.environ.pop("RAY_AUTH_TOKEN", None)
    import ray

    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        local = {"num_cpus": jobs, "object_store_memory": OBJECT_STORE, "_node_ip_address": "127.0.0.1"}
        ray.init(address="local", include_dashboard=False, **local, **quiet)
        return
    _require_answer(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--address {address}: no Ray cluster can be joined there: {reason(error)}") from None


def _write_token() -> Path:
    """A new secret for a Ray of this run alone, in a file that its user alone can read; it is deleted at the end."""
    file, path = tempfile.mkstemp(prefix="nas-ray-")  # mode 600
    with os.fdopen(file, "w") as token:
        token.write(secrets.token_hex(32))
    atexit.register(Path(path).unlink, missing_ok=True)
    return Path(path)


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--address {address}: must be HOST:PORT, as ray start --head tells it")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address {address}: no Ray cluster answers there: {reason(error)}") from None


def fit(stage: Stage, largest: dict[str, float]) -> dict[str, float]:
    """What to ask Ray for: no more than the `largest` node has of each, or the stage would wait for ever."""
    return {
        "num_cpus": min(stage.cpus, largest.get("CPU", 0)),
        "num_gpus": min(stage.gpus, largest.get("GPU", 0)),
        "memory": min(stage.memory * 1e9, largest.get("memory", 0)),
    }


def run(stages: dict[str, Stage], board: Board, limit: int | None = None) -> None:
    """Run what is not cached, each stage after those that it needs, `limit` at once (default: as many as Ray has room).

    A stage that was killed is tried again; one that failed takes those that need it with it, and the rest goes on.
    """
    import ray
    from ray.exceptions import RayError

    @ray.remote(max_retries=0, num_returns="streaming")
    def task(*arguments: object) -> Iterator[tuple[str, str]]:
        gpus = ",".join(map(str, ray.get_gpu_ids()))
        yield from follow(*arguments, threads | ({"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}))

    # Ray sets it for its workers, and it can change a result's last bits.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = {name: max(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU", "memory")}
    running: dict = {}
    try:
        while True:
            for stage in _ready(stages, running.values())[: None if limit is None else limit - len(running)]:
                events = task.options(**fit(stage, largest)).remote(os.getcwd(), stage.name, stage.attempts)
                running[events] = stage
            if not running:
                return
            for events in ray.wait(list(running), timeout=1)[0]:
                stage = running[events]
                try:
                    state, note = ray.get(next(events))
                except StopIteration:
                    del running[events]
                    continue
                except RayError as error:
                    state, note = _lost(error)
                _take(stages, stage, state, note, board)
    except BaseException:
        _stop(running, board)
        raise


def _ready(stages: dict[str, Stage], running: Iterator[Stage]) -> list[Stage]:
    busy = {stage.name for stage in running}
    return [
        stage
        for stage in stages.values()
        if stage.state == "waiting"
        and stage.name not in busy
        and all(stages[need].state in ("done", "cached") for need in stage.needs)
    ]


def _lost(error: Exception) -> tuple[str, str]:
    """What became of a stage whose task ended by `error`: Ray's errors of workers and nodes mean that it was killed."""
    from ray.exceptions import RayTaskError

    return ("failed" if isinstance(error, RayTaskError) else "killed"), reason(error)


def _take(stages: dict[str, Stage], stage: Stage, state: str, note: str, board: Board) -> None:
    if state == "killed" and stage.attempts < RETRIES:
        stage.attempts += 1
        state, note = "waiting", f"killed; attempt {stage.attempts + 1} of {RETRIES + 1} goes on from its checkpoint"
    elif state == "killed":
        state, note = "failed", f"killed {RETRIES + 1} times"
    board.set(stage, state, note)
    if state == "failed":
        for other in stages.values():
            failed = [need for need in other.needs if stages[need].state in ("failed", "skipped")]
            if failed and other.state == "waiting":
                board.set(other, "skipped", f"needs {failed[0]}")


def _stop(running: dict, board: Board) -> None:
    """End the running stages, and wait until each has: its lock is free then."""
    import ray

    board.say("stopping; run it again to go on")
    for events in reversed(running):  # those that Ray has no room for yet come last
        with suppress(Exception):
            ray.cancel(events, force=True)
    for stage in running.values():
        with exclusive(stage.name, lambda _: None):
            pass


def reproduce(targets: Sequence[str] = (), jobs: int | None = None, address: str | None = None) -> int:
    """Reproduce `targets` as ``dvc repro`` would; return the exit status, 1 if a stage failed.

    Parameters
    ----------
    targets : sequence of str
        Stages; none stands for all of dvc.yaml.
    jobs : int, optional
        The most stages at once.
    address : str, optional
        Of a running Ray cluster whose nodes share this checkout; default: Ray is started here, and stopped.

    Raises
    ------
    UserError
        If Ray is missing, the cluster does not answer, or a target does not exist.
    """
    if not Path(".dvc").is_dir():
        raise UserError("there is no DVC repository here: run it in the project's root")
    _require_ray()
    with exclusive("nas.parallel", lambda message: print(f"waiting: {message}", flush=True)):
        stages = read_pipeline(targets)
        board = Board(stages)
        if any(stage.state != "cached" for stage in stages.values()):
            _run_on_ray(stages, board, jobs, address)
    failed = [stage for stage in stages.values() if stage.state == "failed"]
    for stage in failed:
        board.console.print(f"error: {stage.name}: {stage.note} ({LOGS}/)", markup=False)
    board.console.print(board.summary())
    return 1 if failed else 0


def _require_ray() -> None:
    from importlib.util import find_spec

    if not find_spec("ray") or not find_spec("rich"):
        raise UserError("Ray is not installed; pip install 'nas-studies[cluster]'")


def _run_on_ray(stages: dict[str, Stage], board: Board, jobs: int | None, address: str | None) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Slurm ends a job
    try:
        with _uninterrupted():
            start_ray(address, jobs or os.cpu_count() or 1)
        with board.shown():
            run(stages, board, jobs if address else None)
    finally:
        with _uninterrupted():
            import ray  # not before: it reads how it is to be asked from the environment

            ray.shutdown()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C is heard at the end: in the midst of Ray's start or end it is a segmentation fault now and then."""
    heard = []
    before = {
        number: signal.signal(number, lambda *_: heard.append(True)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt
