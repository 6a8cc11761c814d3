"""What params.yaml asks of prepared data: told beforehand where it can be, left to the stages where it cannot."""

import json

import pytest
from conftest import ROOT

from nas.networks.network import STEMS
from nas.pipeline import dvc_yaml
from nas.pipeline.check import SMALLEST, check_against_data
from nas.pipeline.errors import UserError
from nas.pipeline.params import check

META = {"name": "digits", "classes": list("0123456789"), "shape": [1, 8, 8], "test": 30, "test_per_class": [3] * 10}


def test_the_stems_need_what_networks_say():
    assert {name: stem.smallest for name, stem in STEMS.items()} == SMALLEST


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Write a meta.json; check the default parameters, changed, against it."""
    monkeypatch.chdir(tmp_path)

    def checked(meta=None, **changes):
        (tmp_path / "data/prepared").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/prepared/meta.json").write_text(json.dumps(META | (meta or {})))
        tree = dvc_yaml.read(ROOT / "presets/default.yaml")
        params = {"seed": tree["seed"], "data": dict(tree["data"])}
        lock = {"stages": {"prepare": {"params": {"params.yaml": params}}}}
        (tmp_path / "dvc.lock").write_text(json.dumps(lock))
        for section, values in changes.items():
            tree[section] |= values
        check_against_data(check(tree))

    return checked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradcam": {"index": 3}}, "gradcam.index: 3 is too large: class 0 has 3 test images"),
        ({"gradcam": {"images": 31}}, "gradcam.images: 31 is more than the 30 test images there are"),
        ({"gradcam": {"classes": ["0", "ten"]}}, r"gradcam.classes\[1\]: unknown class 'ten' \(known: 0, 1, "),
        ({"search": {"stem": "imagenet"}}, "search.stem: imagenet is not allowed for images of 8×8 pixels"),
        ({"evaluate": {"stem": "imagenet"}}, "evaluate.stem: imagenet is not allowed for images of 8×8 pixels"),
    ],
    ids=str,
)
def test_what_the_data_do_not_have_is_told(changes, message, prepared):
    with pytest.raises(UserError, match=f"^{message}"):
        prepared(**changes)


@pytest.mark.parametrize(
    ("meta", "changes"),
    [
        ({}, {}),
        ({}, {"gradcam": {"index": 2, "images": 30}}),
        ({}, {"gradcam": {"index": 3, "networks": []}}),
        (
            {},
            {
                "search": {"stem": "imagenet", "spaces": []},
                "evaluate": {"genotypes": []},
                "gradcam": {"networks": []},
                "export": {"networks": []},
            },
        ),
        ({}, {"gradcam": {"index": 3}, "data": {"name": "cifar10"}}),
        ({}, {"gradcam": {"index": 3}, "data": {"test_limit": 30}}),
        ({"name": "folder"}, {"gradcam": {"index": 3}, "data": {"name": "folder"}}),
        ({"classes": ["0"]}, {"gradcam": {"index": 3}}),
    ],
    ids=str,
)
def test_what_fits_or_cannot_be_told_yet_passes(meta, changes, prepared):
    prepared(meta, **changes)


def test_without_prepared_data_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_against_data(check(dvc_yaml.read(ROOT / "presets/default.yaml")))
