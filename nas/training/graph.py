"""A training's step on a GPU, recorded once an epoch and repeated: a CUDA graph (Nguyen et al., "Accelerating
PyTorch with CUDA graphs", 2021).

A step at DARTS's size launches thousands of kernels, each for less time than its launch takes. A graph launches all of
them at once. What it repeats are the same kernels on the same memory with the same numbers of the host, so it holds for
an epoch, in which learning rate, drop path and temperature stay: the next epoch records anew.

For others: repeated.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nas.data import sharing
from nas.pipeline.errors import UserError, reason

Step = Callable[..., None]

DEVICES = ("cuda",)


def applies(device: torch.device, asked: bool) -> bool:
    """Whether steps are repeated: on a GPU that trains alone, if that is asked for."""
    return asked and device.type in DEVICES and sharing.world() == 1


def repeated(step: Step, device: torch.device, asked: bool) -> Step:
    """`step`, or what does the same faster, for the batches of an epoch.

    Parameters
    ----------
    step : callable
        ``step(*tensors)`` takes a batch, changes tensors in place and gives nothing. It must do the same at every call
        but for what these tensors hold: read no number off the device, count nothing on the host.
    device : torch.device
        Of the batches.
    asked : bool

    Raises
    ------
    UserError
        When a step is taken that cannot be recorded.
    """
    return Repeated(step) if applies(device, asked) else step


class Repeated:
    """The first step is computed as ever: it makes what is made once. The second is recorded; the others repeat it.

    A batch of other shapes, as an epoch's last one may be, is computed as ever.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.shapes: list[torch.Size] | None = None
        self.batch: tuple[Tensor, ...] = ()  # where the recorded step reads
        self.replay: Callable[[], object] | None = None

    def __call__(self, *batch: Tensor) -> None:
        shapes = [each.shape for each in batch]
        if self.shapes is None:
            self.shapes = shapes
            warm_up(self.step, batch)
        elif shapes != self.shapes:
            self.step(*batch)
        elif self.replay is None:
            self.batch = tuple(each.clone() for each in batch)
            self.replay = record(self.step, self.batch)
        else:
            for recorded, each in zip(self.batch, batch, strict=True):
                recorded.copy_(each)
            self.replay()


def warm_up(step: Step, batch: tuple[Tensor, ...]) -> None:
    """Take a step on a stream of its own, so that nothing of it is tied to the stream that is recorded later."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step(*batch)
    torch.cuda.current_stream().wait_stream(stream)


def record(step: Step, batch: tuple[Tensor, ...]) -> Callable[[], Any]:
    """Take a step; what is returned takes it again, with what `batch` holds then."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # readers of images are threads of their own
            step(*batch)
    except RuntimeError as error:
        raise UserError(f"fast: graph: a step cannot be recorded ({reason(error)}); set fast to auto") from error
    graph.replay()
    return graph.replay
