"""nas.pipeline.dvc_yaml against what DVC itself reads."""

import random

import pytest
import yaml
from dvc.utils.serialize import loads_yaml

from nas.pipeline import dvc_yaml

WORDS = """
    yes No on OFF y n true True TRUE tRUE false null ~ Null 1 0 -0 +1 010 09 0o17 0b101 -0b1 0x1f 1_000 _1 1e-4 1E5
    1.e3 .5 -.5 .5e3 .5e+3 1e 1.0e-4 .inf -.INF +.inf .nan .NaN -.nan 1:30 1:30.5 190:20:30 12e03 00 2020-01-01 = 1.
    -1.5e+10 1__0 0x_1 1-1 1.2.3 inf nan bf16 0.1,2
"""


def outcome(read, text):
    """The value and its type, or that there is none."""
    try:
        value = read(f"key: {text}\n")["key"]
    except Exception:
        return "error"
    return type(value), repr(value)


@pytest.mark.parametrize("loader", [dvc_yaml._Fast, dvc_yaml._Plain])
def test_a_word_is_what_dvc_takes_it_for(loader):
    source = random.Random(0)
    drawn = ["".join(source.choices("01._-+eExob:nif", k=source.randint(1, 5))) for _ in range(1000)]
    for word in [*WORDS.split(), *drawn]:
        assert outcome(lambda text: yaml.load(text, loader), word) == outcome(loads_yaml, word), word


@pytest.mark.parametrize(
    "text", ["{a: 1, b: [1e-4, on], c: {d: }}", "a: &x {b: 1}\nc: {<<: *x, d: 2}", "1: a\n'1': b", "a: |\n  1\n  2", ""]
)
def test_a_document_is_what_dvc_takes_it_for(text):
    assert dvc_yaml.parse(text) == loads_yaml(text)
