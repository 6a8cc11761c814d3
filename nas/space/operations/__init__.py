"""The operations that an edge can hold, by name: which family's file has each, and how one is built.

Each maps C channels to C channels at stride 1 or 2. Shapes are N × C × H × W. Nothing here imports torch, and building
an operation imports its own family alone. To add one, write a family's file that ends, as the others do, in a table
``OPERATIONS``: name → callable (channels, stride, affine) → module. Name file and operation in ``FAMILIES``; to search
among it, list its name in a space (nas/space/spaces.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nas.pipeline.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import nn

# Plain names, so that one can tell without importing a family what it holds.
FAMILIES: dict[str, tuple[str, ...]] = {
    "basic": ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3"),
    "separable": (
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
        "sep_conv_gelu_3x3",
        "sep_conv_gelu_5x5",
        "sep_conv_gelu_ln_3x3",
        "sep_conv_gelu_ln_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "conv_7x1_1x7",
    ),
    "pib": (
        "pib_conv_3x3",
        "pib_conv_5x5",
        "pib_conv_7x7",
        "pib_conv_f1.5_3x3",
        "pib_conv_f1.5_5x5",
        "pib_conv_f1.5_7x7",
        "pib_conv_f3_3x3",
        "pib_conv_f3_5x5",
        "pib_conv_f3_7x7",
        "pib_conv_f4.5_3x3",
        "pib_conv_f4.5_5x5",
        "pib_conv_f4.5_7x7",
    ),
    "convnext": ("convnext_3x3", "convnext_5x5"),
    "efficientnet": ("ds_conv", "mb_conv", "fused_mb_conv"),
    "noise": ("noise",),
    "nor_conv": ("nor_conv_1x1", "nor_conv_3x3"),
}


def names() -> list[str]:
    """All operations' names, in the order of ``FAMILIES``."""
    return [name for family in FAMILIES.values() for name in family]


def family_of(name: str) -> str:
    """The module of ``nas.space.operations`` that defines the operation `name`; raises UserError if none does."""
    for family, operations in FAMILIES.items():
        if name in operations:
            return family
    raise UserError(unknown("operation", name, names()))


def build(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """Build the operation `name`.

    Parameters
    ----------
    name : str
        A name of ``FAMILIES``.
    channels : int
        C, of the input and of the output.
    stride : int
        1, or 2 to halve the map.
    affine : bool
        Whether normalization learns a scale and a shift.

    Raises
    ------
    UserError
        If there is no such operation, or it cannot be built for so many channels.
    """
    family = import_module(f"{__name__}.{family_of(name)}")
    return family.OPERATIONS[name](channels, stride, affine)
