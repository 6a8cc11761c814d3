"""Speed and memory of the library against the plain implementation: ``python -m benchmarks.bench [NAME …]``.

Both sides run in fresh processes, a step of each in turns; a table shows the medians, and benchmarks/results/NAME.json
keeps them with every sample. A ratio is plain / ours: above 1 the library is faster, or needs less memory; of time, it
is the median over the pairs of steps. Both sides compute in float32 under the settings of
``nas.training.device.choose_device``.
"""

import datetime
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks import measure
from nas.pipeline.files import write_json
from nas.pipeline.params import ADDED, MIXING


@dataclass(frozen=True)
class Case:
    """Two workloads of ``benchmarks.workloads`` that do the same.

    Parameters
    ----------
    plain, ours : (str, dict)
        The workload's name, and what its setting has besides `setting`.
    setting, small : dict
        The setting of both, and what a trial changes in it.
    steps : int, default 3
        Timed in each process, after a warm-up.
    memory : bool, default True
        False: much of it lies in other processes, and is not measured.
    opt_in : bool, default False
        Run only where it is asked for.
    """

    plain: tuple[str, dict]
    ours: tuple[str, dict]
    setting: dict
    small: dict
    steps: int = 3
    memory: bool = True
    opt_in: bool = False


def _search(space: str, order: str, **options: object) -> Case:
    setting = {"space": space, "order": order, "channels": 16, "layers": 8, "nodes": 4, "batch": 64, "size": 32}
    small = {"channels": 2, "layers": 3, "nodes": 2, "batch": 4, "size": 8}
    return Case(**{"plain": ("plain_search", {}), "ours": ("our_search", {})} | options, setting=setting, small=small)


def _evaluation(genotype: str, **options: object) -> Case:
    setting = {"genotype": genotype, "nodes": 4, "channels": 36, "layers": 8, "batch": 96, "size": 32}
    small = {"channels": 4, "layers": 2, "batch": 4, "size": 8}
    sides = {"plain": ("plain_evaluation", {}), "ours": ("our_evaluation", {})}
    return Case(**sides | options, setting=setting, small=small)


def _truth(size: int, **options: object) -> Case:
    operations = ["skip_connect", "nor_conv_3x3", "avg_pool_3x3"]
    setting = {"operations": operations, "networks": 27, "channels": 4, "batch": 64, "size": size}
    small = {"networks": 3, "channels": 2, "batch": 4, "size": 8}
    return Case(("alone_truth", options), ("fused_truth", {}), setting, small, steps=5, opt_in=True)


# A step of a search: α's and the weights'. Of an evaluation: the weights', with auxiliary tower. Of data: a batch.
CASES: dict[str, Case] = {
    "search_first": _search("darts", "first"),
    "search_second": _search("darts", "second", steps=1),
    "search_pibconv": _search("pibconv", "first"),
    "evaluate_DARTS_V2": _evaluation("DARTS_V2"),
    "evaluate_DARTS_PseudoInvBn": _evaluation("DARTS_PseudoInvBn"),
    "data": Case(
        ("plain_data", {"workers": 2}),
        ("our_data", {}),
        {"images": 50_000, "batch": 96},
        {"images": 400},
        steps=1,
        memory=False,
    ),
    # Their "plain" side is the library too, in float32.
    "search_bf16": _search(
        "darts", "first", plain=("our_search", {}), ours=("our_search", {"precision": "bf16"}), opt_in=True
    ),
    "evaluate_bf16": _evaluation(
        "DARTS_V2", plain=("our_evaluation", {}), ours=("our_evaluation", {"precision": "bf16"}), opt_in=True
    ),
}
# A step of each of 27 networks of one node: one by one (plain, or on the fast path) against fused into one.
CASES |= {f"truth_{size}": _truth(size) for size in (8, 16, 28)}
CASES |= {f"truth_fast_{size}": _truth(size, fast=True) for size in (8, 16, 28)}
# Every algorithm against DARTS of first order: "plain" is a search by DARTS, on the fast path too.
ALGORITHMS = [name for name in (*MIXING, *ADDED) if name not in ("darts", "darts_second")]
CASES |= {
    f"algorithm_{name}": _search(
        "darts", "first", plain=("our_search", {}), ours=("our_search", {"algorithm": name}), opt_in=True
    )
    for name in ALGORITHMS
}
SIDES = ("ours", "plain")


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.bench", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(CASES)} (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of processes (default: 3)")
    measure.add_options(parser)
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(CASES))
    if unknown:
        parser.error(f"{unknown[0]} is no case; choose among {', '.join(CASES)}")
    if min(options.repeats, options.threads) < 1:
        parser.error("--repeats and --threads must be at least 1")
    names = options.names or [name for name, case in CASES.items() if not case.opt_in]
    results = []
    bar = tqdm(total=len(names) * options.repeats, unit="pair", disable=not sys.stderr.isatty())
    for name in names:
        results.append(compare(name, options, bar))
        write_json(measure.folder(options) / f"{name}.json", results[-1])
    bar.close()
    print(report(results, measure.folder(options)))


