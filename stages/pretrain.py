"""DNAL's first phase, once for each backbone: python -m stages.pretrain MODEL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.pipeline.names import Pretrained
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from torch import nn

    from nas.training.context import Context


def train(context: Context, model: str) -> tuple[nn.Module, list[dict]]:
    """The trained network, its gates open, and its history."""
    import torch

    from nas.dnal.backbones import build
    from nas.dnal.phases import fitting
    from nas.training import loop
    from nas.training.recipe import Recipe, augmentation

    (p, _), prepared = context.params.recipes(model), context.prepared
    stays = p.cosine_epochs is None
    settings = context.settings(p, learning_rate_min=0.0, milestones=() if stays else None, by_step=True)
    torch.manual_seed(context.seed)
    network = build(model, width=p.width, **fitting(prepared)).to(context.device)
    history = loop.train(
        network,
        prepared.batches(prepared.train, batch_size=p.batch_size, **augmentation(p)),
        prepared.batches(prepared.test, batch_size=p.batch_size),
        Recipe.of(settings),
        seed=context.seed,
        key=context.key(settings),
        name=context.name,
    )
    return network, history


def record(context: Context, named: Pretrained, network: nn.Module, history: list[dict]) -> None:
    """Save the weights; write the history, the scores and what the network costs."""
    from safetensors.torch import save_file

    from nas.dnal.gates import plain
    from nas.networks.complexity import conv_macs, params
    from nas.pipeline.files import whole_file
    from nas.pipeline.records import History, Pretraining
    from nas.training.device import device_name
    from nas.training.loop import class_scores, scores

    with whole_file(named.model) as temporary:
        save_file(network.state_dict(), temporary)
    History.write(named.results() / "history.csv", history)
    whole = plain(network)
    told = Pretraining(
        **scores(history),
        **class_scores(network, context.test_batches(), context.prepared.classes, context.params.precision),
        params=params(whole),
        conv_macs=conv_macs(whole, context.prepared.shape),
        device=device_name(context.device),
    )
    told.write(named.results() / "metrics.json")


def main(params: Params, name: str, model: str) -> None:
    from nas.training.context import begin

    if context := begin(params, name):
        network, history = train(context, model)
        if context.finish():
            record(context, Pretrained(model), network, history)


if __name__ == "__main__":
    run(main)
