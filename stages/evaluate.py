"""Train the network that a genotype stands for, and test it: python -m stages.evaluate GENOTYPE LAYERS SEED."""

from pathlib import Path

from nas.pipeline.files import write_csv, write_json
from nas.pipeline.params import Params
from nas.pipeline.stage import run


def main(params: Params, name: str, genotype: str, layers: int, seed: int) -> None:
    import torch

    from nas.data import dataset
    from nas.data.streaming import cpus
    from nas.networks.complexity import count
    from nas.networks.network import Network, check_image, save
    from nas.space.genotypes import load
    from nas.training import distributed
    from nas.training import loop as training

    p = params.evaluate
    device = training.choose_device(params.device, params.threads)
    if not distributed.start(device, params.devices, params.nodes):
        return  # the processes that it started have done the work
    prepared = dataset.load("data/prepared", device, cpus())
    check_image(p.stem, prepared.shape)
    found = load(f"results/genotypes/{genotype}.json")
    run_seed = training.seed_for(params.seed, name)
    settings = p.model_dump(exclude={"genotypes", "layers", "seeds"}) | {
        "genotype": found.to_dict(),
        "seed": run_seed,
        **training.conditions(params, device),
    }
    key = training.result_key("data/prepared", settings)

    torch.manual_seed(run_seed)
    network = Network(
        found,
        channels=p.channels,
        layers=layers,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
        auxiliary=p.auxiliary > 0,
        stem=p.stem,
    ).to(device)
    history = training.train(
        network,
        prepared.batches(prepared.train, batch_size=p.batch_size, **p.augmentation()),
        prepared.batches(prepared.test, batch_size=p.batch_size),
        training.Recipe.of(settings),
        auxiliary_weight=p.auxiliary,
        drop_path=p.drop_path,
        seed=run_seed,
        key=key,
        name=name,
    )

    if not distributed.finish():
        return

    run_name = f"{genotype}-{layers}-{seed}"
    save(network, f"models/evaluate/{run_name}.safetensors")
    network.auxiliary = None  # it serves training alone, so it does not count
    cost = count(network, prepared.shape)
    last = history[-1]
    results = Path("results/evaluate") / run_name
    write_csv(results / "history.csv", history)
    metrics = {
        "top1": last["test_top1"],
        "top5": last["test_top5"],
        "loss": last["test_loss"],
        "params": cost.params,
        "gmac": cost.macs / 1e9,
        "device": training.device_name(device),
    }
    write_json(results / "metrics.json", metrics)
    training.remove_checkpoints(name)


if __name__ == "__main__":
    run(main)
