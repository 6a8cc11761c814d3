"""Select a genotype from a finished search's supernet by what it misses most: python -m stages.select SEARCH."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nas.pipeline.errors import UserError
from nas.pipeline.names import Search, stage_name
from nas.pipeline.params import Params
from nas.pipeline.stage import run
from stages.search import build, seeded_as, train

if TYPE_CHECKING:
    from nas.networks.supernet import Supernet
    from nas.search.algorithm import Algorithm
    from nas.space.genotypes import AnyGenotype
    from nas.training.context import Context


def finished(context: Context, searched: Search) -> tuple[Supernet, Algorithm]:
    """The supernet as its search left it, and the algorithm as in the last epoch.

    From the search's checkpoint, which stays when it has ended; where there is none, the search is made again.
    """
    from nas.training.device import seed_for

    of_search = replace(
        context, name=stage_name("search", *searched), seed=seed_for(context.params.seed, seeded_as(searched))
    )
    supernet, algorithm = build(of_search, searched)
    train(of_search, supernet, algorithm)
    epochs = context.params.search.epochs
    algorithm.begin(epochs - 1, epochs)
    return supernet, algorithm


def choose(context: Context, searched: Search) -> tuple[AnyGenotype, list[dict]]:
    """The genotype, and a row a round."""
    from nas.search.perturbation import select
    from nas.training.recipe import Recipe, augmentation

    supernet, algorithm = finished(context, searched)
    p, asked, prepared = context.params.search, context.params.select, context.prepared
    how = {"fast": context.params.fast, "tune_epochs": asked.tune_epochs, "batches": asked.batches}
    settings = context.settings(p, exclude=("spaces", "algorithms", "seeds"), **how)
    weights_half, alpha_half = prepared.train.part(0), prepared.train.part(1)
    return select(
        supernet,
        algorithm,
        prepared.batches(weights_half, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(alpha_half, batch_size=p.batch_size),
        Recipe.of(settings),
        tune_epochs=asked.tune_epochs,
        batches=asked.batches,
        seed=context.seed,
        key=context.key(settings),
        name=context.name,
    )


def record(context: Context, searched: Search, genotype: AnyGenotype, history: list[dict]) -> None:
    """Write the genotype, every choice, and what the supernet was worth as they were made."""
    from nas.pipeline import records
    from nas.pipeline.files import write_json
    from nas.training.device import device_name

    results = searched.selection()
    write_json(results / "genotype.json", genotype.to_dict())
    records.Choice.write(results / "choice.csv", [row for of_round in history for row in of_round["choices"]])
    rows = [{"round": i, "valid_top1": of_round["valid_top1"]} for i, of_round in enumerate(history, start=1)]
    records.SelectionHistory.write(results / "history.csv", rows)
    told = records.Selection(
        valid_top1=history[-1]["valid_top1"], device=device_name(context.device), **genotype.skips()
    )
    told.write(results / "metrics.json")


def main(params: Params, name: str, search: str) -> None:
    from nas.training.context import begin

    try:
        searched = Search.of(search)
    except ValueError:
        raise UserError(f"search: {search} is not allowed: must be SPACE-ALGORITHM-SEED") from None
    if context := begin(params, name):
        genotype, history = choose(context, searched)
        if context.finish():
            record(context, searched, genotype, history)


if __name__ == "__main__":
    run(main)
