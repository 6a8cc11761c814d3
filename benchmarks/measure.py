"""Run a workload in a fresh process, and say on which machine. Imports no torch, so that children start small."""

import json
import os
import platform
import re
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

RESULTS = Path("benchmarks/results")
TURN = "NAS_BENCHMARK_TURN"  # set for a process that waits for its turn before each step, and what it then prints
# The library is found here, whatever the working folder.
ROOT = Path(__file__).parent.parent


def add_options(parser: ArgumentParser) -> None:
    """The options that every measurement has."""
    parser.add_argument("--threads", type=int, default=available_cores(), help="CPU threads (default: all cores)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try it out; results go to small/")


def folder(options: Namespace) -> Path:
    """Where the results go: those of a trial do not replace the real ones."""
    return RESULTS / "small" if options.small else RESULTS


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """This process's, in which a child finds the library."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def run(workload: str, setting: dict, *, steps: int, threads: int, device: str) -> dict:
    """Run a workload of ``benchmarks.workloads`` in a process of its own.

    Returns
    -------
    dict
        seconds (of each step), memory_gb (peak), device, versions.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; what it wrote to stderr is shown.
    """
    return run_in_turns([(workload, setting)], steps=steps, threads=threads, device=device)[0]


def run_in_turns(workloads: Sequence[tuple[str, dict]], *, steps: int, threads: int, device: str) -> list[dict]:
    """`run` several, each in a process of its own, a step of each in turns: a machine's speed changes by the minute.

    All are in memory at once, but one alone computes.
    """
    with ExitStack() as stack:
        processes, lines = [], []
        for workload, setting in workloads:
            request = {"workload": workload, "setting": setting, "steps": steps, "threads": threads, "device": device}
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.workloads", json.dumps(request)],
                env=environment() | {"OMP_NUM_THREADS": str(threads), TURN: "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
            lines.append(_last_line(process))
        while any(line == TURN for line in lines):
            for i, process in enumerate(processes):
                if lines[i] == TURN:
                    process.stdin.write("\n")
                    process.stdin.flush()
                    lines[i] = _last_line(process)
    return [json.loads(line) for line in lines]


def _last_line(process: subprocess.Popen) -> str:
    """What it prints before it waits for its turn, or ends."""
    line = last = ""
    while line != TURN and (read := process.stdout.readline()):
        line = last = read.strip()
    if line != TURN and process.wait():
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return last


def machine(threads: int, answer: dict) -> dict:
    """Processor, cores, threads and device of a measurement, from one of its answers."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "threads": threads,
        "device": answer["device"],
    }


def versions(answer: dict) -> dict:
    return {"python": platform.python_version(), **answer["versions"]}


def describe(machine: dict, versions: dict) -> str:
    """One line for below a table."""
    of = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
    device = "" if machine["device"].startswith("cpu") else f"; {machine['device']}"
    return f"{of}{device}; " + ", ".join(f"{name} {version}" for name, version in versions.items())


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = [f":{'-' * (width - 1)}" if i == 0 else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (header, *rows)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:]))


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
