"""One training over several processes, each with a GPU, or with CPU threads, of its own: the mathematics of one.

Every process computes a part of each batch. Order, augmentation and drop path are drawn for the whole batch, batch
norms take its statistics, and gradients are averaged, so the result is that of one process but for rounding, which
changes with their number.

A process is one of torch.distributed's, with torchrun's variables (RANK, WORLD_SIZE, …) in its environment. With
params.yaml's `devices` above 1 on one node, a stage starts them itself; on several nodes torchrun does.
"""

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.data.sharing import mean, rank, world
from nas.pipeline.errors import FAILURE, UserError

NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
LAUNCHER = "NAS_LAUNCHER"  # in the environment of processes that a stage started: its process id
POLL = 0.1  # seconds


# Starting and ending


def start(device: torch.device, devices: int, nodes: int) -> bool:
    """Let a stage's training run in ``devices × nodes`` processes; whether this is one of them.

    Without torchrun's variables, this process starts `devices` copies of itself (the same command), waits for them and
    gets False: they have done the work. If one fails or this one is ended, all are.

    Parameters
    ----------
    device : torch.device
        What ``device.choose_device`` chose; a process takes the GPU of its LOCAL_RANK.
    devices : int
        Processes on each node: GPUs, or on a CPU as many processes as that.
    nodes : int

    Raises
    ------
    UserError
        If there are too few GPUs, several nodes without torchrun, torchrun's numbers are others, or a process failed.
    """
    if device.type == "cuda" and devices > (there := torch.cuda.device_count()):
        raise UserError(f"devices: {devices} is not allowed: torch sees {there} GPU{'s' * (there != 1)} on this node")
    if LAUNCHER in os.environ or "RANK" in os.environ:
        _join(device, devices, nodes)
    elif nodes > 1:
        raise UserError(f"nodes: {nodes} needs torchrun; start on every node: {_by_torchrun(devices, nodes)}")
    elif devices > 1:
        _run_copies(devices)
        return False
    return True


def finish() -> bool:
    """Leave the other processes; whether this is the one that writes the results."""
    if world() == 1:
        return True
    first = rank() == 0
    dist.destroy_process_group()
    return first


