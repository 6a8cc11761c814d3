"""What the stages that train share: the device, the processes, the data, the seed, the key of their checkpoints."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nas.pipeline.code import training_fingerprint
from nas.pipeline.names import DATA
from nas.pipeline.params import Params, Section

if TYPE_CHECKING:
    import torch

    from nas.data.batches import Batches
    from nas.data.dataset import Prepared

log = logging.getLogger("nas")


@dataclass(frozen=True)
class Context:
    """What a stage trains with.

    Attributes
    ----------
    params : Params
    name : str
        The stage's name in the pipeline, ``evaluate@DARTS_V2-10-0``.
    device : torch.device
    prepared : Prepared
        The data, on the device.
    seed : int
        From `seed` of params.yaml and the name, or another that `begin` was given.
    """

    params: Params
    name: str
    device: torch.device
    prepared: Prepared
    seed: int

    def settings(self, section: Section, exclude: Collection[str] = (), **more: object) -> dict:
        """What determines the training's result besides data and code: a section of params.yaml, and `more`.

        With what changes the rounding: a training goes on with as many threads and processes as it began with, and on
        the same model of a GPU or kind of processor, or its result would depend on when it was stopped.
        """
        from nas.training.device import device_name

        rounding = {
            "threads": self.params.threads,
            "devices": self.params.devices * self.params.nodes,
            "device": device_name(self.device),
            "precision": self.params.precision,
        }
        return section.model_dump(exclude=set(exclude)) | more | {"seed": self.seed} | rounding

    def key(self, settings: dict) -> str:
        """What determines the training's result, as a short name: `settings`, data, code, torch's version."""
        import torch

        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(torch.__version__.encode())
        digest.update((DATA / "meta.json").read_bytes())
        stage, _, arguments = self.name.partition("@")
        digest.update(training_fingerprint(stage, *arguments.split("-"), params=self.params).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def fast(self) -> str:
        """The parameter. Who asks for graphs where there are none is told, once."""
        from nas.training import graph

        if self.params.fast == "graph" and not graph.applies(self.device, asked=True):
            log.info("fast: graph is for a training on one GPU: here it does what auto does")
        return self.params.fast

    def test_batches(self, batch_size: int = 128) -> Batches:
        """All test images, in their order."""
        return self.prepared.batches(self.prepared.test, batch_size=batch_size)

    def finish(self) -> bool:
        """Leave the other processes; whether this is the one that writes the results."""
        from nas.training import distributed

        return distributed.finish()


def begin(params: Params, name: str, seeded_as: str | None = None) -> Context | None:
    """Choose the device, start the processes, load the data; None if others, which this one started, did the work.

    Random numbers are those of the stage `name`, or of another name, which several stages may share.
    """
    gc.disable()  # it would look again and again through the objects of torch's modules, which all stay

    from nas.data import dataset
    from nas.data.streaming import cpus
    from nas.training import distributed
    from nas.training.device import choose_device, seed_for

    gc.enable()
    device = choose_device(params.device, params.threads)
    if not distributed.start(device, params.devices, params.nodes):
        return None
    return Context(params, name, device, dataset.load(DATA, device, cpus()), seed_for(params.seed, seeded_as or name))
