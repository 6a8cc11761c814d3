"""Which images of a batch are this process's, when several train together, and means over all of them.

``nas.training.distributed`` starts the processes. Every one draws for the whole batch and computes its part.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Each = TypeVar("Each", Tensor, Tensor | None)


def world() -> int:
    """How many processes train together; 1 before `start` and after `finish`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0, the one that writes."""
    return dist.get_rank() if world() > 1 else 0


_batch = 0, slice(0)  # images of the whole batch that is computed now, and those of this process


def part(count: int) -> slice:
    """This process's of a batch of `count` images: as many as any other's, or one more or less; perhaps none."""
    each, more = divmod(count, world())
    begin = rank() * each + min(rank(), more)
    return slice(begin, begin + each + (rank() < more))


def begin_batch(count: int) -> slice:
    """`part`, after telling `draw` that a batch of `count` images is what is computed from now on."""
    global _batch
    _batch = count, part(count)
    return _batch[1]


def draw(count: int, draws: Callable[[int], Tensor]) -> Tensor:
    """``draws(count)``, one random row for each image of a batch; of several processes: the rows of a whole batch's.

    All processes have drawn as much then, so that the next draw is alike too.
    """
    whole, mine = _batch
    if world() == 1 or mine.stop - mine.start != count:
        return draws(count)
    return draws(whole)[mine]


def mean_count(count: int, device: torch.device) -> Tensor:
    """The mean over all processes of the `count` of images that each has of a batch, a float64 scalar."""
    total = torch.full((), count, dtype=torch.float64, device=device)
    if world() == 1:
        return total
    dist.all_reduce(total)
    return total / world()


def mean(tensors: Sequence[Each]) -> list[Each]:
    """The mean over all processes of each of `tensors` of one type, the same bits everywhere; None stays None."""
    there = [tensor for tensor in tensors if tensor is not None]
    if world() == 1 or not there:
        return list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in there])
    dist.all_reduce(flat)
    parts = iter(flat.div_(world()).split([tensor.numel() for tensor in there]))
    return [None if tensor is None else next(parts).view_as(tensor) for tensor in tensors]
