"""The device, what a result says of it, and seeds."""

import hashlib
import re
from pathlib import Path

import pytest
import torch

from nas.pipeline.errors import UserError
from nas.training.device import choose_device, device_name, seed_for


def test_seeds_are_stable_and_distinct() -> None:
    digest = hashlib.sha256(b"0/search@darts").hexdigest()
    assert seed_for(0, "search@darts") == int(digest[:16], 16) // 2
    assert len({seed_for(s, n) for s in range(20) for n in ("a", "b")}) == 40
    assert all(0 <= seed_for(s) < 2**63 for s in range(100))


def test_choose_device_sets_threads_and_refuses_a_missing_gpu(monkeypatch) -> None:
    threads = torch.get_num_threads()
    try:
        assert choose_device("cpu", 3) == torch.device("cpu")
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert choose_device("auto", 1) == torch.device("cpu")
        with pytest.raises(UserError, match="device: cuda .* auto or cpu"):
            choose_device("cuda", 1)
    finally:
        torch.set_num_threads(threads)


def test_the_devices_name_tells_the_instructions_that_rounding_follows() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    expected = r"cpu \(AVX512\)" if "avx512f" in flags else r"cpu \(AVX2\)" if "avx2" in flags else r"cpu \([\w ]+\)"
    assert re.fullmatch(expected, device_name(torch.device("cpu")))
