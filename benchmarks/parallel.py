"""What nas.parallel costs a stage, and how long a study takes on so many GPUs: python -m benchmarks.parallel.

Measures independent stages that only wait, with 1 and 2 jobs and by dvc repro, then simulates list scheduling (Graham,
1969) of a full study. Its stage times are an assumption, not measurements: see `study`.
"""

import heapq
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import environment
from nas.pipeline.files import write_json
from nas.report.published.pibconv import PIBCONV_TABLE_1

STAGES, SECONDS = 12, 5.0
GPUS = (1, 2, 4, 8, 16, 32, 64)
SEEDS = 3
RESULTS = Path(__file__).parent / "results/parallel.json"

Graph = Mapping[str, tuple[float, tuple[str, ...]]]


def makespan(stages: Graph, machines: int) -> float:
    """When the last of `stages` (name: (time, needs), after what they need) ends, a machine running one at once.

    A free machine takes the first stage, in the order given, whose needs have ended.
    """
    waiting, ended, running = list(stages), set(), []
    now = 0.0
    while waiting or running:
        ready = [name for name in waiting if ended.issuperset(stages[name][1])]
        for name in ready[: machines - len(running)]:
            heapq.heappush(running, (now + stages[name][0], name))
            waiting.remove(name)
        now, name = heapq.heappop(running)
        ended.add(name)
    return now


def study() -> Graph:
    """The PIBConv study: 2 genotypes × 10 layer counts × 3 seeds, in hours of one GPU.

    Assumed: a training of 600 epochs takes 36 h for DARTS_V2 at 20 layers and else in proportion to the multiply-adds
    of the paper's Table 1; a search takes 24 h; what trains nothing takes 3 minutes. Speed-ups depend on ratios alone.
    """
    hours = {(row.genotype, row.layers): 36 * row.gmac / PIBCONV_TABLE_1[0].gmac for row in PIBCONV_TABLE_1}
    short = 0.05
    graph: dict[str, tuple[float, tuple[str, ...]]] = {"prepare": (short, ()), "search": (24.0, ("prepare",))}
    graph["derive"] = (short, ("search",))
    trainings = {
        f"evaluate@{genotype}-{layers}-{seed}": (taken, ("derive",))
        for (genotype, layers), taken in hours.items()
        for seed in range(SEEDS)
    }
    shown = [name for name in trainings if name.endswith("-20-0")]
    pictures = {name.replace("evaluate", "gradcam"): (short, (name,)) for name in shown}
    return graph | trainings | pictures | {"report": (short, (*trainings, *pictures))}


def measure(stages: int, *command: str) -> float:
    """Seconds that `command` takes for so many independent stages that wait `SECONDS` each."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = ", ".join(map(str, range(stages)))
        cmd = f"python -c \"import time; time.sleep({SECONDS}); open('out${{item}}', 'w')\""
        text = f"stages:\n  wait:\n    foreach: [{numbers}]\n    do:\n      cmd: {cmd}\n      outs: ['out${{item}}']\n"
        (Path(folder) / "dvc.yaml").write_text(text)
        options = {"cwd": folder, "env": environment(), "stdout": subprocess.DEVNULL, "check": True}
        subprocess.run(["dvc", "init", "-q", "--no-scm"], **options)
        start = time.perf_counter()
        subprocess.run(command, **options)
        return time.perf_counter() - start


def main() -> None:
    def parallel(jobs: int) -> tuple[str, ...]:
        return sys.executable, "-m", "nas.parallel", "--jobs", str(jobs)

    single = measure(1, *parallel(1))
    taken = {jobs: measure(STAGES, *parallel(jobs)) for jobs in (1, 2)}
    plain = measure(STAGES, "dvc", "repro")
    overhead = (taken[1] - single) / (STAGES - 1) - SECONDS
    startup = single - SECONDS - overhead
    waits = {str(i): (SECONDS + overhead, ()) for i in range(STAGES)}
    simulated = {jobs: startup + makespan(waits, jobs) for jobs in taken}
    graph = study()
    hours = {gpus: makespan(graph, gpus) for gpus in GPUS}
    results = {
        "stages": STAGES,
        "seconds_a_stage": SECONDS,
        "seconds_startup": startup,
        "seconds_overhead_a_stage": overhead,
        "seconds_dvc_repro": plain,
        "seconds_measured": taken,
        "seconds_simulated": simulated,  # one job by construction, two as a check
        "study_stages": len(graph),
        "study_hours": hours,
        "study_speedup": {gpus: hours[1] / taken_ for gpus, taken_ in hours.items()},
    }
    write_json(RESULTS, results)
    print(f"{STAGES} stages of {SECONDS:g} s: dvc repro {plain:.1f} s", end="")
    print("".join(f"; {jobs} jobs {taken[jobs]:.1f} s (simulated {simulated[jobs]:.1f} s)" for jobs in taken))
    print(f"start of Ray and the driver: {startup:.1f} s; overhead a stage: {overhead:.2f} s")
    print(f"PIBConv study, {len(graph)} stages, assumed hours of one GPU each:")
    print("| GPUs | days | speed-up | busy |\n|---|---|---|---|")
    for gpus in GPUS:
        speedup = hours[1] / hours[gpus]
        print(f"| {gpus} | {hours[gpus] / 24:.1f} | {speedup:.1f} | {100 * speedup / gpus:.0f} % |")


if __name__ == "__main__":
    main()
