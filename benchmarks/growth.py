"""Step time and peak memory of search and evaluation against what they depend on: ``python -m benchmarks.growth``.

One quantity at a time is varied about a base point. Each point is measured in fresh processes, all points in turn and
then again; its time is that of its fastest step, since whatever else runs can only slow one. The exponent of a quantity
is the slope of the least squares line through log(time or memory) against log(quantity): 1 is proportional.
Writes growth.json, growth.md and growth.png to benchmarks/results.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from statistics import linear_regression, median

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator
from tqdm import tqdm

from benchmarks import measure
from nas.pipeline.files import whole_file, write_json, write_text
from nas.report.figures.style import COLOURS, STYLE
from nas.space.spaces import SPACES

# Halves of DARTS's space that are alike: each doubling doubles its separable convolutions and its poolings.
OPERATIONS = {
    2: ["max_pool_3x3", "sep_conv_3x3"],
    4: ["max_pool_3x3", "sep_conv_3x3", "skip_connect", "dil_conv_3x3"],
    8: list(SPACES["darts"].operations),
}
# The base point and the values of each quantity. Layers are multiples of 3, so that a third of the cells works at each
# of the three resolutions.
SEARCH = {"order": "first", "channels": 8, "layers": 6, "nodes": 3, "batch": 16, "operations": 8, "size": 32}
EVALUATION = {"genotype": "DARTS_V2", "channels": 16, "layers": 6, "nodes": 4, "batch": 32, "size": 32}
GRIDS: dict[str, tuple[str, dict, dict[str, list[int]]]] = {
    "search": (
        "our_search",
        SEARCH,
        {
            "channels": [4, 8, 16, 32],
            "layers": [3, 6, 12],
            "nodes": [2, 3, 4, 6],
            "batch": [8, 16, 32, 64],
            "operations": list(OPERATIONS),
        },
    ),
    "evaluation": (
        "our_evaluation",
        EVALUATION,
        {"channels": [8, 16, 32, 64], "layers": [3, 6, 12], "nodes": [1, 2, 4], "batch": [16, 32, 64, 128]},
    ),
}
SMALL = {"channels": 4, "layers": 3, "batch": 4, "size": 8}
SMALL_GRID = {"channels": [4, 8], "nodes": [2, 3]}
MEASURES = {"seconds": "step time (s)", "memory_gb": "peak memory (GB)"}
UNITS = {
    "channels": "channels C",
    "layers": "layers (cells)",
    "nodes": "nodes (a cell)",
    "batch": "batch (images)",
    "operations": "operations (an edge)",
}


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=2, help="processes of each point (default: 2)")
    parser.add_argument("--steps", type=int, default=2, help="timed in each process, after a warm-up (default: 2)")
    measure.add_options(parser)
    options = parser.parse_args()
    if min(options.repeats, options.steps, options.threads) < 1:
        parser.error("--repeats, --steps and --threads must be at least 1")
    result = measured(options)
    path = measure.folder(options)
    write_json(path / "growth.json", result)
    write_text(path / "growth.md", report(result))
    draw(result["points"], path / "growth.png")
    print(report(result), end="")


def measured(options: Namespace) -> dict:
    """Measure every point; the fields of growth.json."""
    plan = [(what, quantity, value) for what in GRIDS for quantity, value in _grid(what, options.small)]
    settings = {point: _base(point[0], options.small) | {point[1]: point[2]} for point in plan}
    # The base point is on the curve of every quantity, and measured once.
    keys = {point: json.dumps([point[0], settings[point]], sort_keys=True) for point in plan}
    answers: dict[str, list[dict]] = {key: [] for key in keys.values()}
    chosen = {key: point for point, key in keys.items()}
    turns = options.repeats * list(answers)
    for key in tqdm(turns, unit="run", disable=not sys.stderr.isatty()):
        workload, setting = GRIDS[chosen[key][0]][0], _for_workload(settings[chosen[key]])
        answer = measure.run(workload, setting, steps=options.steps, threads=options.threads, device=options.device)
        answers[key].append(answer)
    points = [
        {"of": what, "quantity": quantity, "value": value, **_summary(answers[keys[what, quantity, value]])}
        for what, quantity, value in plan
    ]
    return {
        "base": {what: _base(what, options.small) for what in GRIDS},
        "points": points,
        "exponents": exponents(points),
        "machine": measure.machine(options.threads, answer),
        "versions": measure.versions(answer),
    }


def _summary(answers: list[dict]) -> dict:
    samples = [answer["seconds"] for answer in answers]
    return {
        "seconds": min(second for sample in samples for second in sample),
        "memory_gb": median(answer["memory_gb"] for answer in answers),
        "samples": samples,
    }


def _base(what: str, small: bool) -> dict:
    return GRIDS[what][1] | (SMALL if small else {})


def _grid(what: str, small: bool) -> list[tuple[str, int]]:
    grid = SMALL_GRID if small else GRIDS[what][2]
    return [(quantity, value) for quantity, values in grid.items() for value in values]


def _for_workload(setting: dict) -> dict:
    """A search's number of operations is a space of so many."""
    if "operations" not in setting:
        return setting
    return {k: v for k, v in setting.items() if k != "operations"} | {"space": OPERATIONS[setting["operations"]]}


