"""What needs a GPU, on one that computes nothing."""

import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT


@pytest.mark.slow
def test_trainings_explanations_and_launches() -> None:
    """In a process of its own, which PyTorch's extra device changes for good: `pytest tests/gpu` runs it by hand."""
    pinned = re.search(r"^torch==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    if not torch.__version__.startswith(pinned):
        pytest.skip(f"the device leans on the inside of torch {pinned}; this is {torch.__version__}")
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
