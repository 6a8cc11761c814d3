"""The network in a file, whichever stage trained it."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from nas.pipeline.errors import UserError, reason, unknown
from nas.pipeline.names import MODELS

TRAINED = ("evaluate", "slim")  # the folders of models/ whose files say which network they hold


def find(model: str | Path) -> Path:
    """The file of a model: its path, or its key in this project (``DARTS_V2-3-0``, ``vgg16_cifar-0.001``).

    Raises
    ------
    UserError
        If there is neither.
    """
    path = Path(model)
    if path.is_file():
        return path
    known = {file.stem: file for folder in TRAINED for file in sorted((MODELS / folder).glob("*.safetensors"))}
    if str(model) in known:
        return known[str(model)]
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        raise UserError(f"{model}: there is no such file")
    raise UserError(unknown("model", model, known))


def load(model: str | Path) -> nn.Module:
    """The network that `nas.networks.network.save` or `nas.dnal.slim.save` wrote, on the CPU and in eval mode.

    Parameters
    ----------
    model : str or Path
        As for `find`.

    Raises
    ------
    UserError
        If there is no such file, it is damaged, or holds something else.
    """
    path = find(model)
    try:
        with safe_open(path, "pt") as file:
            kinds = set(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is no safetensors file of a network ({reason(error)})") from None
    if "network" in kinds:
        from nas.networks import network

        return network.load(path)
    if "slim" in kinds:
        from nas.dnal import slim

        return slim.load(path)
    raise UserError(f"{path}: does not say which network it holds; name a file of models/evaluate or models/slim")
