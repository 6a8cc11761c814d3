"""Differentiable architecture search: spaces, supernets, discrete networks, their training and their pictures.

``nas.predict(network, images)`` gives class probabilities: see `nas.networks.predict`.
"""

from importlib import import_module


def __getattr__(name: str) -> object:
    """`predict`, whose module imports torch, which a pipeline's checks can do without."""
    if name == "predict":
        return import_module("nas.networks.predict").predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
