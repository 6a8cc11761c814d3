"""What the stages leave in results/: a typed record for each kind of file, so that a column's name stands in one place.

A `Metrics` is one mapping in a JSON file, whose numbers `dvc metrics` shows; a `Row` is one of a CSV table. Both write
their file whole, and tell in one line what is wrong with one that they cannot read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import write_json, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

REPRO = "`dvc repro` makes it anew"


def damaged(path: str | Path, error: Exception, remedy: str = REPRO) -> UserError:
    return UserError(f"{path}: is missing or damaged ({reason(error)}); {remedy}")


class Record(BaseModel):
    """Takes every field, of exactly its type, and no other."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Metrics(Record):
    def write(self, path: str | Path) -> None:
        write_json(path, self.model_dump(exclude_none=True))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """What `write` wrote; keys that are no fields are passed over.

        Raises
        ------
        UserError
            If the file is missing or something else.
        """
        try:
            read = json.loads(Path(path).read_text(encoding="utf-8"))
            known = {key: read[key] for key in cls.model_fields if key in read} if isinstance(read, dict) else {}
            return cls.model_validate(known)
        except ValidationError as error:
            raise damaged(path, ValueError(f"it lacks {error.errors()[0]['loc'][0]}")) from None
        except (OSError, ValueError) as error:
            raise damaged(path, error) from None


