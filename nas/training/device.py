"""What a run computes on, and with what random numbers: the same machine and seed give the same bits."""

import ctypes
import hashlib
import os
from contextlib import AbstractContextManager

import torch

from nas.pipeline.errors import UserError


def choose_device(device: str, threads: int) -> torch.device:
    """The device to compute on, made deterministic; "auto" is a GPU if there is one. Sets the number of CPU threads.

    Raises
    ------
    UserError
        If "cuda" is asked for and torch sees no GPU.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but torch sees no GPU; set device to auto or cpu")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa would drown the second order's finite difference
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs a kernel an allocation, changes no result
    return torch.device("cuda")


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of giving them back: fresh pages cost more than most operations on them."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, -1)  # never


def device_name(device: torch.device) -> str:
    """What a result says of where it was computed: "cpu (AVX2)", as rounding follows the instructions, or the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"


def autocast(device: torch.device, precision: int | str) -> AbstractContextManager:
    """Compute in bfloat16 what may be, if `precision` is "bf16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def seed_for(*names: object) -> int:
    """A seed that follows from `names` alone: the run's seed, a stage, an epoch. From 0 to 2⁶³ − 1."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
