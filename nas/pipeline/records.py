"""What the stages left in results/, read and checked."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import read_csv, require_columns

TEXTS = ("cell", "edge", "operation", "layer")


def damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: is missing or damaged ({reason(error)}); `dvc repro` makes it anew")


def read_json(path: Path, numbers: Sequence[str] = (), texts: Sequence[str] = (), *, many: bool = False) -> Any:
    """A mapping, or `many` in a list, each with `numbers` and `texts` as keys of such values.

    Raises
    ------
    UserError
        If the file is missing or something else.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        holders = read if many and isinstance(read, list) and read else [read]
        for key, kind in [*((key, int | float) for key in numbers), *((key, str) for key in texts)]:
            if not all(isinstance(holder, dict) and isinstance(holder.get(key), kind) for holder in holders):
                raise ValueError(f"it lacks {key}")
        return read
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None


def read_rows(path: Path, columns: Sequence[str]) -> list[dict]:
    """A CSV table's rows, its numbers as numbers (`TEXTS` apart); `columns` are those that it must have.

    Raises
    ------
    UserError
        If the file is missing or something else.
    """
    try:
        rows = read_csv(path)
        require_columns(rows, columns)
        return [{k: int(v) if k == "epoch" else v if k in TEXTS else float(v) for k, v in row.items()} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path, error) from None


def evaluated(results: Path, genotype: str, layers: int, seeds: Sequence[int]) -> dict:
    """One network's scores, averaged over its seeds: accuracy ± deviation and top5 in percent, params in millions."""
    folders = [results / "evaluate" / f"{genotype}-{layers}-{seed}" for seed in seeds]
    runs = [read_json(folder / "metrics.json", ("top1", "top5", "params", "gmac"), ("device",)) for folder in folders]
    top1 = [run["top1"] for run in runs]
    return {
        "genotype": genotype,
        "layers": layers,
        "seeds": seeds,
        "accuracy": mean(top1),
        "deviation": stdev(top1) if len(top1) > 1 else 0.0,
        "top5": mean(run["top5"] for run in runs),
        "params": runs[0]["params"] / 1e6,
        "gmac": runs[0]["gmac"],
        "devices": {run["device"] for run in runs},
    }