class Row(Record):
    may_be_empty: ClassVar[bool] = False  # whether a table of it may have no rows

    @classmethod
    def write(cls, path: str | Path, rows: Iterable[Mapping[str, object]]) -> None:
        """Write `rows` under a header line, numbers with their full precision, None as an empty cell."""
        text = io.StringIO()  # and not through pandas, which no stage that trains needs to import
        writer = csv.DictWriter(text, list(cls.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cls.model_validate(row).model_dump() for row in rows)
        write_text(path, text.getvalue())

    @classmethod
    def read(cls, path: str | Path, remedy: str = REPRO) -> DataFrame:
        """What `write` wrote, each column of its field's type; columns that are no fields are passed over.

        Raises
        ------
        UserError
            If the file is missing or something else, or a cell is empty that may not be; it ends with `remedy`.
        """
        try:
            return cls._parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise damaged(path, error, remedy) from None

    @classmethod
    def _parse(cls, text: str) -> DataFrame:
        import pandas as pd

        columns = list(cls.model_fields)
        needed = [name for name, field in cls.model_fields.items() if field.is_required()]
        if not text.endswith("\n"):
            raise ValueError("it ends within a line" if text else "it has no rows")
        table = pd.read_csv(io.StringIO(text), dtype=object, na_values=[""], keep_default_na=False, index_col=False)
        if table.empty and not cls.may_be_empty:
            raise ValueError("it has no rows")
        if not set(columns) <= set(table) or table[needed].isna().any(axis=None):
            raise ValueError(f"not every row has the columns {', '.join(needed)}")
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        of_values = {name: get_args(kind)[0] if get_args(kind) else kind for name, kind in kinds.items()}
        empty = table[columns].isna().any()  # NaN is a float
        return table[columns].astype({name: float if empty[name] else kind for name, kind in of_values.items()})


# search


class Search(Metrics):
    """The supernet after the last epoch, losses and top-1 in percent; of the softmax weights, entropies in nats."""

    train_loss: float
    train_top1: float
    valid_loss: float
    valid_top1: float
    entropy_normal: float
    entropy_reduce: float | None = None  # where there is a reduction cell, as of the skips
    skips_normal: int
    skips_reduce: int | None = None
    device: str
    epoch: int | None = None  # whose α is the result, if that is not the last


class SearchHistory(Row):
    epoch: int
    learning_rate: float
    train_loss: float
    train_top1: float
    valid_loss: float
    valid_top1: float
    entropy_normal: float
    entropy_reduce: float | None = None
    skips_normal: int
    skips_reduce: int | None = None


class MeasuredHistory(SearchHistory):
    """With the dominant eigenvalue of ∇²α L_val."""

    eigenvalue: float


class Drawn(Metrics):
    """In the place of `Search`, where the genotype was drawn at random."""

    skips_normal: int
    skips_reduce: int | None = None


class DrawnHistory(Row):
    """In the place of `SearchHistory`; DVC's plot looks for the column `valid_top1`."""

    epoch: int
    valid_top1: None
    skips_normal: int
    skips_reduce: int | None = None


class Alphas(Row):
    """Softmax weights; an edge is SOURCE-TARGET, numbers of states."""

    epoch: int
    cell: str
    edge: str
    operation: str
    weight: float


# select


class Selection(Metrics):
    """The supernet with every choice made, top-1 in percent; of the genotype, its skip connections."""

    valid_top1: float
    skips_normal: int
    skips_reduce: int | None = None
    device: str


class SelectionHistory(Row):
    """After each round of choices and the tuning that follows."""

    round: int
    valid_top1: float


class Choice(Row):
    """Validation top-1 in percent, and loss, without an operation of an edge, or without an edge of that operation.

    `removed` says which of the two; `chosen` is 1 for the operation that the edge is fixed to, and an edge that stays.
    """

    round: int
    cell: str
    removed: str
    edge: str
    operation: str
    top1: float
    loss: float
    chosen: int


# derive


class CellPreference(Row):
    """How clearly a search's weights speak for an operation, by `nas.analysis.preference`."""

    may_be_empty = True
    genotype: str
    cell: str
    margin: float
    entropy: float
    verdict: str


class OperationPreference(Row):
    """On how many edges of a cell an operation is the strongest and how often it is chosen, and its weights."""

    may_be_empty = True
    genotype: str
    cell: str
    operation: str
    leads: int
    chosen: int
    weight_mean: float
    weight_max: float


class Repeatability(Row):
    """Whether searches of a space that differ by their seed alone agree."""

    may_be_empty = True
    space: str
    algorithm: str
    cell: str
    agreement: float
    chance: float
    p_value: float
    verdict: str


class TruthMetrics(Metrics):
    """Of all genotypes of a space, or of the sample, and all recipes and seeds; top-1 of the test images in percent.

    `distinct` of the `genotypes` are different networks; `space` has so many genotypes; `best_top1` is the best mean
    over the seeds by one recipe, which `best` has by `best_recipe`.
    """

    space: int
    genotypes: int
    distinct: int
    best: str
    best_recipe: str
    best_top1: float
    mean_top1: float
    worst_top1: float
    device: str


class GroundTruth(Row):
    """A network of its own, genotypes as `nas.space.enumerate.spell` spells them; cost as in `NetworkCost`."""

    genotype: str
    recipe: str
    seed: int
    top1: float
    params: int
    macs: int


class Alias(Row):
    """A genotype, and the one of `GroundTruth` that is the same network."""

    genotype: str
    trained_as: str


class TruthHistory(Row):
    genotype: str
    recipe: str
    seed: int
    epoch: int
    learning_rate: float
    train_loss: float
    train_top1: float
    test_loss: float
    test_top1: float
    test_top5: float


# evaluate, pretrain, slim


class Evaluation(Metrics):
    """On the test images after the last epoch, in percent; if classes are uneven, of each too, and these' mean."""

    top1: float
    top5: float
    loss: float
    device: str
    balanced_top1: float | None = None
    class_top1: dict[str, float] | None = None


class Pretraining(Evaluation):
    """With what the network costs."""

    params: int
    conv_macs: int


class Slimming(Pretraining):
    """With how many times that the whole network costs; and both by the paper's count (`nas.dnal.published_count`)."""

    params_ratio: float
    conv_macs_ratio: float
    paper_params: int
    paper_macs: int
    paper_params_ratio: float
    paper_macs_ratio: float


class History(Row):
    epoch: int
    learning_rate: float
    train_loss: float
    train_top1: float
    test_loss: float
    test_top1: float
    test_top5: float


class Channels(Row):
    """How many channels a gate lets pass."""

    layer: str
    channels: int
    kept: int


class Gates(Row):
    """How many gate values lay in each of the equal parts of [0, 1] after an epoch; none of the dense network."""

    may_be_empty = True
    epoch: int
    scale: float
    bin: int
    count: int


class ProxyScore(Row):
    """What a network that was never trained is expected to be worth, by one of `nas.analysis.proxies`."""

    genotype: str
    proxy: str
    score: float


class Opinion(Row):
    """What a search's supernet thinks of a genotype: its validation top-1 in percent with that genotype's mixture."""

    search: str
    genotype: str
    top1: float


# export, latency


class Exporting(Metrics):
    """How far exported files are from the network, how large they are, and what they score on the test images.

    `max_relative_error` is of the logits, to the largest; top-1 is in percent, by ONNX Runtime. There is
    nothing of int8 where it was not asked for; `in_float` are the operations that it leaves in float32, by type.
    """

    max_relative_error: float
    top1: float
    onnx_bytes: int
    program_bytes: int
    int8_top1: float | None = None
    int8_bytes: int | None = None
    in_float: dict[str, int] | None = None
    device: str


class Latency(Row):
    """Milliseconds for a batch on CPU threads: median and quartiles of so many `repeats`.

    `form` is eager, onnx or int8; the image is CHANNELSxHEIGHTxWIDTH; macs as `nas.networks.complexity`, of one image.
    """

    may_be_empty = True
    network: str
    form: str
    image: str
    macs: int
    batch: int
    threads: int
    lower: float
    median: float
    upper: float
    repeats: int


class Machine(Metrics):
    """What latencies were measured on."""

    processor: str
    cores: int
    instructions: str
    torch: str
    onnxruntime: str


# complexity


class NetworkCost(Row):
    """`table` is evaluated or pibconv_table_1; the image is CHANNELSxHEIGHTxWIDTH; as `nas.networks.complexity`."""

    table: str
    genotype: str
    layers: int
    channels: int
    image: str
    params: int
    macs: int
    conv_macs: int


class BlockCost(Row):
    """The weights of a block of convolutions, as built and as the paper's equation says."""

    operation: str
    expansion: float
    kernel: int
    channels: int
    weights: int
    equation: float


# report


class NetworkSummary(Record):
    """Top-1 of the test images in percent, the mean over the seeds, and the cost as in `NetworkCost`."""

    top1: float
    params: int
    macs: int


class SlimmedSummary(Record):
    top1: float
    params: int
    conv_macs: int


class Summary(Metrics):
    """What `dvc metrics` shows of a run: networks by GENOTYPE-LAYERS, slimmed ones by BACKBONE-PENALTY."""

    networks: dict[str, NetworkSummary]
    slimmed: dict[str, SlimmedSummary]


class Curve(Row):
    """Top-1 in percent after each epoch of a run: of validation in a search, else of the test images."""

    may_be_empty = True
    run: str
    epoch: int
    top1: float


# gradcam


class GradCam(Metrics):
    """Mean softmax probability of the images' own classes, and what it loses; see `nas.analysis.gradcam`."""

    confidence: float
    drop: float
    other_drop: float
    random_drop: float
    images: int
    device: str


class Prediction(Row):
    """What a network takes the image of a class for, and with which softmax probability."""

    true_class: str
    predicted_class: str
    confidence: float
