"""The bilevel search: weights on one half of the training images, α on the other.

For others, pipeline or not: `search` and its `AlphaRecipe`, `halves`, which makes its batches of images in memory, and
of algorithms `make`, which gives one by its name, and `Algorithm`, of which one's own is a subclass.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.search.algorithm import Algorithm, make
    from nas.search.batches import halves
    from nas.search.loop import AlphaRecipe, search

__all__ = ["Algorithm", "AlphaRecipe", "halves", "make", "search"]
PLACES = {"Algorithm": "algorithm", "AlphaRecipe": "loop", "halves": "batches", "make": "algorithm", "search": "loop"}


def __getattr__(name: str) -> object:
    """By name, so that the fingerprint of a stage holds what the stage itself imports."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"nas.search.{PLACES[name]}"), name)