def compare(name: str, options: Namespace, bar: tqdm) -> dict:
    """Run both sides of a case in turns; the fields of its JSON file."""
    case = CASES[name]
    setting = case.setting | case.small if options.small else case.setting
    answers: dict[str, list[dict]] = {side: [] for side in SIDES}
    workloads = [(workload, setting | more) for workload, more in (getattr(case, side) for side in SIDES)]
    bar.set_description_str(name)
    for _ in range(options.repeats):
        found = measure.run_in_turns(workloads, steps=case.steps, threads=options.threads, device=options.device)
        for side, answer in zip(SIDES, found, strict=True):
            answers[side].append(answer)
        bar.update()
    sides = {side: _summary(answers[side], case.memory) for side in SIDES}
    memory = [sides[side]["memory_gb"] for side in ("plain", "ours")]
    first = answers["ours"][0]
    return {
        "name": name,
        "ratio": median(
            plain / ours
            for both in zip(sides["plain"]["samples"], sides["ours"]["samples"], strict=True)
            for plain, ours in zip(*both, strict=True)
        ),
        "memory_ratio": memory[0] / memory[1] if case.memory else None,
        **sides,
        "setting": setting,
        "machine": measure.machine(options.threads, first),
        "versions": measure.versions(first),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _summary(answers: list[dict], memory: bool) -> dict:
    samples = [answer["seconds"] for answer in answers]
    peaks = [answer["memory_gb"] for answer in answers]
    return {
        "seconds": median(second for sample in samples for second in sample),
        "samples": samples,
        "memory_gb": median(peaks) if memory else None,
        "memory_samples": peaks if memory else None,
    }


def report(results: list[dict], folder: Path) -> str:
    """The table of all cases, the machine below it."""
    header = ["case", "plain (s)", "ours (s)", "ratio", "plain (GB)", "ours (GB)", "ratio"]
    rows = [
        [
            result["name"],
            *(f"{result[side]['seconds']:.3g}" for side in ("plain", "ours")),
            f"{result['ratio']:.2f}",
            *(
                "–" if result[side]["memory_gb"] is None else f"{result[side]['memory_gb']:.3g}"
                for side in ("plain", "ours")
            ),
            "–" if result["memory_ratio"] is None else f"{result['memory_ratio']:.2f}",
        ]
        for result in results
    ]
    last = results[-1]
    return "\n".join(
        [
            measure.table(header, rows),
            "",
            "Seconds of a step and peak memory, medians; ratio: plain / ours, of time the median over pairs of steps.",
            f"Measured on {measure.describe(last['machine'], last['versions'])}.",
            f"Every sample: {folder}/NAME.json",
        ]
    )


if __name__ == "__main__":
    main()
