"""An in-place ReLU before the auxiliary tower, and its cost: python -m studies.inplace_relu WAY SEED.

The published programs rectify the map that the auxiliary tower takes in place. At 2 and 3 layers this is the last
cell's map, so their classifier is trained on ReLU(map) and tested on the map. WAY is `plain`, as the library has it, or
`in_place`. Trains DARTS_PseudoInvBn at 2 layers by params.yaml beside this file on data/prepared (copy it over
params.yaml and run `dvc repro prepare`), and leaves here in results/ the history of each way and seed, whose tests are
on the map as published, and the scores of the last epoch's network, tested on the map and on ReLU(map).
"""

import logging
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nas.data import dataset
from nas.data.streaming import cpus
from nas.fast import accelerate
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.pipeline.files import write_json
from nas.pipeline.names import DATA
from nas.pipeline.params import Params, load
from nas.pipeline.records import History
from nas.space.published import PUBLISHED
from nas.training import loop
from nas.training.device import choose_device, device_name, seed_for
from nas.training.recipe import Recipe, augmentation

HERE = Path(__file__).parent
GENOTYPE, LAYERS = "DARTS_PseudoInvBn", 2
WAYS = ("plain", "in_place")


def rectify_last_map(network: Network, *, always: bool = False) -> RemovableHandle:
    """Let all that takes the last cell's map take its ReLU: while training, as an in-place ReLU does, or `always`."""

    def rectified(cell: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return output.relu() if network.training or always else output

    return network.cells[-1].register_forward_hook(rectified)


def train(params: Params, way: str, seed: int) -> None:
    """Train one way with one seed, and write its history and scores."""
    p, device = params.evaluate, choose_device(params.device, params.threads)
    prepared = dataset.load(DATA, device, cpus())
    settings = p.model_dump() | {"precision": params.precision}
    recipe = Recipe.of(settings)
    drawn = seed_for(params.seed, f"evaluate@{GENOTYPE}-{LAYERS}-{seed}")  # both ways begin alike
    torch.manual_seed(drawn)
    network = Network(
        PUBLISHED[GENOTYPE],
        channels=p.channels,
        layers=LAYERS,
        num_classes=len(prepared.classes),
        in_channels=prepared.shape[0],
        auxiliary=True,
        stem=p.stem,
    ).to(device)
    accelerate(network)
    hook = rectify_last_map(network) if way == "in_place" else None
    test = prepared.batches(prepared.test, batch_size=p.batch_size)
    history = loop.train(
        network,
        prepared.batches(prepared.train, batch_size=p.batch_size, **augmentation(p)),
        test,
        recipe,
        auxiliary_weight=p.auxiliary,
        drop_path=p.drop_path,
        seed=drawn,
        key=f"{way}-{seed}-{p.epochs}",
        name="inplace_relu",
    )
    if hook:
        hook.remove()
    _, on_map, _ = loop.evaluate(network, test, recipe)
    rectify_last_map(network, always=True)
    _, on_rectified, _ = loop.evaluate(network, test, recipe)
    results = HERE / "results" / f"{way}-{seed}"
    History.write(results / "history.csv", history)
    write_json(
        results / "scores.json",
        {"top1_on_map": on_map, "top1_on_rectified_map": on_rectified, "device": device_name(device)},
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in WAYS or not sys.argv[2].isdecimal():
        sys.exit("usage: python -m studies.inplace_relu plain|in_place SEED")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(load(HERE / "params.yaml"), sys.argv[1], int(sys.argv[2]))
    except UserError as mistake:
        sys.exit(f"error: {mistake}")
