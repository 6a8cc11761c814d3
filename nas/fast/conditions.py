"""When the fast path is taken, and what it leaves alone."""

import torch
from torch import Tensor, nn

SMALLEST = 2**14  # elements of a map; below, calls cost more than what they compute


def applies(x: Tensor) -> bool:
    """Whether it pays for the map `x`: a large one on the CPU, not in bfloat16's autocast, that wants a gradient."""
    large_on_cpu = x.device.type == "cpu" and x.numel() > SMALLEST
    in_float32 = large_on_cpu and not torch.is_autocast_enabled("cpu")
    return in_float32 and torch.is_grad_enabled() and not _every_module_has_hooks()


def ordinary(module: nn.Module) -> bool:
    """Whether calling `module` does nothing but its class's ``forward``, and a batch norm's is PyTorch's by the batch.

    Not so with hooks, with a ``forward`` of the object's own other than those of ``accelerate``, or with a batch norm
    that is frozen (in eval mode), keeps no running statistics or averages them over all batches.
    """
    if any(getattr(module, hooks) for hooks in _HOOKS) or not _is_ours(vars(module).get("forward")):
        return False
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        by_the_batch = module.training and module.track_running_stats and module.momentum is not None
        return by_the_batch and type(module) is nn.BatchNorm2d
    return True


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _is_ours(forward: object) -> bool:
    """Whether an object's own ``forward`` is none, or one that ``accelerate`` gave it."""
    return forward is None or str(getattr(forward, "__module__", "")).startswith("nas.fast.")


def _every_module_has_hooks() -> bool:
    """Whether ``torch.nn.modules.module.register_module_forward_hook`` or one of its kin is in use."""
    return any(getattr(nn.modules.module, f"_global{hooks}") for hooks in _HOOKS)
