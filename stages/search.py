"""Train a supernet over one space: python -m stages.search SPACE."""

from pathlib import Path

from nas.files import write_csv, write_json
from nas.params import Params
from nas.stage import run


def main(params: Params, name: str, space: str) -> None:
    import torch

    from nas import data, training
    from nas.search import AlphaRecipe, search
    from nas.supernet import Supernet

    p = params.search
    device = training.choose_device(params.device, params.threads)
    prepared = data.load("data/prepared", device)
    seed = training.seed_for(params.seed, name)
    settings = p.model_dump(exclude={"spaces"}) | {
        "seed": seed,
        "threads": params.threads,
        "device": device.type,
        "precision": params.precision,
    }
    key = training.result_key("data/prepared", settings)

    torch.manual_seed(seed)
    supernet = Supernet(
        space,
        channels=p.channels,
        layers=p.layers,
        nodes=p.nodes,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
    ).to(device)
    augmented = {"shuffle": True, "crop_padding": p.crop_padding, "flip": p.flip, "cutout": p.cutout}
    weights_half, alpha_half = prepared.train.part(0), prepared.train.part(1)
    history, alphas = search(
        supernet,
        prepared.batches(weights_half, batch_size=p.batch_size, **augmented),
        prepared.batches(alpha_half, batch_size=p.batch_size, **augmented),
        prepared.batches(alpha_half, batch_size=p.batch_size),
        training.Recipe.of(settings),
        AlphaRecipe(p.order, p.alpha_learning_rate, tuple(p.alpha_betas), p.alpha_weight_decay),
        seed=seed,
        key=key,
        name=name,
    )

    results = Path("results/search") / space
    write_csv(results / "alphas.csv", alphas)
    write_csv(results / "history.csv", history)
    last = {k: v for k, v in history[-1].items() if k not in ("epoch", "learning_rate")}
    write_json(results / "metrics.json", last | {"device": training.device_name(device)})
    training.remove_checkpoints(name)


if __name__ == "__main__":
    run(main)
