"""What the tests of data share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nas.pipeline.errors import UserError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def fails(*parts: object, run: Callable[[], object]) -> str:
    """Check that `run` ends in a UserError of one line that has each of `parts`, the first at its beginning."""
    with pytest.raises(UserError) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert message.startswith(str(parts[0])), message
    for part in parts[1:]:
        assert str(part) in message, message
    return message


def tensors(folder: Path, part: str) -> dict[str, Tensor]:
    return load_file(folder / f"{part}.safetensors")
