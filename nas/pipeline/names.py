"""How anything is called, and where it lies: every key and path of the pipeline is spelled here, once.

dvc.yaml spells the same names with `${item.…}`; a test holds the two against each other. A key's parts are joined by
hyphens, and only the last part may hold one, so that a key can be taken apart again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

DATA = Path("data/prepared")
RESULTS = Path("results")
MODELS = Path("models")
OWN_GENOTYPES = Path("genotypes")
CODE = RESULTS / "code"
GENOTYPES = RESULTS / "genotypes"
DRAWINGS = RESULTS / "cells"
PREFERENCE = RESULTS / "preference"
COMPLEXITY = RESULTS / "complexity"
CURVES = RESULTS / "curves"
SUMMARY = RESULTS / "summary.json"


def stage_name(stage: str, *arguments: object) -> str:
    """As DVC calls it: ``evaluate@DARTS_V2-10-0``, or the bare stage where there are no arguments."""
    return f"{stage}@{'-'.join(map(str, arguments))}" if arguments else stage


class Search(NamedTuple):
    """One search; `key` is SPACE-SEED."""

    space: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.space}-{self.seed}"

    @classmethod
    def of(cls, key: str) -> Self:
        space, seed = _parts(key, r"([^-]+)-(\d+)")
        return cls(space, int(seed))

    def results(self, root: Path = RESULTS) -> Path:
        return root / "search" / self.key

    def genotype(self, seeds: Sequence[int]) -> str:
        """The name of the genotype that it finds: the space's for the first of `seeds`, else SPACE_seed_SEED."""
        return self.space if self.seed == seeds[0] else f"{self.space}_seed_{self.seed}"


class Network(NamedTuple):
    """One evaluated network; `key` is GENOTYPE-LAYERS-SEED."""

    genotype: str
    layers: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.genotype}-{self.layers}-{self.seed}"

    @classmethod
    def of(cls, key: str) -> Self:
        genotype, layers, seed = _parts(key, r"([^-]+)-(\d+)-(\d+)")
        return cls(genotype, int(layers), int(seed))

    def results(self, root: Path = RESULTS) -> Path:
        return root / "evaluate" / self.key

    def gradcam(self, root: Path = RESULTS) -> Path:
        return root / "gradcam" / self.key

    @property
    def model(self) -> Path:
        return MODELS / "evaluate" / f"{self.key}.safetensors"


class Pretrained(NamedTuple):
    """A backbone after DNAL's first phase; `key` is its name."""

    backbone: str

    @property
    def key(self) -> str:
        return self.backbone

    def results(self, root: Path = RESULTS) -> Path:
        return root / "pretrain" / self.key

    @property
    def model(self) -> Path:
        return MODELS / "pretrain" / f"{self.key}.safetensors"


class Slimmed(NamedTuple):
    """A backbone whose widths were learned with one penalty λ; `key` is BACKBONE-PENALTY."""

    backbone: str
    penalty: float

    @property
    def key(self) -> str:
        return f"{self.backbone}-{spelled(self.penalty)}"

    @classmethod
    def of(cls, key: str) -> Self:
        backbone, penalty = _parts(key, r"([^-]+)-(.+)")
        return cls(backbone, number(penalty))

    def results(self, root: Path = RESULTS) -> Path:
        return root / "slim" / self.key

    @property
    def model(self) -> Path:
        return MODELS / "slim" / f"{self.key}.safetensors"


def spelled(value: float) -> str:
    """A number as names hold it: the shortest decimals that read as the same float, always with a point or exponent.

    DVC spells what it reads from params.yaml likewise, if that is a float: `params` refuses a whole number, 0, which
    DVC would spell without the point, and so as another name.
    """
    return repr(float(value))


def number(text: str) -> float:
    """What `spelled` wrote; raises ValueError for another spelling of the same number."""
    value = float(text)
    if spelled(value) != text:
        raise ValueError(f"{text} is spelled {spelled(value)} in names")
    return value


def code_file(stage: str, *arguments: object) -> Path:
    """The fingerprint of a stage's code, which may depend on its first argument: a space, a genotype, a network."""
    named = [stage, str(arguments[0])] if stage in ("search", "evaluate", "gradcam") else [stage]
    return CODE / f"{'/'.join(named)}.json"


def genotype_file(name: str, root: Path = RESULTS) -> Path:
    return root / "genotypes" / f"{name}.json"


class Label(NamedTuple):
    """What a genotype's name says of how it is made from `base`.

    `kind` is "random" (SPACE_random_NUMBER: drawn from the space), "seed" (SPACE_seed_NUMBER: found in it by the search
    with that seed), "all" (GENOTYPE_all_OPERATION: that genotype's cells with one operation on every edge) or "", where
    the name is a published one or a space's. `argument` is the number or the operation.
    """

    base: str
    kind: str = ""
    argument: str = ""

    @classmethod
    def of(cls, name: str) -> Self:
        match = re.fullmatch(r"(?P<base>.+)_(?:(?:random|seed)_(?:0|[1-9]\d*)|all_.+?)", name)
        return cls(match["base"], *name.removeprefix(f"{match['base']}_").split("_", 1)) if match else cls(name)

    @property
    def name(self) -> str:
        return "_".join(part for part in self if part)


def _parts(key: str, pattern: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, key)
    if not match:
        raise ValueError(f"{key} is no key of the form {pattern}")
    return match.groups()
