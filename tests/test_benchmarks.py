"""The benchmarks' harness, at tiny sizes: what it prints and what it keeps."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import growth, measure
from benchmarks.bench import CASES
from benchmarks.workloads import WORKLOADS, Cutout, Repeated

ROOT = Path(__file__).parent.parent
NAMES = ["search_first", "evaluate_DARTS_V2", "data"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.bench", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_table_and_a_file_for_each_case(tmp_path: Path) -> None:
    done = run(tmp_path, *NAMES, "--small", "--repeats", "1", "--threads", "1", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = {cells[0]: cells[1:] for cells in re.findall(r"\| (\w+) +" + 6 * r"\| +(\S+) +" + r"\|", done.stdout)}
    assert list(rows) == NAMES
    assert f"torch {torch.__version__}" in done.stdout and "1 threads" in done.stdout
    for name in NAMES:
        kept = json.loads((tmp_path / f"benchmarks/results/small/{name}.json").read_text())
        assert kept["name"] == name and kept["setting"] == CASES[name].setting | CASES[name].small
        assert kept["machine"].keys() == {"processor", "cores", "threads", "device"}
        assert kept["versions"].keys() == {"python", "torch", "torchvision"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["date"])
        plain, ours = kept["plain"], kept["ours"]
        for side in (plain, ours):
            assert [len(sample) for sample in side["samples"]] == [CASES[name].steps]
            assert side["seconds"] == median(side["samples"][0]) > 0
        pairs = zip(plain["samples"][0], ours["samples"][0], strict=True)
        assert kept["ratio"] == median(of_plain / of_ours for of_plain, of_ours in pairs)
        shown = f"{plain['seconds']:.3g}", f"{ours['seconds']:.3g}", f"{kept['ratio']:.2f}"
        assert rows[name][:3] == shown
        if CASES[name].memory:
            assert kept["memory_ratio"] == plain["memory_gb"] / ours["memory_gb"]
            assert 0 < ours["memory_gb"] < 1


def test_an_unknown_case_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "search_frist")
    assert done.returncode == 2
    assert "search_frist" in done.stderr and "search_first" in done.stderr and "Traceback" not in done.stderr


def test_every_case_names_workloads_that_take_its_setting() -> None:
    for case in CASES.values():
        assert case.small.keys() <= case.setting.keys()
        for workload, more in (case.plain, case.ours):
            taken = WORKLOADS[workload].__kwdefaults__ or {}
            required = set(WORKLOADS[workload].__annotations__) - {"device", "steps", "return"} - set(taken)
            assert required <= (case.setting | more).keys() <= required | set(taken)


@pytest.mark.slow
def test_memory_is_what_the_workload_holds() -> None:
    """50,000 images of 3 × 32 × 32 bytes, and some batches of 1000 in float32: not the interpreter's 700 MB, nor this
    process's, which a child's ru_maxrss would start from."""
    held = torch.ones(400_000_000)  # 1.6 GB
    setting = {"images": 50_000, "batch": 1000}
    found = measure.run("our_data", setting, steps=1, threads=1, device="cpu")["memory_gb"]
    del held
    images, batch = 50_000 * 3 * 32 * 32 / 1e9, 1000 * 3 * 32 * 32 * 4 / 1e9
    assert images + batch < found < images + 20 * batch


def test_repeated_times_each_step_but_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 10.0, 20.0, 20.0, 21.0, 30.0, 32.0, 40.0, 43.0])  # each step's start and end
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    batches = Repeated((torch.zeros(1), torch.zeros(1)), 3, warm_up=2)
    assert len(list(batches.epoch(0))) == len(batches) == 5
    assert batches.seconds() == [1.0, 2.0, 3.0]


TAKES_TURNS = """
import json, sys
from benchmarks import measure, workloads
name, steps = json.loads(sys.argv[1])["workload"], json.loads(sys.argv[1])["steps"]
for step in range(steps):
    workloads.take_turn()
    with open("order", "a") as file:
        file.write(f"{name}{step} ")
print(json.dumps(name))
"""


@pytest.mark.slow
def test_processes_compute_a_step_each_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "takes_turns.py").write_text(TAKES_TURNS)
    popen = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen:
        return popen([sys.executable, "takes_turns.py", command[-1]], cwd=tmp_path, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    answers = measure.run_in_turns([("a", {}), ("b", {})], steps=3, threads=1, device="cpu")
    assert answers == ["a", "b"] and (tmp_path / "order").read_text() == "a0 b0 a1 b1 a2 b2 "


@pytest.mark.slow
def test_a_workload_that_fails_ends_the_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        measure.run("our_data", {"images": 20}, steps=1, threads=1, device="cpu")


def test_cutout_blanks_a_square_that_the_border_cuts() -> None:
    torch.manual_seed(0)
    sizes = set()
    for _ in range(300):
        blank = Cutout(4)(torch.ones(3, 8, 8)) == 0
        assert blank[0].equal(blank[1]) and blank[0].equal(blank[2])
        rows, columns = blank[0].any(dim=1), blank[0].any(dim=0)
        assert blank[0].equal(rows[:, None] & columns)
        sizes |= {int(rows.sum()), int(columns.sum())}
    assert sizes == {2, 3, 4}


def test_growth_takes_the_fastest_step_of_each_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up machine where a step takes channels · nodes seconds, and twice that in every other process."""
    requests = []

    def run(workload: str, setting: dict, **options: object) -> dict:
        requests.append((workload, setting))
        seconds = setting["channels"] * setting["nodes"] * (1 + len(requests) % 2)
        return {"seconds": [seconds, 3 * seconds], "memory_gb": 1.0, "device": "cpu", "versions": {}}

    monkeypatch.setattr(measure, "run", run)
    options = argparse.Namespace(small=True, repeats=2, steps=2, threads=1, device="cpu")
    result = growth.measured(options)
    for point in result["points"]:
        setting = result["base"][point["of"]] | {point["quantity"]: point["value"]}
        fastest = setting["channels"] * setting["nodes"]
        assert point["seconds"] == fastest and sorted(map(min, point["samples"])) == [fastest, 2 * fastest]
    # channels 4 and 8, nodes 2 and 3: a search at channels 4 and nodes 3 is on both curves, and measured but once.
    assert len(requests) == 2 * (3 + 4)
    assert all(setting["space"] == growth.OPERATIONS[8] for workload, setting in requests if workload == "our_search")


def test_growth_fits_and_draws(tmp_path: Path) -> None:
    """time = 3·C², memory = 5·C gives the exponents 2 and 1."""
    points = [
        {"of": what, "quantity": "channels", "value": c, "seconds": 3 * c**2, "memory_gb": 5 * c, "samples": []}
        for what in ("search", "evaluation")
        for c in (4, 8, 16)
    ]
    for fit in growth.exponents(points):
        assert (fit["seconds"], fit["memory_gb"]) == pytest.approx((2, 1))
    growth.draw(points, tmp_path / "growth.png")
    assert np.asarray(Image.open(tmp_path / "growth.png").convert("L")).std() > 1
