"""When the fast path is taken, and what it leaves alone."""

from functools import cache

import torch
from torch import Tensor, nn

SMALLEST = 2**14  # elements of a map; below, calls cost more than what they compute


def applies(x: Tensor) -> bool:
    """Whether it pays for the map `x`: large, on the CPU, of a precision that is fast there, wanting a gradient."""
    large_on_cpu = x.device.type == "cpu" and x.numel() > SMALLEST
    return large_on_cpu and _fast_precision() and torch.is_grad_enabled() and not every_module_has_hooks()


def _fast_precision() -> bool:
    """Whether autocast is off, or it is to bfloat16 and the processor has instructions for that."""
    if not torch.is_autocast_enabled("cpu"):
        return True
    return torch.get_autocast_dtype("cpu") is torch.bfloat16 and has_bfloat16()


@cache
def has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 (AVX512-BF16 or AMX); others only imitate it, slowly."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def ordinary(module: nn.Module) -> bool:
    """Whether calling `module` does nothing but its class's ``forward``, and a batch norm's is PyTorch's by the batch.

    Not so with hooks, with a ``forward`` of the object's own other than those of ``accelerate``, or with a batch norm
    that is frozen (in eval mode), keeps no running statistics or averages them over all batches.
    """
    own = vars(module)  # not getattr, which takes four times as long: a step asks this thousands of times
    if any([own.get(hooks) for hooks in _HOOKS]) or ("forward" in own and not _of_accelerate(own["forward"])):
        return False
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        by_the_batch = module.training and module.track_running_stats and module.momentum is not None
        return by_the_batch and type(module) is nn.BatchNorm2d
    return True


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def inside(module: nn.Module) -> list[nn.Module]:
    """``module.modules()``, faster; what stands in several places is listed as often."""
    found = [module]
    for each in found:
        found += [child for child in each._modules.values() if child is not None]
    return found


def _of_accelerate(forward: object) -> bool:
    return str(getattr(forward, "__module__", "")).startswith("nas.fast.")


def every_module_has_hooks() -> bool:
    """Whether ``torch.nn.modules.module.register_module_forward_hook`` or one of its kin is in use."""
    return any(getattr(nn.modules.module, f"_global{hooks}") for hooks in _HOOKS)


def settings(layer: nn.Module) -> str:
    """What `layer` is, but for its weights. Of an average pooling ``str`` does not tell what it does at the border."""
    return f"{layer} {[getattr(layer, name) for name in getattr(layer, '__constants__', ())]}"
