"""Heat maps of one evaluated network: python -m stages.gradcam NETWORK (GENOTYPE-LAYERS-SEED)."""

from nas.params import Params
from nas.stage import run


def main(params: Params, name: str, network: str) -> None:
    import torch
    from PIL import Image

    from nas import data, explain, training
    from nas.errors import UserError, suggest
    from nas.files import whole_folder, write_json
    from nas.network import load

    p = params.gradcam
    device = training.choose_device(params.device, params.threads)
    prepared = data.load("data/prepared", device)
    model = load(f"models/evaluate/{network}.safetensors").to(device)
    fits = {"in_channels": prepared.shape[0], "num_classes": len(prepared.classes)}
    if not fits.items() <= model.built_from.items():
        raise UserError(f"models/evaluate/{network}.safetensors: is of other data than data/prepared; evaluate again")
    picked = []
    for i, label in enumerate(p.classes):
        if label not in prepared.classes:
            raise UserError(f"gradcam.classes[{i}]: {label} is no class: {suggest(label, prepared.classes)}")
        of_class = (prepared.test.labels == prepared.classes.index(label)).nonzero().flatten()
        if p.index >= len(of_class):
            raise UserError(f"gradcam.index: {p.index} is too large: class {label} has {len(of_class)} test images")
        picked.append(of_class[p.index])
    chosen = torch.stack(picked)
    images, labels = prepared.test.images[chosen], prepared.test.labels[chosen].tolist()
    normalised = data.normalise(images, prepared.mean, prepared.std)
    overlays = explain.overlays(images, explain.heat_maps(model, normalised, labels))
    told = explain.predictions(model, normalised)
    with whole_folder(f"results/gradcam/{network}") as folder:
        for i, (picture, overlay) in enumerate(zip(explain.pictures(images), overlays, strict=True)):
            Image.fromarray(picture).save(folder / f"{i}-input.png")
            Image.fromarray(overlay).save(folder / f"{i}-heat.png")
        columns = [
            {"class": label, "predicted": prepared.classes[k], "confidence": confidence}
            for label, (k, confidence) in zip(p.classes, told, strict=True)
        ]
        write_json(folder / "predictions.json", columns)


if __name__ == "__main__":
    run(main)
