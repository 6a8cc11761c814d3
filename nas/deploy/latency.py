"""How long a network takes for a batch, beside others on the same machine."""

import gc
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles

CPUINFO = Path("/proc/cpuinfo")


def in_turns(calls: Sequence[Callable[[], object]], repeats: int, warm_up: int = 2) -> list[list[float]]:
    """Seconds that each of `calls` takes, `repeats` times each, one after the other in every round.

    So what slows the machine for a while slows all of them. Each is called `warm_up` times before; garbage is
    collected before, and not meanwhile.
    """
    for call in calls:
        for _ in range(warm_up):
            call()
    taken: list[list[float]] = [[] for _ in calls]
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            for call, seconds in zip(calls, taken, strict=True):
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
    finally:
        if collects:
            gc.enable()
    return taken


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The first quartile, the median and the third, each within the values; of one value that, three times."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    lower, median, upper = quantiles(values, n=4, method="inclusive")
    return lower, median, upper


def processor() -> str:
    """The name of the processor, as the system tells it."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
