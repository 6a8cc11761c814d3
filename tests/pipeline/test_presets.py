"""Every preset of a paper, whole, against what the paper and its program set (tests/published_constants.py)."""

from collections.abc import Iterator, Mapping

import pytest
from conftest import ROOT
from published_constants import PRESETS as PUBLISHED
from ruamel.yaml import YAML

from nas.pipeline.params import PRESETS, load, preset

KIN = {"default", "fashion_mnist_quick"}  # of the default: small, and no paper's
# What says nothing where a section's own list is empty
UNUSED = {
    "search": "spaces",
    "truth": "spaces",
    "select": "searches",
    "evaluate": "genotypes",
    "export": "networks",
    "latency": "networks",
}


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def resolved(name: str, folder) -> dict:
    preset(name, folder / "params.yaml")
    load(folder / "params.yaml")
    return YAML(typ="safe").load((folder / "params.yaml").read_text())


def test_every_preset_is_a_papers_or_kin_of_the_default():
    assert {path.stem for path in (ROOT / PRESETS).glob("*.yaml")} == KIN | set(PUBLISHED)
    assert KIN.isdisjoint(PUBLISHED)


def leaves(tree: Mapping, path: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of all that is no mapping, or an empty one."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_papers_preset_sets_what_is_published_and_nothing_else(name, tmp_path):
    found = resolved(name, tmp_path)
    table = {key: section for key, section in PUBLISHED[name].items() if key} | PUBLISHED[name][""]
    expected = dict(leaves(table))
    for section, names in UNUSED.items():
        if not found[section][names]:
            found[section] = {key: value for key, value in found[section].items() if key in table.get(section, {})}
    used, own = found["search"].get("algorithms", []), found.pop("algorithms")
    if heeded := {name: own[name] for name in used if name in own}:
        found["algorithms"] = heeded
    found = dict(leaves({section: keys for section, keys in found.items() if (section, keys) != ("truth", {})}))
    assert sorted(found) == sorted(expected), "a key that the table does not name, or one that is gone"
    for key, value in found.items():
        told, source = expected[key] if isinstance(expected[key], tuple) else (expected[key], "")
        assert value == told, f"{name}: {key} is {value}; {source}: {told}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_constant_of_a_papers_preset_stands_in_it_or_in_a_papers_preset_that_it_extends(name):
    """No number of a stage that the study has comes from the default."""
    tree, above = {}, name
    while above not in (None, "default"):
        overlay = YAML(typ="safe").load((ROOT / PRESETS / f"{above}.yaml").read_text())
        above = overlay.pop("extends", None)
        for section, keys in overlay.items():
            tree[section] = keys | tree.get(section, {})
    default = YAML(typ="safe").load((ROOT / PRESETS / "default.yaml").read_text())
    for section, names in UNUSED.items():
        if tree.get(section, {}).get(names):
            missing = set(default[section]) - set(tree[section])
            assert not missing, f"{section}: {missing} is the default's"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_stage_that_a_study_does_not_have_has_empty_lists(name, tmp_path):
    found = resolved(name, tmp_path)
    if name.startswith("dnal"):
        assert found["search"]["spaces"] == found["evaluate"]["genotypes"] == found["gradcam"]["networks"] == []
    else:
        assert found["slim"]["models"] == [] and found["pretrain"] == {} and found["slim"]["recipes"] == {}
