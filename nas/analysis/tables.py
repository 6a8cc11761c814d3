"""Truth that others made: plain tables of trained architectures, NAS-Bench-201's or ours, as the rows of `truth`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.analysis.truth import recipe_of
from nas.pipeline.errors import UserError, reason
from nas.space.enumerate import read as read_genotype
from nas.space.enumerate import spell

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("architecture", "seed", "epochs", "accuracy")
OWN_COLUMNS = ("genotype", "recipe", "seed", "top1", "params", "macs")  # of the stage truth's table.csv
SUFFIXES = (".csv", ".parquet")


def read(
    path: str | Path, *, shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Read a table of NAS-Bench-201's space, which `docs/how/judging.md` tells how to make, or one of the stage truth.

    Parameters
    ----------
    path : str or Path
        CSV, or Parquet where pandas can read it; a row for each training. Its columns, in any order, are architecture
        (the benchmark's text), seed, epochs and accuracy (test, in percent); or those of
        `nas.pipeline.records.GroundTruth`. Others are passed over.
    shape : (int, int, int), default (3, 32, 32)
        Channels, height and width of the images that the benchmark's were trained on: what their multiply-adds are
        counted for.
    num_classes : int, default 10

    Returns
    -------
    table : list of dict
        Rows of `nas.pipeline.records.GroundTruth`; the benchmark's recipes are ``recipe_of(epochs)``.
    aliases : list of dict
        Rows of `nas.pipeline.records.Alias`: each genotype of the table stands for itself.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, or has a genotype, a seed, a number or an accuracy that is none, or
        a training twice.
    """
    frame = _frame(Path(path))
    rows, seen = [], set()
    for line, values in enumerate(frame.to_dict("records"), start=1):
        try:
            row = _own(values) if "genotype" in values else _benchmarks(values, shape, num_classes)
            training = row["genotype"], row["recipe"], row["seed"]
            if training in seen:
                raise UserError(f"seed {row['seed']}, {row['recipe']} of {row['genotype']} is there twice")
        except UserError as error:
            raise UserError(f"{path}: row {line}: {error}") from None
        seen.add(training)
        rows.append(row)
    if "epochs" in frame:  # the longest first, which the report draws by
        epochs = {recipe_of(number): -number for number in map(int, frame["epochs"])}
        rows.sort(key=lambda row: epochs[row["recipe"]])
    return rows, [{"genotype": g, "trained_as": g} for g in dict.fromkeys(row["genotype"] for row in rows)]


def _benchmarks(values: Mapping[str, Any], shape: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
    cost = _cost(str(values["architecture"]), shape, num_classes)
    seed, epochs = _whole("seed", values["seed"], 0), _whole("epochs", values["epochs"], 1)
    top1 = _percent("accuracy", values["accuracy"])
    return {"genotype": values["architecture"], "recipe": recipe_of(epochs), "seed": seed, "top1": top1, **cost}


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        genotype = spell(read_genotype(str(values["genotype"])))
    except ValueError as error:
        raise UserError(f"genotype: {error}") from None
    numbers = {name: _whole(name, values[name], 0) for name in ("seed", "params", "macs")}
    top1 = _percent("top1", values["top1"])
    return {"genotype": genotype, "recipe": str(values["recipe"]), "top1": top1, **numbers}


def _frame(path: Path) -> DataFrame:
    import pandas as pd

    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: is not allowed: must be a table in {' or '.join(SUFFIXES)}")
    try:
        text = {"dtype": str, "keep_default_na": False}
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, **text)
    except ImportError:
        raise UserError(f"{path}: pandas reads Parquet with pyarrow: pip install pyarrow, or give a CSV") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or reason(error)})") from None
    except ValueError as error:
        raise UserError(f"{path}: is no table ({reason(error)})") from None
    columns = OWN_COLUMNS if "genotype" in frame else COLUMNS
    if missing := [name for name in columns if name not in frame]:
        raise UserError(f"{path}: has no column {missing[0]}: must have {', '.join(columns)}")
    if frame.empty:
        raise UserError(f"{path}: has no rows")
    return frame[list(columns)]


@cache
def _cost(architecture: str, shape: tuple[int, int, int], num_classes: int) -> dict[str, int]:
    """Parameters and multiply-adds: those of a network of ``none``, and what each operation adds to it."""
    from nas.space.bench201 import parse

    names = [name for node in parse(architecture) for name in node]
    bare = _uniform("none", shape, num_classes)
    added = [
        [(one - none) // len(names) for one, none in zip(_uniform(name, shape, num_classes), bare, strict=True)]
        for name in names
    ]
    params, macs = (none + sum(each) for none, *each in zip(bare, *added, strict=True))
    return {"params": params, "macs": macs}


@cache
def _uniform(name: str, shape: tuple[int, int, int], num_classes: int) -> tuple[int, int]:
    """Of the network that has one operation on every edge."""
    from nas.networks.bench201 import Bench201Network
    from nas.networks.complexity import count
    from nas.space.bench201 import written

    network = Bench201Network(
        written(((name,), (name,) * 2, (name,) * 3)), num_classes=num_classes, in_channels=shape[0]
    )
    found = count(network, shape)
    return found.params, found.macs


def _whole(name: str, value: object, least: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if number < least:
        raise UserError(f"{name}: {value!r} is not allowed: must be a whole number from {least}")
    return number


def _percent(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise UserError(f"{name}: {value!r} is not allowed: must be a percentage")
    return number
