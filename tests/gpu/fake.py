"""A GPU that computes nothing, for machines that have none.

Tensors are PyTorch's fake tensors, which know their shape and device and no values, on a device that is registered in
Python. So a step of a training runs as it would, and what a GPU would not forgive is found: operations on two devices
at once raise, what makes the host wait for the device is noted with the line of ours that asked for it, and each kernel
that would be launched is counted. CUDA's conditions for batch norm's backward, which a CPU does not have, are checked.
"""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import optimizer
from torch.utils import _foreach_utils as foreach
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.fast import grouped

GPU = "gpu"
aten = torch.ops.aten
# What only describes memory launches no kernel.
_DESCRIBING = (
    "view _unsafe_view expand permute transpose t select slice unbind split split_with_sizes unsqueeze squeeze detach "
    "alias as_strided unfold empty empty_like new_empty empty_strided new_empty_strided reshape _reshape_alias "
    "lift_fresh diagonal chunk narrow result_type is_same_size sym_size sym_stride device is_pinned view_as flatten "
    "unflatten movedim resize_ set_ _local_scalar_dense"
)
NO_KERNEL = frozenset(_DESCRIBING.split())
# Kernels of an operation on channels-last float32 maps, where it is not one: batch norm's mean and variance, running
# statistics, result; gradients of a slice, which is a map of zeros and a copy.
LAUNCHES = {
    "native_batch_norm": 3,
    "native_batch_norm_backward": 2,
    "max_pool2d_with_indices_backward": 2,
    "select_backward": 2,
    "slice_backward": 2,
}
TENSORS_A_LAUNCH = 64  # of a foreach operation
# The size of the result of these follows from values, which the host waits for.
BY_VALUE = ("nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "is_nonzero", "equal")


class FakeGPU(TorchDispatchMode):
    """While it is entered, tensors are fake and ``device="gpu"`` is a GPU.

    Attributes
    ----------
    waits : Counter
        "search/loop.py:12: item()" → how often the host would have waited there.
    launches : Counter
        An operation → the kernels that it would have launched.
    moved : int
        Bytes of what they would have read and written, each operand and result once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.moved = 0

    def clear(self) -> None:
        self.waits.clear()
        self.launches.clear()
        self.moved = 0

    def __enter__(self) -> "FakeGPU":
        _register()
        self._entered = ExitStack()
        fake = _Fake(allow_non_fake_inputs=True)
        types = [Tensor, nn.Parameter, FakeTensor]
        for context in (
            fake,
            torch.autograd.set_multithreading_enabled(False),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(nn.Module, "_apply", _apply),
            mock.patch.object(grouped, "DEVICES", (GPU,)),
            mock.patch.object(FakeTensor, "tolist", self._listed()),
            mock.patch.object(FakeTensor, "numpy", _numpy),
            mock.patch.object(FakeTensor, "__array__", lambda tensor, *_, **__: _numpy(tensor)),
            mock.patch.object(foreach, "_foreach_supported_types", types),  # one launch for many tensors, as on CUDA
            mock.patch.object(optimizer, "_foreach_supported_types", types),
        ):
            self._entered.enter_context(context)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._entered.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = {key: None if key == "generator" else value for key, value in (kwargs or {}).items()}
        args = tuple(None if isinstance(argument, torch.Generator) else argument for argument in args)
        name = func.overloadpacket.__name__
        if not (_on_gpu(args) or _on_gpu(kwargs)):
            if name == "_local_scalar_dense":
                return _some(args[0].dtype)
            result = func(*args, **kwargs)
            if _on_gpu(result):
                self._note_copy(name, args, result)
                self._launch(name, args, result)
            return result
        if name in BY_VALUE:
            self._wait(name)
        if name == "_local_scalar_dense":
            self._wait("item()")
            return _some(args[0].dtype)
        if name == "equal":
            return True
        if name in ("index", "index_put", "index_put_"):
            args = self._indexed(name, args)
        if name == "native_batch_norm_backward":
            require_what_cuda_needs(*args)
        result = func(*args, **kwargs)
        self._note_copy(name, args, result)
        self._launch(name, args, result)
        return result

    def _wait(self, why: str) -> None:
        self.waits[f"{_our_line()}: {why}"] += 1

    def _note_copy(self, name: str, args: tuple, result: Any) -> None:
        """A copy between host and device waits for what is copied."""
        if name not in ("_to_copy", "copy_"):
            return
        source, target = (args[0], result) if name == "_to_copy" else (args[1], args[0])
        if isinstance(source, Tensor) and source.device.type != target.device.type:
            self._wait(f"copy from {source.device.type} to {target.device.type}")

    def _launch(self, name: str, args: tuple, result: Any) -> None:
        if name in NO_KERNEL:
            return
        kernels = LAUNCHES.get(name, 1)
        if name == "convolution_backward":
            kernels = sum(args[-1][:2])
        elif name.startswith("_foreach"):
            count = max(len(argument) for argument in args if isinstance(argument, list | tuple))
            kernels = -(-max(count, 1) // TENSORS_A_LAUNCH)
        self.launches[name] += kernels
        self.moved += sum(x.nbytes for x in tree_leaves((args, result)) if isinstance(x, Tensor))

    def _indexed(self, name: str, args: tuple) -> tuple:
        """Which places a mask holds is not known: as many as there are."""
        x, indices, *rest = args
        for index in indices:
            if index is not None and index.dtype == torch.bool:
                self._wait(f"{name} by a mask")
            elif index is not None and index.device.type == "cpu":
                self._wait(f"{name} by the host's index")
        every = [
            aten.arange(x.shape[0], device=i.device) if i is not None and i.dtype == torch.bool else i for i in indices
        ]
        return x, every, *rest

    def _listed(self) -> Callable[[Tensor], Any]:
        def tolist(tensor: Tensor) -> Any:
            if tensor.device.type == GPU:
                self._wait("tolist()")
            return np.full(tuple(tensor.shape), _some(tensor.dtype)).tolist()

        return tolist


def require_what_cuda_needs(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    saved_mean: Tensor | None,
    saved_inverse: Tensor | None,
    training: bool,
    eps: float,
    wanted: list[bool],
) -> None:
    """Raise RuntimeError where CUDA's ``native_batch_norm_backward`` does (aten/native/cuda/Normalization.cu)."""
    inner = x.is_contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.stride(1) == 1
    if (inner or training) and (saved_mean is None or saved_inverse is None):
        raise RuntimeError("native_batch_norm_backward: CUDA needs the saved mean and inverse deviation here")
    if any(wanted[1:]) and weight is None and not training:
        raise RuntimeError("native_batch_norm_backward: CUDA needs a weight to give the sums over pixels")


class _Fake(FakeTensorMode):
    avoid_device_init = True  # constants would be computed on the device, and there is none


class _Generator(torch.Generator):
    """A CPU's generator that says which device it was asked for: a device without a driver has none."""

    def __new__(cls, device: str | torch.device = "cpu") -> "_Generator":
        made = super().__new__(cls)
        made.asked = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.asked

    def manual_seed(self, seed: int) -> "_Generator":
        super().manual_seed(seed)
        return self


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _register() -> None:
    """Once a process. Such a device has no kernels for autocast, so bfloat16 cannot be tried on it."""
    if torch._C._get_privateuse1_backend_name() != GPU:
        backend_registration._setup_privateuseone_for_python_backend(GPU, _Backend())


def _on_gpu(tree: Any) -> bool:
    """Of an operation's arguments or result; several times faster than torch's walk through any tree."""
    if isinstance(tree, Tensor):
        return tree.device.type == GPU
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        return False
    return any(map(_on_gpu, tree))


def _some(dtype: torch.dtype) -> float | int | bool:
    """A value, where one is asked for."""
    return 1.0 if dtype.is_floating_point else dtype == torch.bool or 1


def _numpy(tensor: Tensor, **_: object) -> np.ndarray:
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device} device type tensor to numpy")
    return np.full(tuple(tensor.shape), 1, str(tensor.dtype).removeprefix("torch."))


def _our_line() -> str:
    """ "search/loop.py:12", the innermost line of nas/ that is running."""
    frame = sys._getframe(1)
    while frame:
        _, inside, path = frame.f_code.co_filename.rpartition("/nas/")
        if inside and "site-packages" not in frame.f_code.co_filename:
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "a test"


def _apply(self: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """``nn.Module._apply``, which would set a parameter's data: fake tensors do not take it."""
    for module in self.modules() if recurse else [self]:
        for name, parameter in module._parameters.items():
            if parameter is not None:
                with torch.no_grad():
                    module._parameters[name] = nn.Parameter(function(parameter), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
    return self
