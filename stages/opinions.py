"""Ask a finished supernet what each genotype is worth: python -m stages.opinions SPACE ALGORITHM SEED."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nas.pipeline.names import Search, truth_folder
from nas.pipeline.params import Params
from nas.pipeline.stage import run
from stages.select import finished

if TYPE_CHECKING:
    from nas.training.context import Context


def asked(context: Context, searched: Search) -> Iterator[dict[str, Any]]:
    """A row for each genotype that is a network of its own."""
    from nas.pipeline.records import Alias
    from nas.search.one_shot import opinions
    from nas.space.notation import spelled
    from nas.training.recipe import Recipe

    supernet, algorithm = finished(context, searched)
    p, prepared = context.params.search, context.prepared
    recipe = Recipe.of(context.settings(p, exclude=("spaces", "algorithms", "seeds"), fast=context.params.fast))
    trained = Alias.read(truth_folder(searched.space) / "aliases.csv")["trained_as"].unique()
    valid = prepared.batches(prepared.train.part(1), batch_size=p.batch_size)
    for row in opinions(supernet, algorithm, {name: spelled(name) for name in trained}, valid, recipe):
        yield {"search": searched.key} | row


def main(params: Params, name: str, space: str, algorithm: str, seed: int) -> None:
    from nas.pipeline.records import Opinion
    from nas.training.context import begin

    searched = Search(space, algorithm, seed)
    if context := begin(params, name):
        rows = list(asked(context, searched))
        if context.finish():
            Opinion.write(searched.opinions(), rows)


if __name__ == "__main__":
    run(main)
