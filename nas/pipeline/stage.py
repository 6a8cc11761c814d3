"""What every stage does first and last: check the parameters, log, and end a user's mistake in one line."""

import inspect
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import cast

import psutil
from safetensors import SafetensorError

from nas.pipeline.code import require_current
from nas.pipeline.errors import FAILURE, UserError, reason
from nas.pipeline.lock import keep
from nas.pipeline.names import stage_name
from nas.pipeline.params import load

LOGS = Path("logs")
POLL = 0.5  # seconds between two looks at whether dvc lives
KILLED = 137
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish")

# What torch says when a GPU or the host has too little memory, or no machine could have enough.
NO_MEMORY = ("out of memory", "can't allocate memory", "Storage size calculation overflowed")


# What torch says when another process of one training has ended, and how long this one then waits to be ended in turn
LOST = ("gloo", "NCCL")
GRACE = 10  # seconds

ADVICE = {  # what needs less memory, where it is not the training
    "prepare": "lower data.image_size or data.train_limit, or set data.stream to true",
    "gradcam": "lower gradcam.images",
}
TRAINING = "lower batch_size, channels, layers or crop_padding; of many images set data.stream to true"

GONE = "the earlier result comes back when params.yaml is as it was: dvc repro brings it from the run cache"


def run(main: Callable[..., None]) -> None:
    """Call ``main(params, name, *arguments)`` for ``python -m stages.STAGE ARGUMENT…``.

    `name` is the stage's name in the pipeline (``evaluate@DARTS_V2-10-0``); the arguments are converted to the types
    that `main` declares. A stage imports torch inside `main`, so that params.yaml is checked before. A UserError, or
    one of the system's (a full disk), ends the process in one line with status 1.
    """
    stage = Path(sys.argv[0]).stem
    # A class's name may have characters that the console lacks.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")  # Pillow's: a large one is no attack
    if "DVC_STAGE" in os.environ:
        _end_with(_runners())
    try:
        if "DVC_STAGE" in os.environ:
            keep()
        params = load()
        arguments = _arguments(main, stage, sys.argv[1:])
        name = stage_name(stage, *arguments)
        _log_to(LOGS / f"{name}.log")
        if stage != "code":
            require_current(stage, arguments, params)
        main(params, name, *arguments)
    except UserError as mistake:
        _fail(stage, str(mistake))
    except (OSError, SafetensorError) as error:
        _fail(stage, str(error))
    except KeyboardInterrupt:
        _fail(stage, "interrupted; run it again to go on from the last whole epoch")
    except (MemoryError, RuntimeError) as error:
        if any(sign in str(error) for sign in NO_MEMORY) or isinstance(error, MemoryError):
            _fail(stage, f"out of memory; {ADVICE.get(stage, TRAINING)}")
        if "RANK" not in os.environ or not any(sign in str(error) for sign in LOST):
            raise
        time.sleep(GRACE)
        _fail(stage, f"another process of this training ended, or cannot be reached ({reason(error)})")
    if sys.orig_argv[1:3] == ["-m", f"stages.{stage}"]:  # and not run by another program, which goes on
        _leave()


def _runners() -> list[psutil.Process]:
    """The process that runs this one, dvc, and the shell between them if there is one."""
    found = []
    for process in psutil.Process().parents():
        found.append(process)
        if process.name() not in SHELLS:
            break
    return found


def _end_with(ancestors: list[psutil.Process]) -> None:
    """End this process once one of `ancestors` has: a stage that outlived a killed dvc would spoil the next run's."""

    def watch() -> None:
        while all(map(_lives, ancestors)):
            time.sleep(POLL)
        logging.getLogger("nas").debug("ended, since the dvc that ran it has")
        os._exit(KILLED)

    threading.Thread(target=watch, daemon=True).start()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _leave() -> None:
    """End this process, whose work is written, without taking torch apart: that lasts longer than many an epoch."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _fail(stage: str, message: str) -> None:
    line = " ".join(message.split())
    logging.getLogger("nas").debug("error: %s", line)
    if told := os.environ.get(FAILURE):
        with open(told, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        sys.exit(1)
    if stage != "code" and "DVC_STAGE" in os.environ:  # DVC has removed what an earlier run left
        line += f" ({GONE})"
    sys.exit(f"error: {stage}: {line}")


def _arguments(main: Callable[..., None], stage: str, given: list[str]) -> list[str | int]:
    declared = list(inspect.signature(main, eval_str=True).parameters.values())[2:]
    if len(given) != len(declared):
        usage = " ".join([stage, *(p.name.upper() for p in declared)])
        needed = {0: "no arguments", 1: "1 argument"}.get(len(declared), f"{len(declared)} arguments")
        raise UserError(f"takes {needed}, not {len(given)}; usage: python -m stages.{usage}")
    arguments: list[str | int] = []
    for parameter, text in zip(declared, given, strict=True):
        whole = parameter.annotation is int
        if not re.fullmatch(r"\d{1,10}" if whole else r"\w[\w.+-]*", text):
            allowed = "a number: digits alone" if whole else "a name: letters, digits, _, - and ."
            raise UserError(f"{parameter.name}: {text!r} is not allowed: must be {allowed}")
        arguments.append(parameter.annotation(text))
    return arguments


class _LogFile(logging.FileHandler):
    """A log that a full disk ends in one line, and the stage goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the name is logging's
        log = logging.getLogger("nas")
        log.handlers = [handler for handler in log.handlers if handler is not self]  # not the list that is gone through
        print(f"{self.baseFilename} cannot be written ({sys.exc_info()[1]}): goes on without it", file=sys.stderr)


def _log_to(path: Path) -> None:
    """Everything with its time into `path`; on the console the messages alone, unless a progress bar stands there."""
    path.parent.mkdir(exist_ok=True)
    file = _LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    console = logging.StreamHandler(sys.stdout)
    console.setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("nas")
    log.setLevel(logging.DEBUG)
    log.handlers = [file, console]
