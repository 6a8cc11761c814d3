"""Search one space by one algorithm, or draw from it at random: python -m stages.search SPACE ALGORITHM SEED."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.pipeline.names import Search, stage_name
from nas.pipeline.params import RANDOM, Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.networks.supernet import Supernet
    from nas.search.algorithm import Algorithm
    from nas.training.context import Context


def seeded_as(searched: Search) -> str:
    """What all algorithms draw their random numbers by: they begin with the same weights and see the same batches."""
    return stage_name("search", searched.space, searched.seed)


def draw(params: Params, searched: Search) -> None:
    """The baseline: softmax weights of random α, from which `derive` reads a genotype like any other."""
    from nas.pipeline.records import Alphas, Drawn, DrawnHistory
    from nas.space.genotypes import derive_from_weights, random_weights, weight_rows

    space, results = params.space(searched.space), searched.results()
    weights = space.of_all(random_weights(space, params.search.nodes, f"{params.seed}/{seeded_as(searched)}"))
    skips = derive_from_weights(space.operations, weights).skips()
    Alphas.write(results / "alphas.csv", weight_rows(space.operations, weights, epoch=0))
    DrawnHistory.write(results / "history.csv", [{"epoch": 0, "valid_top1": None} | skips])
    Drawn(**skips).write(results / "metrics.json")


def build(context: Context, searched: Search) -> tuple[Supernet, Algorithm]:
    """The supernet that is trained, with its first weights, and the algorithm that trains it."""
    import torch

    from nas.fast import accelerate
    from nas.networks.network import check_image
    from nas.networks.supernets import build_supernet
    from nas.search.algorithm import make

    p, prepared = context.params.search, context.prepared
    check_image(p.stem, prepared.shape)
    algorithm = make(searched.algorithm, context.params.algorithms.of(searched.algorithm))
    torch.manual_seed(context.seed)
    supernet = build_supernet(
        context.params.space(searched.space),
        channels=p.channels,
        layers=p.layers,
        nodes=p.nodes,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
        stem=p.stem,
        recompute=p.recompute,
        **algorithm.supernet(),
    ).to(context.device)
    if context.fast != "off":
        accelerate(supernet)
    return supernet, algorithm


def train(context: Context, supernet: Supernet, algorithm: Algorithm) -> tuple[list[dict], list[dict]]:
    """The history, and α at every epoch."""
    from nas.search.loop import AlphaRecipe, search
    from nas.training.recipe import Recipe, augmentation

    p, prepared = context.params.search, context.prepared
    settings = context.settings(p, exclude=("spaces", "algorithms", "seeds"), fast=context.fast)
    weights_half, alpha_half = prepared.train.part(0), prepared.train.part(1)
    return search(
        supernet,
        prepared.batches(weights_half, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(alpha_half, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(alpha_half, batch_size=p.batch_size),
        Recipe.of(settings),
        AlphaRecipe(learning_rate=p.alpha_learning_rate, betas=tuple(p.alpha_betas), weight_decay=p.alpha_weight_decay),
        algorithm,
        seed=context.seed,
        key=context.key(settings),
        name=context.name,
    )


def record(context: Context, searched: Search, algorithm: Algorithm, history: list[dict], alphas: list[dict]) -> None:
    """Write the history, α and the last epoch's scores."""
    from nas.pipeline import records
    from nas.training.device import device_name

    results = searched.results()
    records.Alphas.write(results / "alphas.csv", alphas)
    rows = records.MeasuredHistory if "eigenvalue" in history[0] else records.SearchHistory
    rows.write(results / "history.csv", history)
    last = {name: history[-1][name] for name in records.Search.model_fields if name in history[-1]}
    told = last | {"epoch": algorithm.stop(history), "device": device_name(context.device)}
    records.Search(**told).write(results / "metrics.json")


def main(params: Params, name: str, space: str, algorithm: str, seed: int) -> None:
    searched = Search(space, algorithm, seed)
    if algorithm == RANDOM:
        draw(params, searched)
        return
    from nas.training.context import begin

    if context := begin(params, name, seeded_as(searched)):
        supernet, made = build(context, searched)
        history, alphas = train(context, supernet, made)
        if context.finish():
            record(context, searched, made, history, alphas)


if __name__ == "__main__":
    run(main)
