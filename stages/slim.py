"""DNAL's second and third phase: learn the widths, cut, train on: python -m stages.slim MODEL PENALTY."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nas.pipeline.errors import UserError
from nas.pipeline.names import Pretrained, number
from nas.pipeline.names import Slimmed as Named
from nas.pipeline.params import Params, SlimRecipe
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


def gate_recipe(params: Params, named: Named) -> GateRecipe:
    from nas.dnal.phases import GateRecipe

    _, p = params.recipes(named.backbone)
    return GateRecipe(p.gate_epochs, named.penalty, p.gate_learning_rate, p.gate_momentum, params.precision)


def schedule(recipe: SlimRecipe) -> dict:
    """How the learning rate of phase 3 falls, as arguments of ``training.recipe.Recipe``."""
    if recipe.cosine_start is None:
        return {"milestones": recipe.milestones}
    whole = recipe.cosine_start + recipe.epochs
    return {"cosine_start": recipe.cosine_start, "cosine_epochs": whole, "by_step": True}


def train(context: Context, named: Named) -> Slimmed:
    import torch

    from nas.dnal import phases, slim
    from nas.dnal.backbones import build
    from nas.dnal.gates import gates
    from nas.pipeline.files import sha256
    from nas.training import loop
    from nas.training.recipe import Recipe, augmentation

    params, prepared = context.params, context.prepared
    (p, last), recipe = params.recipes(named.backbone), gate_recipe(params, named)
    weights = Pretrained(named.backbone).model
    built_from = {"name": named.backbone, "width": p.width} | phases.fitting(prepared)
    gated = build(**built_from).to(context.device)
    phases.restore(gated, weights)
    settings = context.settings(
        p,
        epochs=last.epochs,
        learning_rate_min=0.0,
        **schedule(last),
        gates=vars(recipe),
        pretrained=sha256(weights),
    )
    seed, key = context.seed, context.key(settings)

    batches = prepared.batches(prepared.train, batch_size=p.batch_size, **augmentation(p))
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


def record(context: Context, named: Named, slimmed: Slimmed) -> None:
    """Save the network that remains; write the histories, its scores and what it costs, beside the whole one."""
    from nas.dnal.gates import plain
    from nas.dnal.published_count import published_ratios
    from nas.dnal.slim import channel_table, save
    from nas.networks.complexity import conv_macs, params
    from nas.pipeline import records
    from nas.training.device import device_name
    from nas.training.loop import class_scores, scores

    results, shape = named.results(), context.prepared.shape
    save(slimmed.network, named.model, slimmed.built_from, context.prepared.inputs)
    records.History.write(results / "history.csv", slimmed.history)
    records.Channels.write(results / "channels.csv", channel_table(slimmed.gated))
    rows = [  # how many gate values lay in each part of [0, 1] at each epoch
        {"epoch": row["epoch"], "scale": row["scale"], "bin": i, "count": inside}
        for row in slimmed.gate_records
        for i, inside in enumerate(row["counts"])
    ]
    records.Gates.write(results / "gates.csv", rows)
    left, whole = slimmed.network, plain(slimmed.gated)
    told = records.Slimming(
        **scores(slimmed.history),
        **class_scores(left, context.test_batches(), context.prepared.classes, context.params.precision),
        params=params(left),
        conv_macs=conv_macs(left, shape),
        params_ratio=params(whole) / params(left),
        conv_macs_ratio=conv_macs(whole, shape) / conv_macs(left, shape),
        **published_ratios(slimmed.gated, shape),
        device=device_name(context.device),
    )
    told.write(results / "metrics.json")


def main(params: Params, name: str, model: str, penalty: str) -> None:
    from nas.training.context import begin

    try:
        named = Named(model, number(penalty))
    except ValueError:
        raise UserError(f"penalty: {penalty} is not allowed: must be a number as names spell it, like 0.001") from None
    if context := begin(params, name):
        slimmed = train(context, named)
        if context.finish():
            record(context, named, slimmed)


if __name__ == "__main__":
    run(main)