def _by_torchrun(devices: int, nodes: int) -> str:
    command = " ".join([f"stages.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    rendezvous = "--rdzv-backend c10d --rdzv-endpoint FIRST_NODE:29500"
    return f"torchrun --nnodes {nodes} --nproc-per-node {devices} {rendezvous} -m {command}"


def _join(device: torch.device, devices: int, nodes: int) -> None:
    launched = LAUNCHER in os.environ
    missing = [name for name in NEEDED[: 3 if launched else None] if name not in os.environ]
    if missing:
        raise UserError(f"RANK is set, but not {', '.join(missing)}: start with {_by_torchrun(devices, nodes)}")
    this, local, count = (int(os.environ[name]) for name in NEEDED[:3])
    if count != devices * nodes:
        raise UserError(
            f"torchrun started {count} processes, but devices · nodes is {devices} · {nodes} in params.yaml: "
            f"start with {_by_torchrun(devices, nodes)}"
        )
    if launched:
        threading.Thread(target=_end_with_launcher, daemon=True).start()
    if count == 1:
        return
    if this:
        logging.getLogger("nas").setLevel(logging.ERROR)  # the first tells for all
    if device.type == "cuda":
        torch.cuda.set_device(local)
    store = f"file://{_folder()}/store" if launched else "env://"
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=store, rank=this, world_size=count)


def _run_copies(count: int) -> None:
    """Run this process's command `count` times; raise UserError if one fails, and end the others.

    They are started, watched and ended by what torchrun does that with. Not by the whole of torchrun: its store listens
    to the network and unpickles what it is told, and its processes outlive it when it is killed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

    logging.getLogger(start_processes.__module__).setLevel(logging.CRITICAL)  # what failed is told below
    with TemporaryDirectory(prefix="nas-") as folder:
        failure = Path(folder, "failure")
        environment = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        environment |= {LAUNCHER: str(os.getpid()), FAILURE: str(failure)}
        if sys.platform == "linux":
            environment["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
        environments = {
            number: environment | dict.fromkeys(["RANK", "LOCAL_RANK"], str(number)) for number in range(count)
        }
        arguments = dict.fromkeys(range(count), tuple(sys.orig_argv[1:]))
        try:
            processes = start_processes("nas", sys.executable, arguments, environments, DefaultLogsSpecs(folder))
            try:
                failures = processes.wait(period=POLL).failures
            finally:
                processes.close(signal.SIGKILL)  # one that waits for another, in C++, would hear no Ctrl-C
        except SignalException as received:
            if received.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + received.sigval)
        if failure.exists():
            raise UserError(failure.read_text(encoding="utf-8").splitlines()[0])
    if failures:
        number, first = next(iter(failures.items()))
        if first.exitcode < 0:
            what = f"process {number + 1} of {count} was killed ({first.signal_name()})"
            raise UserError(f"{what}; run it again to go on")
        sys.exit(1)  # the traceback of the one that failed stands above


def _folder() -> Path:
    return Path(os.environ[FAILURE]).parent


def _end_with_launcher() -> None:
    """A process that waits for another, in C++, would hear no signal."""
    while os.getppid() == int(os.environ[LAUNCHER]):
        time.sleep(POLL)
    shutil.rmtree(_folder(), ignore_errors=True)
    os._exit(1)


# Between processes


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put `mean` in the place of this process's gradients, after backward.

    DistributedDataParallel would begin while backward runs, but with other buckets in its first step than in later
    ones: with three processes or more, the sums of a resumed training would then be rounded otherwise.
    """
    if world() > 1:
        parameters = list(parameters)
        for parameter, gradient in zip(parameters, mean([p.grad for p in parameters]), strict=True):
            parameter.grad = gradient


def require_same(number: int, advice: str) -> None:
    """Raise UserError, with `advice`, unless all processes have the same `number`."""
    if world() > 1:
        every: list[Any] = [None] * world()
        dist.all_gather_object(every, number)
        if len(set(every)) > 1:
            raise UserError(advice)


# Networks


def synchronise(network: nn.Module) -> None:
    """Let the batch norms of `network` take the statistics of the whole batch in training mode.

    As nn.SyncBatchNorm, which does not run on CPUs. ``nas.fast`` computes batch norms of its own in a supernet, which
    leaves that to these.
    """
    if world() > 1:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.forward = MethodType(_batch_norm, module)


def _batch_norm(self: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    if not self.training or world() == 1:
        return type(self).forward(self, x)
    result, mean, variance, count = _WholeBatchNorm.apply(x, self.weight, self.bias, self.eps)
    with torch.no_grad():
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        self.num_batches_tracked += 1
    return result


class _WholeBatchNorm(torch.autograd.Function):
    """Batch norm of N × C × … with the mean and the variance over the images of all processes.

    They are put together from those of each process (Chan, Golub & LeVeque, 1979), for Σx² would lose digits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        channels = x.shape[1]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if x.numel():
            dims = [0, *range(2, x.dim())]
            own = torch.cat([*torch.var_mean(wide, dims, correction=0), wide.new_full((1,), x.numel() // channels)])
        else:
            own = wide.new_zeros(2 * channels + 1)
        every = own.new_empty(world() * len(own))
        dist.all_gather_into_tensor(every, own)
        variances, means, counts = every.view(world(), -1).split([channels, channels, 1], dim=1)
        count = counts.sum()
        shares = counts / count
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        # The gradient for a given mean and variance, and Σ g·x̂ and Σ g of this process's images
        if x.numel():
            # CUDA's kernels ask for the saved statistics where channels are innermost, and for a weight to sum with.
            given = x, torch.ones_like(mean) if weight is None else weight, mean, variance, mean, inverse
            of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, *given, False, ctx.eps, [True, True, True]
            )
        else:
            of_x, of_weight, of_bias = gradient, torch.zeros_like(mean), torch.zeros_like(mean)
        sums = torch.cat([of_weight, of_bias])
        dist.all_reduce(sums)
        aligned, total = (sums / count).chunk(2)
        # What mean and variance add: −(total + x̂ · aligned), times the derivative of x̂·weight
        factor = inverse if weight is None else inverse * weight
        slope = factor * inverse * aligned
        shape = [1, -1, *[1] * (x.dim() - 2)]
        of_x = of_x - (x * slope.view(shape) + (factor * total - slope * mean).view(shape)).to(x.dtype)
        return of_x, None if weight is None else of_weight, None if weight is None else of_bias, None
