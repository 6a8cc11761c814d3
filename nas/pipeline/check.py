"""What params.yaml asks of the prepared data, checked before DVC removes an earlier result."""

import json

from nas.pipeline import dvc_yaml
from nas.pipeline.errors import UserError, unknown
from nas.pipeline.lock import LOCK
from nas.pipeline.names import DATA
from nas.pipeline.params import GradCam, Params

SMALLEST = {"cifar": 5, "imagenet": 33}  # pixels that a stem needs, as networks.network has it


def check_against_data(params: Params) -> None:
    """Raise UserError where `params` ask for classes, images or sizes that the prepared data do not have.

    Silent where no data are prepared yet, or others than `params` name: the stages themselves check again.
    """
    try:
        meta = json.loads((DATA / "meta.json").read_text(encoding="utf-8"))
        counts = dict(zip(meta["classes"], meta["test_per_class"], strict=True))
        _, height, width = meta["shape"]
        prepared = dvc_yaml.read(LOCK)["stages"]["prepare"]["params"]["params.yaml"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if prepared != {"seed": params.seed, "data": params.data.model_dump()} or params.data.name == "folder":
        return  # they will be prepared anew; what lies in a folder may have changed
    for section, used in (("search", params.search.spaces), ("evaluate", params.evaluate.genotypes)):
        stem = getattr(params, section).stem
        if used and min(height, width) < SMALLEST[stem]:
            raise UserError(
                f"{section}.stem: {stem} is not allowed for images of {height}×{width} pixels (height×width): it needs "
                f"at least {SMALLEST[stem]}×{SMALLEST[stem]}"
            )
    if params.gradcam.networks:
        check_gradcam(params.gradcam, counts)


def check_gradcam(p: GradCam, counts: dict[str, int]) -> None:
    """Raise UserError where `p` asks for a class or for images that are not there; `counts`: test images a class."""
    for i, label in enumerate(p.classes):
        if label not in counts:
            raise UserError(f"gradcam.classes[{i}]: {unknown('class', label, counts)}")
        if p.index >= counts[label]:
            raise UserError(f"gradcam.index: {p.index} is too large: class {label} has {counts[label]} test images")
    if p.images is not None and p.images > (all_images := sum(counts.values())):
        raise UserError(f"gradcam.images: {p.images} is more than the {all_images} test images there are")
