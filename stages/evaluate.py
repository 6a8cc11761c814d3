"""Train the network that a genotype stands for, and test it: python -m stages.evaluate GENOTYPE LAYERS SEED."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.pipeline.names import Network as Named
from nas.pipeline.names import genotype_file
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.networks.bench201 import Bench201Network
    from nas.networks.network import Network
    from nas.training.context import Context


def train(context: Context, genotype: str, layers: int) -> tuple[Network | Bench201Network, list[dict]]:
    """The trained network and its history."""
    import torch

    from nas.fast import accelerate
    from nas.networks.build import build_network
    from nas.networks.network import check_image
    from nas.space.genotypes import load
    from nas.training import loop
    from nas.training.recipe import Recipe, augmentation

    p, prepared = context.params.evaluate, context.prepared
    check_image(p.stem, prepared.shape)
    found = load(genotype_file(genotype))
    fast = context.fast
    settings = context.settings(p, exclude=("genotypes", "layers", "seeds"), genotype=found.to_dict(), fast=fast)

    torch.manual_seed(context.seed)
    network = build_network(
        found,
        channels=p.channels,
        layers=layers,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
        auxiliary=p.auxiliary > 0,
        stem=p.stem,
    ).to(context.device)
    if fast != "off":
        accelerate(network)
    history = loop.train(
        network,
        prepared.batches(prepared.train, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(prepared.test, batch_size=p.batch_size),
        Recipe.of(settings),
        auxiliary_weight=p.auxiliary,
        drop_path=p.drop_path,
        seed=context.seed,
        key=context.key(settings),
        name=context.name,
    )
    return network, history


def record(context: Context, named: Named, network: Network | Bench201Network, history: list[dict]) -> None:
    """Save the network; write its history and its scores."""
    from nas.networks.network import save
    from nas.pipeline.records import Evaluation, History
    from nas.training.device import device_name
    from nas.training.loop import class_scores, scores

    prepared = context.prepared
    save(network, named.model, prepared.inputs)
    History.write(named.results() / "history.csv", history)
    told = scores(history) | class_scores(network, context.test_batches(), prepared.classes, context.params.precision)
    Evaluation(**told, device=device_name(context.device)).write(named.results() / "metrics.json")


def main(params: Params, name: str, genotype: str, layers: int, seed: int) -> None:
    from nas.training.context import begin

    if context := begin(params, name):
        network, history = train(context, genotype, layers)
        if context.finish():
            record(context, Named(genotype, layers, seed), network, history)


if __name__ == "__main__":
    run(main)
