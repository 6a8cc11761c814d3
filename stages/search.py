"""Search one space: train a supernet over it, or draw from it at random: python -m stages.search SPACE SEED."""

from pathlib import Path

from nas.pipeline.files import write_csv, write_json
from nas.pipeline.params import Params
from nas.pipeline.stage import run


def draw(params: Params, name: str, space: str, results: Path) -> None:
    """The baseline: softmax weights of random α, from which `derive` reads a genotype like any other."""
    from nas.space.genotypes import random_genotype, random_weights, weight_rows
    from nas.space.spaces import find

    drawn = (find(space).operations, params.search.nodes, f"{params.seed}/{name}")
    rows = weight_rows(drawn[0], random_weights(*drawn), epoch=0)
    skips = random_genotype(*drawn).skips()
    write_csv(results / "alphas.csv", rows)
    write_csv(results / "history.csv", [{"epoch": 0, "valid_top1": ""} | skips])  # the plot's column, to be found
    write_json(results / "metrics.json", skips)


def main(params: Params, name: str, space: str, seed: int) -> None:
    results = Path("results/search") / f"{space}-{seed}"
    if params.search.algorithm == "random":
        draw(params, name, space, results)
        return
    import torch

    from nas.data import dataset
    from nas.data.streaming import cpus
    from nas.networks.network import check_image
    from nas.networks.supernet import Supernet
    from nas.search.loop import AlphaRecipe, search
    from nas.training import distributed
    from nas.training import loop as training

    p = params.search
    device = training.choose_device(params.device, params.threads)
    if not distributed.start(device, params.devices, params.nodes):
        return  # the processes that it started have done the work
    prepared = dataset.load("data/prepared", device, cpus())
    check_image(p.stem, prepared.shape)
    run_seed = training.seed_for(params.seed, name)
    settings = p.model_dump(exclude={"spaces", "seeds"}) | {
        "seed": run_seed,
        **training.conditions(params, device),
    }
    key = training.result_key("data/prepared", settings)

    torch.manual_seed(run_seed)
    supernet = Supernet(
        space,
        channels=p.channels,
        layers=p.layers,
        nodes=p.nodes,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
        stem=p.stem,
        recompute=p.recompute,
    ).to(device)
    weights_half, alpha_half = prepared.train.part(0), prepared.train.part(1)
    history, alphas = search(
        supernet,
        prepared.batches(weights_half, batch_size=p.batch_size, **p.augmentation()),
        prepared.batches(alpha_half, batch_size=p.batch_size, **p.augmentation()),
        prepared.batches(alpha_half, batch_size=p.batch_size),
        training.Recipe.of(settings),
        AlphaRecipe(
            algorithm=p.algorithm,
            order=p.order,
            tau=p.tau,
            tau_min=p.tau_min,
            learning_rate=p.alpha_learning_rate,
            betas=tuple(p.alpha_betas),
            weight_decay=p.alpha_weight_decay,
        ),
        seed=run_seed,
        key=key,
        name=name,
    )
    if not distributed.finish():
        return

    write_csv(results / "alphas.csv", alphas)
    write_csv(results / "history.csv", history)
    last = {k: v for k, v in history[-1].items() if k not in ("epoch", "learning_rate")}
    write_json(results / "metrics.json", last | {"device": training.device_name(device)})
    training.remove_checkpoints(name)


if __name__ == "__main__":
    run(main)
