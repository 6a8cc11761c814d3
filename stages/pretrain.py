"""DNAL's first phase, once for each backbone: python -m stages.pretrain MODEL."""

from pathlib import Path

from nas.pipeline.files import whole_file, write_csv, write_json
from nas.pipeline.params import Params
from nas.pipeline.stage import run


def main(params: Params, name: str, model: str) -> None:
    import torch
    from safetensors.torch import save_file

    from nas.data import dataset
    from nas.data.streaming import cpus
    from nas.dnal.backbones import build
    from nas.dnal.gates import plain
    from nas.dnal.phases import fitting
    from nas.networks.complexity import count
    from nas.training import distributed
    from nas.training import loop as training

    p = params.pretrain
    device = training.choose_device(params.device, params.threads)
    if not distributed.start(device, params.devices, params.nodes):
        return  # the processes that it started have done the work
    prepared = dataset.load("data/prepared", device, cpus())
    seed = training.seed_for(params.seed, name)
    settings = p.model_dump() | {
        "seed": seed,
        **training.conditions(params, device),
        "learning_rate_min": 0.0,
        "milestones": (),  # the learning rate stays
    }
    key = training.result_key("data/prepared", settings)
    torch.manual_seed(seed)
    network = build(model, width=p.width, **fitting(prepared)).to(device)
    history = training.train(
        network,
        prepared.batches(prepared.train, batch_size=p.batch_size, **p.augmentation()),
        prepared.batches(prepared.test, batch_size=p.batch_size),
        training.Recipe.of(settings),
        seed=seed,
        key=key,
        name=name,
    )
    if not distributed.finish():
        return
    with whole_file(f"models/pretrain/{model}.safetensors") as temporary:
        save_file(network.state_dict(), temporary)
    cost, last = count(plain(network), prepared.shape), history[-1]
    results = Path("results/pretrain") / model
    write_csv(results / "history.csv", history)
    metrics = {"top1": last["test_top1"], "top5": last["test_top5"], "loss": last["test_loss"]}
    write_json(
        results / "metrics.json",
        metrics | {"params": cost.params, "macs": cost.conv_macs, "device": training.device_name(device)},
    )
    training.remove_checkpoints(name)


if __name__ == "__main__":
    run(main)
