"""DNAL's second and third phase: learn the widths, cut, train on: python -m stages.slim MODEL PENALTY."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.pipeline.errors import UserError
from nas.pipeline.files import write_csv, write_json
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from torch import nn

    from nas.dnal.phases import GateRecipe
    from nas.networks.complexity import Complexity


def gate_recipe(params: Params, penalty: str) -> GateRecipe:
    from nas.dnal.phases import GateRecipe

    p = params.slim
    try:
        weight = float(penalty)
    except ValueError:
        raise UserError(f"penalty: {penalty} is not allowed: must be a number") from None
    return GateRecipe(p.gate_epochs, weight, p.gate_learning_rate, p.gate_momentum, params.precision)


def score(last: dict, cost: Complexity, baseline: Complexity) -> dict:
    """The last epoch's scores and what the network costs, beside the whole one."""
    return {
        "top1": last["test_top1"],
        "top5": last["test_top5"],
        "loss": last["test_loss"],
        "params": cost.params,
        "macs": cost.conv_macs,
        "params_ratio": baseline.params / cost.params,
        "macs_ratio": baseline.conv_macs / cost.conv_macs,
    }


def write_gates(results: Path, gated: nn.Module, records: list[dict]) -> None:
    """What became of each layer, and how many gate values lay in each part of [0, 1] at each epoch."""
    from nas.dnal.slim import channel_table

    write_csv(results / "channels.csv", channel_table(gated))
    rows = [
        {"epoch": record["epoch"], "scale": record["scale"], "bin": i, "count": count}
        for record in records
        for i, count in enumerate(record["counts"])
    ]
    nothing = {"epoch": 0, "scale": "", "bin": "", "count": ""}  # of the dense network
    write_csv(results / "gates.csv", rows or [nothing])


def main(params: Params, name: str, model: str, penalty: str) -> None:
    import torch

    from nas.data import dataset
    from nas.data.streaming import cpus
    from nas.dnal import phases, slim
    from nas.dnal.backbones import build
    from nas.dnal.gates import gates, plain
    from nas.networks.complexity import count
    from nas.pipeline.files import sha256
    from nas.training import distributed
    from nas.training import loop as training

    p, recipe = params.pretrain, gate_recipe(params, penalty)
    device = training.choose_device(params.device, params.threads)
    if not distributed.start(device, params.devices, params.nodes):
        return  # the processes that it started have done the work
    prepared = dataset.load("data/prepared", device, cpus())
    weights = Path("models/pretrain") / f"{model}.safetensors"
    built_from = {"name": model, "width": p.width} | phases.fitting(prepared)
    gated = build(**built_from).to(device)
    phases.restore(gated, weights)
    seed = training.seed_for(params.seed, name)
    settings = p.model_dump() | {
        "epochs": params.slim.epochs,
        "milestones": params.slim.milestones,
        "learning_rate_min": 0.0,
        "gates": vars(recipe),
        "pretrained": sha256(weights),
        "seed": seed,
        **training.conditions(params, device),
    }
    key = training.result_key("data/prepared", settings)

    batches = prepared.batches(prepared.train, batch_size=p.batch_size, **p.augmentation())
    records = []
    if recipe.penalty:
        records = phases.learn_gates(gated, batches, recipe, seed=seed, key=key, name=f"{name}/gates")
    else:  # the dense network, to compare with
        for gate in gates(gated).values():
            gate.state = "closed"
    network = slim.slim(gated, prepared.shape)
    torch.manual_seed(seed)
    history = training.train(
        network,
        batches,
        prepared.batches(prepared.test, batch_size=p.batch_size),
        training.Recipe.of(settings),
        seed=seed,
        key=key,
        name=name,
    )
    if not distributed.finish():
        return
    run_name = name.split("@")[1]
    slim.save(network, f"models/slim/{run_name}.safetensors", built_from)
    results = Path("results/slim") / run_name
    write_csv(results / "history.csv", history)
    write_gates(results, gated, records)
    told = score(history[-1], count(network, prepared.shape), count(plain(gated), prepared.shape))
    write_json(results / "metrics.json", told | {"device": training.device_name(device)})
    training.remove_checkpoints(name)


if __name__ == "__main__":
    run(main)
