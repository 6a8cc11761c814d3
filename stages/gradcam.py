"""Heat maps of one evaluated network, and what they are worth: python -m stages.gradcam NETWORK."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.pipeline.names import DATA, Network
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:  # torch must not be imported before params.yaml is checked
    from torch import Tensor, nn

    from nas.data.dataset import Prepared


def main(params: Params, name: str, network: str) -> None:
    import torch

    from nas.analysis import gradcam as explain
    from nas.data import dataset
    from nas.data.split import stratified
    from nas.data.streaming import cpus
    from nas.networks.network import load
    from nas.pipeline.check import check_gradcam
    from nas.pipeline.errors import UserError
    from nas.pipeline.records import GradCam
    from nas.training.device import choose_device, device_name, seed_for

    p = params.gradcam
    device = choose_device(params.device, params.threads)
    prepared = dataset.load(DATA, device, cpus())
    try:
        named = Network.of(network)
    except ValueError:
        raise UserError(f"network: {network} is not allowed: must be GENOTYPE-LAYERS-SEED") from None
    model = load(named.model).to(device)
    fits = {"in_channels": prepared.shape[0], "num_classes": len(prepared.classes)}
    if not fits.items() <= model.built_from.items():
        raise UserError(f"{named.model}: is of other data than {DATA}; evaluate again")
    test = prepared.test
    per_class = test.labels.bincount(minlength=len(prepared.classes)).tolist()
    check_gradcam(p, dict(zip(prepared.classes, per_class, strict=True)))
    numbers = [prepared.classes.index(label) for label in p.classes]
    shown = torch.stack([(test.labels == number).nonzero().flatten()[p.index] for number in numbers])
    chosen = torch.arange(len(test.labels), device=test.labels.device)
    if p.images is not None:
        generator = torch.Generator().manual_seed(seed_for(params.seed, "gradcam"))
        chosen = stratified(test.labels.cpu(), p.images, generator).to(device)
    merit = explain.confidence_drop(
        model,
        test.take(chosen),
        test.labels[chosen],
        mean=prepared.mean,
        std=prepared.std,
        method=p.method,
        removed=p.removed,
        seed=seed_for(params.seed, "gradcam"),
    )
    results = named.gradcam()
    _draw(results, model, prepared, shown, p.classes, p.method)
    told = GradCam(**vars(merit), images=len(chosen), device=device_name(device))
    told.write(results / "metrics.json")


def _draw(results: Path, model: nn.Module, prepared: Prepared, shown: Tensor, classes: list[str], method: str) -> None:
    """Write the images `shown` (numbers of test images), their heat maps and what the network takes them for."""
    from PIL import Image

    from nas.analysis import gradcam as explain
    from nas.data.augment import normalise
    from nas.pipeline.files import whole_folder
    from nas.pipeline.records import Prediction

    images, labels = prepared.test.take(shown), prepared.test.labels[shown].tolist()
    normalised = normalise(images, prepared.mean, prepared.std)
    overlays = explain.overlays(images, explain.heat_maps(model, normalised, labels, method))
    told = explain.predictions(model, normalised)
    with whole_folder(results / "pictures") as folder:
        for i, (picture, overlay) in enumerate(zip(explain.pictures(images), overlays, strict=True)):
            Image.fromarray(picture).save(folder / f"{i}-input.png")
            Image.fromarray(overlay).save(folder / f"{i}-heat.png")
    rows = [
        {"true_class": label, "predicted_class": prepared.classes[k], "confidence": confidence}
        for label, (k, confidence) in zip(classes, told, strict=True)
    ]
    Prediction.write(results / "predictions.csv", rows)


if __name__ == "__main__":
    run(main)
