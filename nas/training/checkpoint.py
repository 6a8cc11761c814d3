"""Checkpoints: the state of a training after its last whole epoch, in files outside the stage's outputs.

DVC removes a stage's outputs before it runs the stage. The checkpoint of a finished training stays, so that a stage
which runs again for what comes after the training does not train again.
"""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.data import sharing
from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import DAY, whole_file

log = logging.getLogger("nas")

RECORDS, OPTIMIZERS = "records", "optimizers"
KEPT = 4  # files of a stage's name


def checkpoints() -> Path:
    """Where checkpoints lie: the folder that NAS_CHECKPOINTS names, or the checkout's checkpoints/.

    ``dvc exp run --temp`` and ``--queue`` run a stage in a copy of the repository under the checkout's .dvc/tmp, which
    a killed run leaves behind. DVC_ROOT names the checkout there too.
    """
    if given := os.environ.get("NAS_CHECKPOINTS"):
        return Path(given)
    checkout = Path(os.environ.get("DVC_ROOT", "")).resolve()
    inside = Path.cwd().is_relative_to(checkout / ".dvc/tmp")
    return (checkout if inside else Path()) / "checkpoints"


class Checkpoint:
    """Where a training keeps its state.

    Parameters
    ----------
    name : str
        The stage's name.
    key : str
        Names what determines the result; a checkpoint of other parameters, code or data has another and is not taken.
    parts : dict
        Modules and optimizers whose ``state_dict()`` makes up the state.
    """

    def __init__(self, name: str, key: str, **parts: nn.Module | Optimizer) -> None:
        self.path = checkpoints() / name / f"{key}.safetensors"
        self.parts = parts

    def save(self, records: list[dict]) -> None:
        """Keep the parts' state and the epochs' `records`, which JSON can hold; one of several processes does."""
        if sharing.rank():
            return
        tensors, others = {}, {}
        for part, owner in self.parts.items():
            state = owner.state_dict()
            if isinstance(owner, Optimizer):
                state, others[part] = _split(state)
            tensors |= {f"{part}/{key}": tensor.detach().cpu().contiguous() for key, tensor in state.items()}
        # As tensors, since the file's own description of itself must not exceed 100 MB: about 3,500 epochs.
        tensors |= {name: _text(json.dumps(each)) for name, each in ((RECORDS, records), (OPTIMIZERS, others))}
        with whole_file(self.path, durable=True) as temporary:
            save_file(tensors, temporary, {"digest": _digest(tensors)})

    def restore(self) -> list[dict]:
        """Put the kept state back into the parts; return the records, none if there is no checkpoint.

        Raises
        ------
        UserError
            If the file is damaged or does not fit.
        """
        if not self.path.exists():
            return []
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                if (file.metadata() or {}).get("digest") != _digest(tensors):
                    raise ValueError("it is not what was written")
            records, others = (json.loads(tensors.pop(name).numpy().tobytes()) for name in (RECORDS, OPTIMIZERS))
            for part, owner in self.parts.items():
                state = {n.removeprefix(f"{part}/"): t for n, t in tensors.items() if n.startswith(f"{part}/")}
                owner.load_state_dict(_join(owner, state, others[part]) if isinstance(owner, Optimizer) else state)
        except torch.OutOfMemoryError:  # the device's state, not the file's
            raise
        except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self.path}: the checkpoint is damaged ({reason(error)}); delete it to train from the start"
            ) from None
        self.path.touch()  # one that serves is no old one
        log.info("resumed after epoch %d from %s", len(records), self.path)
        return records

    def prune(self) -> None:
        """Delete the stage's older checkpoints, but for the newest `KEPT` and those of the last day.

        One that young may be of a training that runs now, with other parameters: it writes an epoch at a time.
        """
        if sharing.rank():
            return
        with suppress(FileNotFoundError):  # another run deletes them just now
            files = sorted(self.path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
            for file in files[:-KEPT]:
                if file.stat().st_mtime < time.time() - DAY:
                    file.unlink()


def _text(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values: what a flipped bit, or a tail of zeros, would change."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _split(state: dict) -> tuple[dict[str, Tensor], dict]:
    """An optimizer's state: its tensors, named NUMBER/KEY by parameter, and the rest, which JSON can hold."""
    tensors = {f"{i}/{k}": v for i, own in state["state"].items() for k, v in own.items() if isinstance(v, Tensor)}
    rest = {i: {k: v for k, v in own.items() if not isinstance(v, Tensor)} for i, own in state["state"].items()}
    return tensors, {"state": rest, "param_groups": state["param_groups"]}


def _join(optimizer: Optimizer, tensors: dict[str, Tensor], rest: dict) -> dict:
    """What `_split` took apart; ValueError unless the tensors fit the parameters, which torch does not check."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {int(i): own for i, own in rest["state"].items()}
    for name, tensor in tensors.items():
        i, key = name.split("/")
        expected = parameters[int(i)].shape
        if key != "step" and tensor.shape != expected:
            raise ValueError(f"{name} has the shape {list(tensor.shape)} instead of {list(expected)}")
        state[int(i)][key] = tensor
    return {"state": state, "param_groups": rest["param_groups"]}
