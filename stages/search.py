"""Search one space: train a supernet over it, or draw from it at random: python -m stages.search SPACE SEED."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.pipeline.names import Search
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.training.context import Context


def draw(params: Params, name: str, searched: Search) -> None:
    """The baseline: softmax weights of random α, from which `derive` reads a genotype like any other."""
    from nas.pipeline.records import Alphas, Drawn, DrawnHistory
    from nas.space.genotypes import random_genotype, random_weights, weight_rows
    from nas.space.spaces import find

    drawn = (find(searched.space).operations, params.search.nodes, f"{params.seed}/{name}")
    rows = weight_rows(drawn[0], random_weights(*drawn), epoch=0)
    skips, results = random_genotype(*drawn).skips(), searched.results()
    Alphas.write(results / "alphas.csv", rows)
    DrawnHistory.write(results / "history.csv", [{"epoch": 0, "valid_top1": None} | skips])
    Drawn(**skips).write(results / "metrics.json")


def train(context: Context, space: str) -> tuple[list[dict], list[dict]]:
    """The history, and α at every epoch."""
    import torch

    from nas.fast import accelerate
    from nas.networks.network import check_image
    from nas.networks.supernet import Supernet
    from nas.search.loop import AlphaRecipe, search
    from nas.training.recipe import Recipe, augmentation

    p, prepared = context.params.search, context.prepared
    check_image(p.stem, prepared.shape)
    fast = context.params.fast
    settings = context.settings(p, exclude=("spaces", "seeds"), fast=fast)

    torch.manual_seed(context.seed)
    supernet = Supernet(
        space,
        channels=p.channels,
        layers=p.layers,
        nodes=p.nodes,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
        stem=p.stem,
        recompute=p.recompute,
    ).to(context.device)
    if fast == "auto":
        accelerate(supernet)
    weights_half, alpha_half = prepared.train.part(0), prepared.train.part(1)
    return search(
        supernet,
        prepared.batches(weights_half, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(alpha_half, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(alpha_half, batch_size=p.batch_size),
        Recipe.of(settings),
        AlphaRecipe(
            algorithm=p.algorithm,
            order=p.order,
            tau=p.tau,
            tau_min=p.tau_min,
            learning_rate=p.alpha_learning_rate,
            betas=tuple(p.alpha_betas),
            weight_decay=p.alpha_weight_decay,
        ),
        seed=context.seed,
        key=context.key(settings),
        name=context.name,
    )


def record(context: Context, searched: Search, history: list[dict], alphas: list[dict]) -> None:
    """Write the history, α and the last epoch's scores."""
    from nas.pipeline import records
    from nas.training.device import device_name

    results = searched.results()
    records.Alphas.write(results / "alphas.csv", alphas)
    records.SearchHistory.write(results / "history.csv", history)
    last = {name: value for name, value in history[-1].items() if name in records.Search.model_fields}
    records.Search(**last, device=device_name(context.device)).write(results / "metrics.json")


def main(params: Params, name: str, space: str, seed: int) -> None:
    searched = Search(space, seed)
    if params.search.algorithm == "random":
        draw(params, name, searched)
        return
    from nas.training.context import begin

    if context := begin(params, name):
        history, alphas = train(context, space)
        if context.finish():
            record(context, searched, history, alphas)


if __name__ == "__main__":
    run(main)
