"""What a network takes images for, as `nas predict` shows it: a table, CSV, JSON, and where it looked."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.deploy.images import read
from nas.deploy.inputs import inputs_of
from nas.deploy.predict import predict
from nas.pipeline.files import whole_file

AT_ONCE = 256  # images, whatever their number


class Prediction(NamedTuple):
    """The likeliest classes of an image and their probabilities, the likeliest first."""

    image: str
    classes: list[tuple[str, float]]


def predictions(network: nn.Module, paths: Sequence[Path], images: Tensor, top: int) -> list[Prediction]:
    """The `top` classes of `images`, which are those of the files at `paths`."""
    names = inputs_of(network).classes
    found = predict(network, images).topk(min(top, len(names)), dim=1)
    rows = zip(paths, found.values.tolist(), found.indices.tolist(), strict=True)
    return [
        Prediction(str(path), [(names[i], value) for i, value in zip(indices, values, strict=True)])
        for path, values, indices in rows
    ]


def of_files(
    network: nn.Module, paths: Sequence[Path], *, top: int = 3, ink: bool = False, heat: str | Path | None = None
) -> list[Prediction]:
    """`predictions` of files, read as `nas.deploy.images.read` reads them; and `explain` into the folder `heat`."""
    found: list[Prediction] = []
    for start in range(0, len(paths), AT_ONCE):
        part = paths[start : start + AT_ONCE]
        images = read(part, inputs_of(network), ink)
        found += predictions(network, part, images, top)
        if heat is not None:
            explain(network, part, images, heat, first=start)
    return found


def as_table(found: Sequence[Prediction]) -> str:
    """A line an image, its columns aligned: the image, and each class with its probability in percent."""
    lines = [[one.image, *(f"{name} {100 * value:.1f} %" for name, value in one.classes)] for one in found]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def as_csv(found: Sequence[Prediction]) -> str:
    """A row for each image and class: image,rank,class,probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "probability"))
    for one in found:
        writer.writerows((one.image, rank, *of_class) for rank, of_class in enumerate(one.classes, start=1))
    return text.getvalue()


def as_json(found: Sequence[Prediction]) -> str:
    """A list of {"image": …, "classes": [{"class": …, "probability": …}, …]}."""
    told = [
        {"image": one.image, "classes": [{"class": name, "probability": value} for name, value in one.classes]}
        for one in found
    ]
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def explain(network: nn.Module, paths: Sequence[Path], images: Tensor, folder: str | Path, first: int = 0) -> None:
    """Write each image and, beside it, where the network looks for the class that it predicts, by Grad-CAM.

    As NUMBER-NAME.png in `folder`, in the order of `paths` and numbered from `first`.
    """
    import numpy as np
    from PIL import Image

    from nas.analysis import gradcam

    normalised = inputs_of(network).normalised(images)
    with torch.no_grad():
        labels = network(normalised).argmax(dim=1).tolist()
    maps = gradcam.heat_maps(network, normalised, labels)
    pairs = zip(paths, gradcam.pictures(images), gradcam.overlays(images, maps), strict=True)
    for number, (path, picture, overlay) in enumerate(pairs, start=first):
        target = Path(folder) / f"{number}-{path.stem}.png"
        with whole_file(target) as temporary:
            Image.fromarray(np.concatenate((picture, overlay), axis=1)).save(temporary, format="png")
