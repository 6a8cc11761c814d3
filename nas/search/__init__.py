"""The bilevel search: weights on one half of the training images, α on the other.

For others, pipeline or not: `search` and its `AlphaRecipe`, and `halves`, which makes its batches of images in memory.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.search.batches import halves
    from nas.search.loop import AlphaRecipe, search

__all__ = ["AlphaRecipe", "halves", "search"]


def __getattr__(name: str) -> object:
    """By name, so that the fingerprint of a stage holds what the stage itself imports."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("nas.search.batches" if name == "halves" else "nas.search.loop"), name)
