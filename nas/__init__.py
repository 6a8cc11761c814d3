"""Differentiable architecture search: spaces, supernets, discrete networks, their training and their pictures.

``nas.predict(network, images)`` gives class probabilities: see `nas.deploy.predict`. ``nas.__version__``.
"""

from importlib import import_module


def __getattr__(name: str) -> object:
    """By name, so that no fingerprint follows them; and `predict` imports torch, which checks can do without."""
    if name == "predict":
        return import_module("nas.deploy.predict").predict
    if name == "__version__":
        return import_module("nas.pipeline.version").VERSION
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