def curve(points: list[dict], what: str, quantity: str, of: str) -> tuple[list[int], list[float]]:
    """Values of a quantity, and what was measured at each."""
    chosen = [point for point in points if (point["of"], point["quantity"]) == (what, quantity)]
    return [point["value"] for point in chosen], [point[of] for point in chosen]


def exponents(points: list[dict]) -> list[dict]:
    """The fitted exponent of time and memory, of every curve."""
    found = []
    for what, quantity in dict.fromkeys((point["of"], point["quantity"]) for point in points):
        fits = {of: linear_regression(*map(np.log, curve(points, what, quantity, of))).slope for of in MEASURES}
        found.append({"of": what, "quantity": quantity, **fits})
    return found


def report(result: dict) -> str:
    """The exponents, then every point, as Markdown."""
    fits = [[f"{row['of']}, {row['quantity']}", *(f"{row[of]:.2f}" for of in MEASURES)] for row in result["exponents"]]
    points = [
        [f"{row['of']}, {row['quantity']} = {row['value']}", *(f"{row[of]:.3g}" for of in MEASURES)]
        for row in result["points"]
    ]
    base = [f"- {what}: " + ", ".join(f"{k} {v}" for k, v in point.items()) for what, point in result["base"].items()]
    return "\n".join(
        [
            "# Growth of step time and memory",
            "",
            "Time of the fastest step. Exponents: slopes of least squares lines in log-log scale; 1 is proportional.",
            "",
            measure.table(["varied", "step time", "peak memory"], fits),
            "",
            "Each quantity is varied alone; the others stay at",
            "",
            *base,
            "",
            measure.table(["point", *MEASURES.values()], points),
            "",
            f"Measured on {measure.describe(result['machine'], result['versions'])}.",
            "",
        ]
    )


def draw(points: list[dict], path: Path) -> None:
    """A row for time and one for memory, a panel for each quantity, log-log."""
    quantities = list(dict.fromkeys(point["quantity"] for point in points))
    with rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(quantities) + 0.8, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(MEASURES), len(quantities), sharex="col", sharey="row", squeeze=False)
        for row, (of, label) in zip(grid, MEASURES.items(), strict=True):
            for axes, quantity in zip(row, quantities, strict=True):
                for what, colour, marker in zip(GRIDS, COLOURS, "os", strict=False):
                    axes.plot(*curve(points, what, quantity, of), color=colour, marker=marker, label=what)
                _log_log(axes, sorted({p["value"] for p in points if p["quantity"] == quantity}))
            row[0].set_ylabel(label)
        for axes, quantity in zip(grid[-1], quantities, strict=True):
            axes.set_xlabel(UNITS[quantity])
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150)


def _log_log(axes: Axes, values: list[int]) -> None:
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    main()
