"""What the stages that train share: settings and the checkpoints' key."""

import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from nas.pipeline.params import Params, load
from nas.training.context import Context, begin


@pytest.fixture
def params(tmp_path, monkeypatch) -> Params:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "presets/default.yaml").read_text())
    Path("data/prepared").mkdir(parents=True)
    Path("data/prepared/meta.json").write_text("{}")
    return load()


def context(params: Params, seed: int = 7) -> Context:
    return Context(params, "search@darts-darts-0", torch.device("cpu"), None, seed)


def test_settings_are_a_section_and_what_changes_the_rounding(params: Params) -> None:
    changed = params.model_copy(update={"devices": 2, "nodes": 3, "threads": 5, "precision": "bf16"})
    section = params.pretrain["vgg16_cifar"]
    found = context(changed).settings(section, exclude=("width",), learning_rate_min=0.0, epochs=9)
    more = {"learning_rate_min": 0.0, "epochs": 9, "seed": 7}
    processor = f"cpu ({torch.backends.cpu.get_cpu_capability()})"
    rounding = {"threads": 5, "devices": 6, "device": processor, "precision": "bf16"}
    others = {key: value for key, value in dict(section).items() if key != "width"}
    assert found == others | more | rounding


def test_the_key_follows_settings_data_and_code(params: Params, monkeypatch) -> None:
    one = context(params)
    key = one.key({"epochs": 3})
    assert key == one.key({"epochs": 3})
    assert key != one.key({"epochs": 4})
    with monkeypatch.context() as patch:
        patch.setattr("nas.training.context.training_fingerprint", lambda *stage, params: "other")
        assert key != one.key({"epochs": 3})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.0")
        assert key != one.key({"epochs": 3})
    assert key == one.key({"epochs": 3})
    Path("data/prepared/meta.json").write_text(json.dumps({"a": 1}))
    assert key != one.key({"epochs": 3})


def test_whoever_only_started_the_processes_has_no_context(params: Params, monkeypatch) -> None:
    monkeypatch.setattr("nas.training.distributed.start", lambda device, devices, nodes: False)
    assert begin(params, "search@darts-darts-0") is None


@pytest.mark.parametrize(
    ("device", "devices", "fast", "told"),
    [("cpu", 1, "graph", True), ("cuda", 2, "graph", True), ("cuda", 1, "graph", False), ("cpu", 1, "auto", False)],
)
def test_who_asks_for_graphs_and_gets_none_is_told(params, monkeypatch, caplog, device, devices, fast, told) -> None:
    asked = params.model_copy(update={"devices": devices, "fast": fast})
    monkeypatch.setattr("nas.data.sharing.world", lambda: devices)  # as `begin` has started them
    with caplog.at_level("INFO", "nas"):
        here = Context(asked, "search@darts-darts-0", torch.device(device), None, 7)
        assert here.fast == here.fast == fast
    assert caplog.text.count("fast: graph is for a training on one GPU") == told
