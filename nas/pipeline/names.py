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
TABLES = Path("tables")  # of what others trained
CODE = RESULTS / "code"
GENOTYPES = RESULTS / "genotypes"
DRAWINGS = RESULTS / "cells"
PREFERENCE = RESULTS / "preference"
COMPLEXITY = RESULTS / "complexity"
CURVES = RESULTS / "curves"
LATENCY = RESULTS / "latency"
CARDS = RESULTS / "cards"
ONNX, INT8, PROGRAM, WEIGHTS = "network.onnx", "int8.onnx", "network.pt2", "network.safetensors"  # of an export
SUMMARY = RESULTS / "summary.json"


def stage_name(stage: str, *arguments: object) -> str:
    """As DVC calls it: ``evaluate@DARTS_V2-10-0``, or the bare stage where there are no arguments."""
    return f"{stage}@{'-'.join(map(str, arguments))}" if arguments else stage


class Search(NamedTuple):
    """One search; `key` is SPACE-ALGORITHM-SEED."""

    space: str
    algorithm: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.space}-{self.algorithm}-{self.seed}"

    @classmethod
    def of(cls, key: str) -> Self:
        space, algorithm, seed = _parts(key, r"([^-]+)-([^-]+)-(\d+)")
        return cls(space, algorithm, int(seed))

    def results(self, root: Path = RESULTS) -> Path:
        return root / "search" / self.key

    def opinions(self, root: Path = RESULTS) -> Path:
        return truth_folder(self.space, root) / "opinions" / f"{self.key}.csv"

    def selection(self, root: Path = RESULTS) -> Path:
        return root / "select" / self.key

    def genotype(self, algorithms: Sequence[str], seeds: Sequence[int]) -> str:
        """The name of the genotype that it finds: the space's, _by_ALGORITHM and _seed_SEED but for the first ones."""
        by = "" if self.algorithm == algorithms[0] else f"_by_{self.algorithm}"
        return f"{self.space}{by}" if self.seed == seeds[0] else f"{self.space}{by}_seed_{self.seed}"


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


class Exported(NamedTuple):
    """A network in the form in which others run it; `key` is that of the evaluated or slimmed network."""

    key: str

    @property
    def source(self) -> Network | Slimmed:
        """The network that is exported."""
        try:
            return Network.of(self.key)
        except ValueError:
            return Slimmed.of(self.key)

    def results(self, root: Path = RESULTS) -> Path:
        return root / "export" / self.key

    def card(self, root: Path = RESULTS) -> Path:
        return root / CARDS.name / f"{self.key}.md"

    @property
    def folder(self) -> Path:
        return MODELS / "export" / self.key

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def onnx(self) -> Path:
        return self.folder / ONNX

    @property
    def int8(self) -> Path:
        return self.folder / INT8

    @property
    def program(self) -> Path:
        return self.folder / PROGRAM


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
    """The fingerprint of a stage's code, which may depend on its arguments: a space and an algorithm, a genotype, …."""
    heeded = {"search": 2, "opinions": 2}.get(stage, stage in ("truth", "select", "evaluate", "gradcam", "export"))
    named = "-".join(map(str, arguments[:heeded]))
    return CODE / (f"{stage}/{named}.json" if named else f"{stage}.json")


def genotype_file(name: str, root: Path = RESULTS) -> Path:
    return root / "genotypes" / f"{name}.json"


def truth_folder(space: str, root: Path = RESULTS) -> Path:
    return root / "truth" / space


class Label(NamedTuple):
    """What the last part of a genotype's name says of how it is made from `base`, which is a name too.

    `kind` is, with its `argument`:

    - "random": SPACE_random_NUMBER, drawn from the space;
    - "by" and "seed": SPACE_by_ALGORITHM_seed_NUMBER, found by that algorithm with that seed;
    - "epoch" and "skips": FOUND_epoch_NUMBER, FOUND_skips_NUMBER, what the search that found it stood for after that
      epoch, or with at most so many skip connections in the normal cell;
    - "perturbed": FOUND_perturbed, selected from the supernet of the search that found it, by what it misses most;
    - "all": GENOTYPE_all_OPERATION, that genotype's cells with one operation on every edge;
    - "" for a published name or a space's.
    """

    base: str
    kind: str = ""
    argument: str = ""

    @classmethod
    def of(cls, name: str) -> Self:
        number, text = r"(?:random|seed|epoch|skips)_(?:0|[1-9]\d*)", r"(?:all|by)_.+?"
        match = re.fullmatch(rf"(?P<base>.+)_(?:{number}|{text}|perturbed)", name)
        return cls(match["base"], *name.removeprefix(f"{match['base']}_").split("_", 1)) if match else cls(name)

    @property
    def name(self) -> str:
        return "_".join(part for part in self if part)

    @property
    def root(self) -> str:
        """The published name or the space that it all begins with."""
        return Label.of(self.base).root if self.kind else self.base


def selection(name: str) -> tuple[str, list[tuple[str, int]]]:
    """A genotype's name without what its end says of a selection, and that: ("epoch" or "skips", number), …."""
    label, asked = Label.of(name), []
    while label.kind in ("epoch", "skips"):
        asked.append((label.kind, int(label.argument)))
        name, label = label.base, Label.of(label.base)
    return name, asked


def _parts(key: str, pattern: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, key)
    if not match:
        raise ValueError(f"{key} is no key of the form {pattern}")
    return match.groups()
