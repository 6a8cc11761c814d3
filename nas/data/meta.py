"""meta.json: what `prepare` writes beside a data set's tensors."""

import json
import math
from pathlib import Path
from typing import Any

from nas.pipeline.errors import UserError, reason

META_KEYS = {
    *("name", "classes", "shape", "mean", "std", "image_size", "test_resize"),
    *("train", "test", "train_per_class", "test_per_class", "passed_over", "checksums"),
}
STREAMED_KEYS = META_KEYS | {"root"}


def read_meta(folder: str | Path) -> dict[str, Any]:
    """Return meta.json of a folder that `prepare` wrote: its keys are `META_KEYS`, or `STREAMED_KEYS`.

    Raises
    ------
    UserError
        The file is missing or damaged.
    """
    path = Path(folder) / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise prepare_again(path, "is missing") from error
    except (OSError, ValueError) as error:
        raise prepare_again(path, f"cannot be read ({reason(error)})") from error
    if not _is_meta(meta):
        raise prepare_again(path, "was altered")
    return meta


def _is_meta(meta: object) -> bool:
    if not isinstance(meta, dict) or set(meta) not in (META_KEYS, STREAMED_KEYS):
        return False
    lists = [meta[key] for key in ("classes", "shape", "mean", "std")]
    if not all(isinstance(value, list) and value for value in lists):
        return False
    classes, shape, mean, std = lists
    return (
        isinstance(meta["name"], str)
        and all(isinstance(name, str) for name in classes)
        and len(shape) == 3
        and all(isinstance(size, int) and size > 0 for size in [*shape, meta["train"], meta["test"]])
        and len(mean) == len(std) == shape[0]
        and all(isinstance(value, float) and math.isfinite(value) for value in mean + std)
        and min(std) > 0
        and all(_are_counts(meta[f"{part}_per_class"], meta[part], len(classes)) for part in ("train", "test"))
        and isinstance(meta["passed_over"], dict)
        and isinstance(meta["checksums"], dict)
        and set(meta["checksums"]) == set(file_names(meta))
        and isinstance(meta.get("root", ""), str)
        and all(isinstance(meta[key], int | None) for key in ("image_size", "test_resize"))
    )


def _are_counts(counts: object, total: int, classes: int) -> bool:
    whole = isinstance(counts, list) and all(isinstance(count, int) for count in counts)
    return whole and len(counts) == classes and sum(counts) == total


def file_names(meta: dict[str, Any]) -> list[str]:
    """The files that stand beside meta.json, of data that are streamed or not."""
    suffixes = ("safetensors", "json") if "root" in meta else ("safetensors",)
    return [f"{part}.{suffix}" for suffix in suffixes for part in ("train", "test")]


def prepare_again(path: Path, trouble: str) -> UserError:
    """What a file that `prepare` wrote and that is not as it was ends in."""
    return UserError(f"{path} {trouble}: run the prepare stage again (dvc repro prepare)")
