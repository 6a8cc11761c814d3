"""DNAL's second and third phase: learn the widths, cut, train on: python -m stages.slim MODEL PENALTY."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nas.pipeline.errors import UserError
from nas.pipeline.params import Params
from nas.pipeline.records import Channels, Gates, History, Slimming, scores
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from torch import nn

    from nas.dnal.phases import GateRecipe
    from nas.training.context import Context


class Slimmed(NamedTuple):
    """What the training leaves."""

    network: nn.Module  # that remains
    history: list[dict]  # of its training
    gated: nn.Module  # the whole, its gates closed
    gate_records: list[dict]  # of the gates' training; none for the dense network
    built_from: dict  # arguments of ``backbones.build``


def gate_recipe(params: Params, penalty: str) -> GateRecipe:
    from nas.dnal.phases import GateRecipe

    p = params.slim
    try:
        weight = float(penalty)
    except ValueError:
        raise UserError(f"penalty: {penalty} is not allowed: must be a number") from None
    return GateRecipe(p.gate_epochs, weight, p.gate_learning_rate, p.gate_momentum, params.precision)


def train(context: Context, model: str, penalty: str) -> Slimmed:
    import torch

    from nas.dnal import phases, slim
    from nas.dnal.backbones import build
    from nas.dnal.gates import gates
    from nas.pipeline.files import sha256
    from nas.training import loop
    from nas.training.recipe import Recipe

    params, prepared = context.params, context.prepared
    p, recipe = params.pretrain, gate_recipe(params, penalty)
    weights = Path("models/pretrain") / f"{model}.safetensors"
    built_from = {"name": model, "width": p.width} | phases.fitting(prepared)
    gated = build(**built_from).to(context.device)
    phases.restore(gated, weights)
    settings = context.settings(
        p,
        epochs=params.slim.epochs,
        milestones=params.slim.milestones,
        learning_rate_min=0.0,
        gates=vars(recipe),
        pretrained=sha256(weights),
    )
    seed, key = context.seed, context.key(settings)

    batches = prepared.batches(prepared.train, batch_size=p.batch_size, **p.augmentation())
    records = []
    if recipe.penalty:
        records = phases.learn_gates(gated, batches, recipe, seed=seed, key=key, name=f"{context.name}/gates")
    else:  # the dense network, to compare with
        for gate in gates(gated).values():
            gate.state = "closed"
    network = slim.slim(gated, prepared.shape)
    torch.manual_seed(seed)
    history = loop.train(
        network,
        batches,
        prepared.batches(prepared.test, batch_size=p.batch_size),
        Recipe.of(settings),
        seed=seed,
        key=key,
        name=context.name,
    )
    return Slimmed(network, history, gated, records, built_from)


def record(context: Context, run_name: str, slimmed: Slimmed) -> None:
    """Save the network that remains; write the histories, its scores and what it costs, beside the whole one."""
    from nas.dnal.gates import plain
    from nas.dnal.slim import channel_table, save
    from nas.networks.complexity import conv_macs, params
    from nas.training.device import device_name

    save(slimmed.network, f"models/slim/{run_name}.safetensors", slimmed.built_from)
    results = Path("results/slim") / run_name
    History.write(results / "history.csv", slimmed.history)
    Channels.write(results / "channels.csv", channel_table(slimmed.gated))
    rows = [  # how many gate values lay in each part of [0, 1] at each epoch
        {"epoch": row["epoch"], "scale": row["scale"], "bin": i, "count": inside}
        for row in slimmed.gate_records
        for i, inside in enumerate(row["counts"])
    ]
    Gates.write(results / "gates.csv", rows)
    shape, left, whole = context.prepared.shape, slimmed.network, plain(slimmed.gated)
    macs = conv_macs(left, shape)
    Slimming(
        **scores(slimmed.history),
        params=params(left),
        conv_macs=macs,
        params_ratio=params(whole) / params(left),
        conv_macs_ratio=conv_macs(whole, shape) / macs,
        device=device_name(context.device),
    ).write(results / "metrics.json")


def main(params: Params, name: str, model: str, penalty: str) -> None:
    from nas.training.context import begin

    if context := begin(params, name):
        slimmed = train(context, model, penalty)
        if context.finish():
            record(context, name.split("@")[1], slimmed)


if __name__ == "__main__":
    run(main)
