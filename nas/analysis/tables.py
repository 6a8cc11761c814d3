"""Published truth: plain tables of trained architectures, NAS-Bench-201's first, as the rows that `truth` reads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.analysis.truth import recipe_of
from nas.pipeline.errors import UserError, reason

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("architecture", "seed", "epochs", "accuracy")
SUFFIXES = (".csv", ".parquet")


def read(
    path: str | Path, *, shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Read a published table of NAS-Bench-201's space: `docs/how/judging.md` tells how to make it.

    Parameters
    ----------
    path : str or Path
        CSV, or Parquet where pandas can read it, with the columns architecture (the benchmark's text), seed, epochs and
        accuracy (test, in percent), in any order; a row for each training. Other columns are passed over.
    shape : (int, int, int), default (3, 32, 32)
        Channels, height and width of the images that they were trained on: what their multiply-adds are counted for.
    num_classes : int, default 10

    Returns
    -------
    table : list of dict
        Rows of `nas.pipeline.records.GroundTruth`; the recipe is ``recipe_of(epochs)``.
    aliases : list of dict
        Rows of `nas.pipeline.records.Alias`: each architecture stands for itself, for the benchmark trained them all.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, or has an architecture, a seed, a number of epochs or an accuracy
        that is none, or a training twice.
    """
    frame = _frame(Path(path))
    rows, seen = [], set()
    for line, (architecture, seed, epochs, accuracy) in enumerate(frame.itertuples(index=False), start=1):
        where = f"{path}: row {line}"
        try:
            cost = _cost(str(architecture), shape, num_classes)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        training = (architecture, _whole(where, "seed", seed, 0), _whole(where, "epochs", epochs, 1))
        if training in seen:
            raise UserError(f"{where}: seed {seed}, {epochs} epochs of {architecture} is there twice")
        seen.add(training)
        told = {"genotype": architecture, "recipe": recipe_of(training[2]), "seed": training[1]}
        rows.append(told | {"top1": _percent(where, accuracy), **cost})
    return rows, [{"genotype": g, "trained_as": g} for g in dict.fromkeys(row["genotype"] for row in rows)]


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
    if missing := [name for name in COLUMNS if name not in frame]:
        raise UserError(f"{path}: has no column {missing[0]}: must have {', '.join(COLUMNS)}")
    if frame.empty:
        raise UserError(f"{path}: has no rows")
    return frame[list(COLUMNS)]


@cache
def _cost(architecture: str, shape: tuple[int, int, int], num_classes: int) -> dict[str, int]:
    """Parameters and multiply-adds: those of a network of ``none``, and what each operation adds to it."""
    from nas.networks.bench201 import parse

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
    from nas.networks.bench201 import Bench201Network, written
    from nas.networks.complexity import count

    network = Bench201Network(
        written(((name,), (name,) * 2, (name,) * 3)), num_classes=num_classes, in_channels=shape[0]
    )
    found = count(network, shape)
    return found.params, found.macs


def _whole(where: str, name: str, value: object, least: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if number < least:
        raise UserError(f"{where}: {name}: {value!r} is not allowed: must be a whole number from {least}")
    return number


def _percent(where: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise UserError(f"{where}: accuracy: {value!r} is not allowed: must be a percentage")
    return number
