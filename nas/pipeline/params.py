"""What params.yaml may say: typed, checked whole, and read nowhere else.

`python -m nas check` checks the file and prints it; `python -m nas preset NAME` writes it anew.
Nothing here imports torch, so a mistake is told at once.
"""

import re
import subprocess
import unicodedata
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from nas.data.readers import READERS
from nas.pipeline import dvc_yaml
from nas.pipeline.errors import UserError, nearest, unknown
from nas.pipeline.files import write_text
from nas.pipeline.names import DATA, OWN_GENOTYPES, TABLES, Exported, Label, Network, Slimmed, selection, spelled
from nas.pipeline.names import Search as Searched
from nas.space import bench201, operations
from nas.space.enumerate import Enumeration
from nas.space.notation import own, read
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES, SearchSpace, find

PATH = Path("params.yaml")
PRESETS = Path("presets")
# Mappings that an overlay replaces whole: a network takes no other's recipe, and a preset has its own spaces
REPLACED = ("truth.recipes", "pretrain", "slim.recipes", "spaces")
OWN_NAME = re.compile(r"[A-Za-z_]\w*")
TABLE_NAME = re.compile(r"\w[\w.-]*\.(csv|parquet)")


def _known_operation(name: str) -> str:
    operations.family_of(name)
    return name


def _not_none_alone(names: list[str]) -> list[str]:
    if names == ["none"]:
        raise ValueError("is not allowed: name an operation other than none too")
    return names


def _is_own_name(name: str) -> bool:
    """Whether what the user adds may be called so: names of genotypes that are made from it must tell it."""
    return bool(OWN_NAME.fullmatch(name)) and not Label.of(name).kind


def _distinct(values: list[Any]) -> list[Any]:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"names {twice[0]} twice: name each once")
    return values


def _composed(names: list[str]) -> list[str]:
    """In Unicode's composed form, in which `prepare` has the names of classes: "ü" is one character or two."""
    return [unicodedata.normalize("NFC", name) for name in names]


def _spelled_out(path: str) -> str:
    if path.startswith("~"):
        raise ValueError("is not allowed: write the folder's path without ~, which DVC does not know")
    if DATA.resolve().is_relative_to(Path(path).resolve()):
        raise ValueError(
            f"is not allowed: {DATA}, which the pipeline writes, would lie in it; name a folder beside that"
        )
    return path


def _with_a_point(value: Any) -> Any:
    """DVC spells a number in names as params.yaml does: 0 and 0.0 would be two names, of which results have one."""
    if (isinstance(value, int) and not isinstance(value, bool)) or str(value) == "-0.0":
        raise ValueError(f"is not allowed: write {spelled(abs(value) if value == 0 else value)}, as names spell it")
    return value


def _two(values: list[Any]) -> list[Any]:
    if len(values) != 2:
        raise ValueError("must be a list of two numbers: [0.5, 0.999]")
    return values


OPERATIONS = tuple(name for name in operations.names() if name != "none")

# Those of nas.dnal.backbones, which is known only when torch is
BACKBONES = ("vgg16_cifar", "resnet56", "mobilenet_v2_cifar", "vgg16_bn", "resnet50", "mobilenet_v2", "proxylessnas")

LARGEST = 2**31 - 1  # what every library underneath takes
LARGEST_FLOAT = 3.402823e38  # in float32

Count = Annotated[int, Field(ge=1, le=LARGEST)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_FLOAT, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST_FLOAT, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Backbone = Literal[BACKBONES]
Penalty = Annotated[float, Field(ge=0, le=LARGEST_FLOAT, allow_inf_nan=False), BeforeValidator(_with_a_point)]


def _list_of(kind: Any, minimum: int = 0) -> Any:
    return Annotated[list[kind], Field(min_length=minimum), AfterValidator(_distinct)]


class Section(BaseModel):
    """A mapping of params.yaml: every key must be there, of exactly its type, and no other."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    name: Literal[tuple(READERS)]
    root: Annotated[str, Field(min_length=1), AfterValidator(_spelled_out)]
    image_size: Count | None
    test_resize: Count | None
    train_limit: Annotated[int, Field(ge=4, le=LARGEST)] | None  # two images for each half of the search
    test_limit: Count | None
    stream: bool

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.stream and self.name != "folder":
            raise ValueError(f"stream: true is not allowed: must be false for {self.name}; folder alone streams")
        if self.test_resize is not None and self.image_size is None:
            raise ValueError(
                f"test_resize: {self.test_resize} is not allowed: it needs image_size, which is cut out of it"
            )
        if self.test_resize is not None and self.image_size is not None and self.test_resize < self.image_size:
            raise ValueError(
                f"test_resize: {self.test_resize} is not allowed: must be at least image_size ({self.image_size}), "
                "which is cut out of it"
            )
        return self


class Training(Section):
    """How weights are trained, in every stage alike."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2, le=LARGEST)]
    learning_rate: Positive
    momentum: Fraction
    weight_decay: NonNegative
    gradient_clip: Positive | None
    resized_crop: Share | None
    crop_padding: Natural
    flip: bool
    cutout: Natural


class CellTraining(Training):
    """Of networks made of cells: the learning rate falls by a cosine."""

    learning_rate_min: NonNegative
    stem: Literal["cifar", "imagenet"]

    @model_validator(mode="after")
    def _annealed(self) -> Self:
        if self.learning_rate_min > self.learning_rate:
            raise ValueError(
                f"learning_rate_min: {self.learning_rate_min} is not allowed: "
                f"must not exceed learning_rate ({self.learning_rate})"
            )
        return self


class Gdas(Section):
    tau: Positive
    tau_min: Positive

    @model_validator(mode="after")
    def _cooled(self) -> Self:
        if self.tau_min > self.tau:
            raise ValueError(f"tau_min: {self.tau_min} is not allowed: must not exceed tau ({self.tau})")
        return self


class Snas(Gdas): ...


class DrNas(Section):
    alone: Natural
    share: Count


class FairDarts(Section):
    zero_one: NonNegative


class PcDarts(Section):
    partial: Count
    warm_up: Natural


class SmoothDarts(Section):
    epsilon: NonNegative
    epsilon_min: NonNegative
    attack_steps: Natural

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.epsilon_min > self.epsilon:
            raise ValueError(
                f"epsilon_min: {self.epsilon_min} is not allowed: must not exceed epsilon ({self.epsilon})"
            )
        return self


class DartsMinus(Section):
    beta: NonNegative


class DartsPlus(Section):
    stop_skips: Count
    stop_from: Count


class RDarts(Section):
    window: Count
    least_ratio: Positive
    watch_from: Count


class Oles(Section):
    count: Count
    patience: Fraction


class Algorithms(Section):
    """Each algorithm's own parameters, of those that have any."""

    gdas: Gdas
    snas: Snas
    drnas: DrNas
    fair_darts: FairDarts
    pc_darts: PcDarts
    smooth_darts: SmoothDarts
    darts_minus: DartsMinus
    darts_plus: DartsPlus
    r_darts: RDarts
    oles: Oles

    def of(self, name: str) -> dict[str, Any]:
        """The own parameters of an algorithm, which may be several joined by +."""
        sections = [getattr(self, part) for part in name.split("+") if part in type(self).model_fields]
        return {key: value for section in sections for key, value in section.model_dump().items()}


# Each is a file, nas/search/NAME.py; of those that say how operations are mixed, or how α's gradient comes about, an
# algorithm can have one, and any of the others added to it: smooth_darts+darts_minus.
MIXING = ("darts", "darts_second", "gdas", "snas", "drnas", "fair_darts")
ADDED = ("pc_darts", "smooth_darts", "darts_minus", "darts_plus", "r_darts", "oles")
# What cannot be added to an algorithm: gdas computes one operation an edge, drnas has partial channels of its own, the
# weights of fair_darts are no shares, oles has its own gradient, of first order, and compares two of one mixture.
APART = {
    "gdas": ("pc_darts", "smooth_darts", "darts_minus", "r_darts", "oles"),
    "darts_second": ("oles",),
    "snas": ("oles",),
    "drnas": ("pc_darts", "oles"),
    "fair_darts": ("pc_darts",),
}
RANDOM = "random"  # a genotype drawn from the space, without a search
# What leaves no supernet that selection by perturbation can ask, and why
UNASKED = {
    RANDOM: "trains no supernet",
    "gdas": "validates one operation an edge, without which nothing is left",
    "snas": "validates one operation an edge, without which nothing is left",
    "pc_darts": "lets channels pass by with its operations' weight, so that removing one would dim them too",
}


def _known_algorithm(name: str) -> str:
    parts = name.split("+")
    for part in parts:
        if part not in (known := (*MIXING, *ADDED, RANDOM)):
            raise UserError(unknown("algorithm", part, known))
    if len(parts) > 1 and RANDOM in parts:
        raise ValueError(f"is not allowed: {RANDOM} stands alone")
    if len(set(parts)) < len(parts):
        raise ValueError("is not allowed: it names one algorithm twice")
    if len(mixing := [part for part in parts if part in MIXING]) > 1:
        raise ValueError(f"is not allowed: {' and '.join(mixing)} do not go together, each mixes in its own way")
    for base, others in APART.items():
        if base in parts and (refused := [part for part in parts if part in others]):
            raise ValueError(f"is not allowed: {refused[0]} cannot be added to {base}")
    return name


class Search(CellTraining):
    spaces: _list_of(str)
    algorithms: _list_of(Annotated[str, AfterValidator(_known_algorithm)], minimum=1)
    seeds: _list_of(Natural, minimum=1)
    recompute: bool
    channels: Count
    layers: Annotated[int, Field(ge=3, le=LARGEST)]  # two are reduction cells
    nodes: Count
    nesterov: bool
    alpha_learning_rate: Positive
    alpha_betas: Annotated[list[Fraction], AfterValidator(_two)]
    alpha_weight_decay: NonNegative

    @model_validator(mode="after")
    def _nesterov(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: true is not allowed: it needs a momentum above 0")
        if self.nesterov and any("darts_second" in name.split("+") for name in self.algorithms):
            raise ValueError("nesterov: true is not allowed: darts_second looks ahead by the usual momentum")
        return self

    def searches(self) -> list[Searched]:
        """Every search that the lists span."""
        return [Searched(*each) for each in product(self.spaces, self.algorithms, self.seeds)]

    def found(self) -> dict[str, Searched]:
        """Each search by the name of the genotype that it finds."""
        return {searched.genotype(self.algorithms, self.seeds): searched for searched in self.searches()}


class Truth(Section):
    """Every genotype of a space, trained by each recipe."""

    spaces: _list_of(str)
    source: str | None
    layers: Count
    channels: Count
    seeds: _list_of(Natural, minimum=1)
    sample: Count | None
    together: Count
    recipes: Annotated[dict[str, CellTraining], Field(min_length=1)]
    opinions: _list_of(str)

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name in self.recipes:
            if not OWN_NAME.fullmatch(name):
                raise ValueError(f"recipes.{name}: is no name of a recipe: letters, digits and _")
        if self.source is not None and len(self.spaces) != 1:
            raise ValueError(f"source: {self.source} is the truth of one space, but spaces lists {len(self.spaces)}")
        if self.source is not None and not TABLE_NAME.fullmatch(self.source):
            raise ValueError(
                f"source: {self.source} is not allowed: must be the name of a .csv or .parquet in {TABLES}/"
            )
        return self


class Select(Section):
    searches: _list_of(str)
    tune_epochs: Natural
    batches: Count | None


class Evaluate(CellTraining):
    genotypes: _list_of(str)
    layers: _list_of(Count)
    seeds: _list_of(Natural)
    channels: Count
    auxiliary: NonNegative
    drop_path: Fraction

    def networks(self) -> list[Network]:
        """Every network that the lists span."""
        return [Network(g, n, s) for g in self.genotypes for n in self.layers for s in self.seeds]


class Pretrain(Training):
    """DNAL's first phase of one network, whose recipe the third goes on with."""

    width: Positive
    cosine_epochs: Count | None

    @model_validator(mode="after")
    def _annealed(self) -> Self:
        if self.cosine_epochs is not None and self.cosine_epochs < self.epochs:
            raise ValueError(
                f"cosine_epochs: {self.cosine_epochs} is not allowed: must be at least epochs ({self.epochs})"
            )
        return self


class SlimRecipe(Section):
    """DNAL's second and third phase of one network."""

    gate_epochs: Count
    gate_learning_rate: Positive
    gate_momentum: Fraction
    epochs: Count
    milestones: _list_of(Count)
    cosine_start: Natural | None

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.milestones and self.cosine_start is not None:
            raise ValueError(
                f"cosine_start: {self.cosine_start} is not allowed: must be null with milestones, or milestones empty"
            )
        return self


class Slim(Section):
    models: _list_of(Backbone)
    penalties: _list_of(Penalty)
    recipes: dict[Backbone, SlimRecipe]

    def networks(self) -> list[Slimmed]:
        """Every slimmed network that the lists span."""
        return [Slimmed(model, penalty) for model in self.models for penalty in self.penalties]


class GradCam(Section):
    networks: _list_of(str)
    method: Literal["GradCAM", "GradCAM++", "HiResCAM", "ScoreCAM", "EigenCAM", "LayerCAM"]
    classes: Annotated[_list_of(str, minimum=1), AfterValidator(_composed)]
    index: Natural
    removed: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    images: Count | None


class Export(Section):
    networks: _list_of(str)
    slimmed: _list_of(str)
    calibration: Count | None
    licence: Annotated[str, Field(min_length=1)] | None

    def exported(self) -> list[Exported]:
        """Every network that is exported."""
        return [Exported(key) for key in [*self.networks, *self.slimmed]]


class Latency(Section):
    networks: _list_of(str)
    published: _list_of(str)
    batches: _list_of(Count, minimum=1)
    repeats: Count


OwnSpace = Annotated[
    _list_of(Annotated[str, AfterValidator(_known_operation)], minimum=1), AfterValidator(_not_none_alone)
]


class Params(Section):
    """The whole of params.yaml."""

    seed: Natural
    threads: Annotated[int, Field(ge=1, le=1024)]
    device: Literal["auto", "cpu", "cuda"]
    devices: Annotated[int, Field(ge=1, le=1024)]
    nodes: Annotated[int, Field(ge=1, le=1024)]
    precision: Literal[32, "bf16"]
    fast: Literal["auto", "graph", "off"]
    data: Data
    spaces: dict[str, OwnSpace]
    search: Search
    algorithms: Algorithms
    truth: Truth
    select: Select
    evaluate: Evaluate
    pretrain: dict[Backbone, Pretrain]
    slim: Slim
    gradcam: GradCam
    export: Export
    latency: Latency

    def trainings(self) -> dict[str, Training]:
        """Every section that says how weights are trained, by its key."""
        named: dict[str, Training] = {f"truth.recipes.{name}": recipe for name, recipe in self.truth.recipes.items()}
        named |= {f"pretrain.{model}": recipe for model, recipe in self.pretrain.items()}
        return {"search": self.search, "evaluate": self.evaluate} | named

    def known_spaces(self) -> dict[str, SearchSpace]:
        """The library's spaces and the user's own, by name."""
        return SPACES | {name: SearchSpace(name, tuple(names)) for name, names in self.spaces.items()}

    def space(self, name: str) -> SearchSpace:
        """The space of that name; raises UserError if there is none."""
        return find(name, self.known_spaces())

    @model_validator(mode="after")
    def _spaces(self) -> Self:
        for name in self.spaces:
            if not _is_own_name(name):
                raise ValueError(
                    f"spaces.{name}: is no name of a space: letters, digits and _, without _random_, _all_ …"
                )
            if name in PUBLISHED or name in SPACES:
                raise ValueError(f"spaces.{name}: is a space of the library or a published genotype; name it otherwise")
        for i, name in enumerate(self.search.spaces):
            try:
                space = self.space(name)
            except UserError as error:
                raise ValueError(f"search.spaces[{i}]: {error}") from None
            try:
                space.of_edges("normal", self.search.nodes)
            except UserError as error:
                raise ValueError(f"search.{error}") from None
        return self

    @model_validator(mode="after")
    def _bench201(self) -> Self:
        """What NAS-Bench-201's network asks of the sections that build one."""
        evaluated = [name for name in self.evaluate.genotypes if self._of_bench201(name)]
        for section, names, all_layers in (
            ("search", [name for name in self.search.spaces if self._of_bench201(name)], [self.search.layers]),
            ("evaluate", evaluated, self.evaluate.layers),
        ):
            for layers in all_layers if names else ():
                try:
                    bench201.cells_of(layers, getattr(self, section).stem)
                except UserError as error:
                    raise ValueError(f"{section}.{error} ({names[0]})") from None
        for key in ("auxiliary", "drop_path") if evaluated else ():
            if value := getattr(self.evaluate, key):
                raise ValueError(
                    f"evaluate.{key}: {value} is not allowed: must be 0.0 for NAS-Bench-201's network ({evaluated[0]})"
                )
        return self

    def _of_bench201(self, genotype: str) -> bool:
        """Whether the genotype of that name, or the space, has NAS-Bench-201's cell."""
        root, files = Label.of(genotype).root, own(OWN_GENOTYPES)
        if root in files:
            return isinstance(read(files[root]), bench201.Bench201Genotype)
        return root in self.known_spaces() and self.space(root).is_bench201

    @model_validator(mode="after")
    def _true(self) -> Self:
        for i, name in enumerate(self.truth.spaces):
            try:
                if self.truth.source is None:
                    Enumeration(self.space(name), self.search.nodes).check(self.truth.sample)
                elif not self.space(name).is_bench201:
                    Enumeration(self.space(name), self.search.nodes)
            except UserError as error:
                raise ValueError(f"truth.spaces[{i}]: {error}") from None
            if self.truth.opinions and name not in self.search.spaces:
                told = "truth.opinions asks the supernets of its searches: add it to search.spaces"
                raise ValueError(f"truth.spaces[{i}]: {name} is searched by nothing, but {told}")
        asked = [algorithm for algorithm in self.search.algorithms if algorithm != RANDOM]
        for i, name in enumerate(self.truth.opinions):
            if name not in asked:
                raise ValueError(f"truth.opinions[{i}]: {unknown('algorithm', name, asked)}")
        if self.truth.spaces and self.devices * self.nodes > 1:
            raise ValueError(
                f"truth.spaces: {', '.join(self.truth.spaces)} is not allowed: must be empty with devices or nodes "
                "above 1, as its networks are trained by one process"
            )
        return self

    @model_validator(mode="after")
    def _shared(self) -> Self:
        for section, training in self.trainings().items():
            size, processes = training.batch_size, self.devices * self.nodes
            if size < processes:
                raise ValueError(
                    f"{section}.batch_size: {size} is not allowed: must be at least devices · nodes ({processes}), "
                    "which share each batch"
                )
        return self

    @model_validator(mode="after")
    def _crops(self) -> Self:
        for section, training in self.trainings().items():
            if training.resized_crop and training.crop_padding:
                raise ValueError(
                    f"{section}.crop_padding: {training.crop_padding} is not allowed: must be 0 with resized_crop, "
                    "which crops in its place"
                )
            if training.resized_crop and not (self.data.stream and self.data.image_size):
                raise ValueError(
                    f"{section}.resized_crop: {training.resized_crop} is not allowed: it needs images streamed from a "
                    "folder (data.stream: true) and data.image_size"
                )
        return self

    def recipes(self, model: str) -> tuple[Pretrain, SlimRecipe]:
        """DNAL's recipes of one network; raises UserError if it has none."""
        if model not in BACKBONES:
            raise UserError(unknown("backbone", model, BACKBONES))
        for key, recipes in (("pretrain", self.pretrain), ("slim.recipes", self.slim.recipes)):
            if model not in recipes:
                raise UserError(f"{model} has no recipe: write {key}.{model}, as presets/dnal_cifar10.yaml does")
        return self.pretrain[model], self.slim.recipes[model]

    @model_validator(mode="after")
    def _slimmed(self) -> Self:
        for i, model in enumerate(self.slim.models):
            try:
                self.recipes(model)
            except UserError as error:
                raise ValueError(f"slim.models[{i}]: {error}") from None
        return self

    @model_validator(mode="after")
    def _selected(self) -> Self:
        searches = {searched.key: searched for searched in self.search.searches()}
        for i, key in enumerate(self.select.searches):
            if key not in searches:
                raise ValueError(f"select.searches[{i}]: {unknown('search', key, searches)}")
            for part in searches[key].algorithm.split("+"):
                if part in UNASKED:
                    raise ValueError(f"select.searches[{i}]: {key} is not allowed: {part} {UNASKED[part]}")
        return self

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name, path in own(OWN_GENOTYPES).items():
            if not _is_own_name(name):
                raise UserError(f"{path}: is no name of a genotype: letters, digits and _, without _random_, _all_ …")
            if name in PUBLISHED or name in self.known_spaces():
                raise UserError(f"{path}: {name} is a published genotype or a space; give it another name")
            for operation in sorted(read(path).operations()) if name in self.evaluate.genotypes else ():
                if operation not in operations.names():
                    raise UserError(f"{path}: {unknown('operation', operation, OPERATIONS)}")
        for i, name in enumerate(self.evaluate.genotypes):
            if trouble := self._unknown(name):
                raise ValueError(f"evaluate.genotypes[{i}]: {trouble}")
        networks = [network.key for network in self.evaluate.networks()]
        for i, name in enumerate(self.gradcam.networks):
            if name not in networks:
                raise ValueError(f"gradcam.networks[{i}]: {unknown('network', name, networks)}")
        return self

    @model_validator(mode="after")
    def _exported(self) -> Self:
        evaluated = [network.key for network in self.evaluate.networks()]
        slimmed = [network.key for network in self.slim.networks()]
        exported = [network.key for network in self.export.exported()]
        for key, names, known in (
            ("export.networks", self.export.networks, evaluated),
            ("export.slimmed", self.export.slimmed, slimmed),
            ("latency.networks", self.latency.networks, exported),
        ):
            for i, name in enumerate(names):
                if name not in known:
                    raise ValueError(f"{key}[{i}]: {unknown('network', name, known)}")
        for i, name in enumerate(self.latency.published):
            genotype, _, layers = name.rpartition("-")
            if genotype not in PUBLISHED or not re.fullmatch(r"[1-9]\d{0,3}", layers):
                allowed = f"must be GENOTYPE-LAYERS, of {', '.join(PUBLISHED)}"
                raise ValueError(f"latency.published[{i}]: {name} is not allowed: {allowed}")
        return self

    def timed_genotypes(self) -> list[str]:
        """The genotypes whose networks' latency is measured."""
        sources = [Exported(key).source for key in self.latency.networks]
        published = [name.rpartition("-")[0] for name in self.latency.published]
        return [source.genotype for source in sources if isinstance(source, Network)] + published

    def _unknown(self, genotype: str) -> str | None:
        """Why there will be no genotype of that name; None if there will."""
        label, found, spaces = Label.of(genotype), self.search.found(), self.known_spaces()
        known = [*PUBLISHED, *found, *own(OWN_GENOTYPES)]
        if genotype in known:
            return None
        if label.kind == "random" and label.base in spaces:
            wanted = spaces[label.base].nodes or self.search.nodes
            return (
                None
                if wanted == self.search.nodes
                else f"{genotype}: needs search.nodes: {wanted}, as {label.base} has"
            )
        if label.kind == "all":
            if label.argument not in OPERATIONS:
                return f"{genotype}: {unknown('operation', label.argument, OPERATIONS)}"
            if self._of_bench201(label.base) and label.argument not in bench201.OPERATIONS:
                return f"{genotype}: {unknown('operation', label.argument, bench201.OPERATIONS)}"
            return self._unknown(label.base)
        if label.kind in ("epoch", "skips"):
            return self._unselected(genotype)
        if label.kind == "perturbed":
            return self._unperturbed(genotype, label.base)
        if label.root in spaces and label.kind != "random":
            return self._unsearched(genotype, label)
        random = [f"{space}_random_0" for space in self.search.spaces]
        return unknown("genotype", genotype, known + random)

    def _unselected(self, genotype: str) -> str | None:
        """Why nothing can be selected so; None if it can: at an epoch, with at most so many skips, of a search."""
        name, asked = selection(genotype)
        for i, (kind, _) in enumerate(asked):
            if kind in dict(asked[:i]):
                return f"{genotype}: names {kind} twice"
        if trouble := self._unasked(genotype, name):
            return trouble
        if dict(asked).get("epoch", 0) > self.search.epochs:
            return f"{genotype}: the search has {self.search.epochs} epochs"
        return None

    def _unperturbed(self, genotype: str, name: str) -> str | None:
        """Why no genotype is selected by perturbation from the search that finds `name`; None if there is one."""
        if trouble := self._unasked(genotype, name):
            return trouble
        key = self.search.found()[name].key
        if key not in self.select.searches:
            return f"{genotype} is a genotype that nothing selects: add {key} to select.searches"
        return None

    def _unasked(self, genotype: str, name: str) -> str | None:
        """Why `genotype` cannot be selected from what finds `name`; None if that is a search that trains something."""
        if trouble := self._unknown(name):
            return trouble
        searched = self.search.found().get(name)
        if searched is None or searched.algorithm == RANDOM:
            return f"{genotype}: {name} comes of no search that left anything to select from"
        return None

    def _unsearched(self, genotype: str, label: Label) -> str:
        """What must be added for a search to find `genotype`, or what it is called."""
        s, by, seed = self.search, "", label.argument if label.kind == "seed" else ""
        while label.kind:
            by = label.argument if label.kind == "by" else by
            label = Label.of(label.base)
        if label.root not in s.spaces:
            return f"{label.root} is a space that no search runs in: add it to search.spaces"
        if by and by not in s.algorithms:
            return f"{genotype} is a genotype that no search finds: add {by} to search.algorithms"
        if seed and int(seed) not in s.seeds:
            return f"{genotype} is a genotype that no search finds: add {seed} to search.seeds"
        searched = Searched(label.root, by or s.algorithms[0], int(seed) if seed else s.seeds[0])
        return f"{genotype} is a genotype that no search finds: it is called {searched.genotype(s.algorithms, s.seeds)}"


def selected_from(genotype: str) -> str:
    """The name without what it says of a selection: _epoch_NUMBER, _skips_NUMBER, _perturbed."""
    label = Label.of(genotype)
    return selected_from(label.base) if label.kind in ("epoch", "skips", "perturbed") else genotype


def load(path: str | Path = PATH) -> Params:
    """Read and check a parameter file.

    Raises
    ------
    UserError
        In one line: the key, its value, what is allowed and, for a name, the nearest known one.
    """
    try:
        return check(dvc_yaml.read(Path(path)), path)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None


def check(tree: object, source: str | Path = PATH) -> Params:
    """Turn a tree of mappings into `Params`; raises UserError like `load`, naming `source`."""
    if tree is None:
        raise UserError(f"{source}: is empty; presets/default.yaml shows what it must hold")
    if not isinstance(tree, dict):
        raise UserError(f"{source}: must hold sections of keys, as presets/default.yaml does, not {_shown(tree)}")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        # A misspelled key is unknown and its right spelling missing: the first says more.
        no_key = ("extra_forbidden", "invalid_key")
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] not in no_key)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(" ".join(f"{source}: {_explain(found[0])}{more}".split())) from None


_MESSAGES = {
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text (in quotes if it looks like a number)",
    "list_type": "must be a list: [a, b]",
    "model_type": "must be a section of keys",
    "model_attributes_type": "must be a section of keys",
    "dict_type": "must be a section of keys",
    "greater_than_equal": "must be at least {ge:.12g}",
    "greater_than": "must be greater than {gt:.12g}",
    "less_than": "must be less than {lt:.12g}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "literal_error": "must be {expected}",
}


def _explain(error: ErrorDetails) -> str:
    """One line for one of pydantic's errors."""
    location: list[Any] = [part for part in error["loc"] if part not in ("int", "none")]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if location[-1:] == ["[key]"] and location[0] == "spaces":
        return f"spaces: {location[1]} is not allowed: a name must be text (in quotes if it looks like a number)"
    if location[-1:] == ["[key]"]:  # of a mapping by network
        return f"{'.'.join(location[:-2])}: {unknown('network', location[-2], BACKBONES)}"
    if error["type"] in ("extra_forbidden", "invalid_key"):
        section = _section(location[:-1])
        return f"{key}: {unknown('key', location[-1], section.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: is missing; presets/default.yaml shows it"
    value, context = error["input"], error.get("ctx", {})
    if error["type"] == "value_error":
        if isinstance(value, dict):  # a check of a whole section names the key itself
            return f"{key}.{context['error']}".lstrip(".")
        if isinstance(context["error"], UserError):  # which names the value
            return f"{key}: {context['error']}"
        return f"{key}: {value if isinstance(value, str) else _shown(value)} {context['error']}"
    allowed = _MESSAGES.get(error["type"], error["msg"].lower()).format(**context)
    if error["type"] == "literal_error" and isinstance(value, str):
        texts = re.findall(r"'([^']+)'", context["expected"])
        near = nearest(value, texts, cutoff=0.7)  # gpu is like cpu, and does not mean it
        allowed += f"; did you mean {near}?" if near else ""
    return f"{key}: {_shown(value)} is not allowed: {allowed}"


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str | list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _section(location: list[Any]) -> type[Section]:
    section: Any = Params
    for part in location:
        recipes = get_args(section)  # of a mapping by network: the keys' type and the values'
        section = recipes[1] if recipes else section.model_fields[part].annotation
    return section


def preset(name: str, path: str | Path = PATH) -> None:
    """Write presets/default.yaml with the overlay presets/`name`.yaml over it to `path`, comments kept.

    An overlay may begin with ``extends: OTHER``: that preset's overlay lies between.

    Raises
    ------
    UserError
        If there is no such preset, the result is not valid, or `path` has changes that git does not hold.
    """
    from ruamel.yaml import YAML  # which keeps comments

    text, yaml = StringIO(), YAML()  # in the style of `dvc exp run -S`, which writes the file again
    yaml.dump(_preset_tree(name, [], yaml), text)
    check(dvc_yaml.parse(text.getvalue()), f"{PRESETS / name}.yaml")
    _require_committed(Path(path))
    write_text(path, text.getvalue())


def _preset_tree(name: str, above: list[str], yaml: Any) -> Any:
    """The whole tree of a preset, as `yaml` reads it with its comments; `above` are those that extend it."""
    names = sorted(file.stem for file in PRESETS.glob("*.yaml"))
    if name not in names or name in above:
        trouble = f"{name} extends itself" if name in above else unknown("preset", name, names)
        raise UserError(f"{PRESETS / above[-1]}.yaml: extends: {trouble}" if above else trouble)
    file = PRESETS / f"{name}.yaml"
    dvc_yaml.read(file)  # whose errors are one line
    found = yaml.load(file.read_text(encoding="utf-8"))
    if name == "default":
        return found
    if not isinstance(found, dict):
        raise UserError(f"{file}: must hold keys of presets/default.yaml, not {_shown(found)}")
    tree = _preset_tree(found.pop("extends", "default"), [*above, name], yaml)
    _overlay(tree, found, file)
    return tree


def _overlay(tree: Any, changes: dict[str, Any], file: Path, section: str = "") -> None:
    for key, value in changes.items():
        name = f"{section}{key}"
        if key not in tree:
            raise UserError(f"{file}: {name}: {unknown('key', key, tree)}")
        if isinstance(value, dict) and isinstance(tree[key], dict) and name not in REPLACED:
            _overlay(tree[key], value, file, f"{name}.")
        else:
            tree[key] = _block(value)


def _block(value: Any) -> Any:
    """`value` with plain lists, which are written an item a line."""
    if isinstance(value, dict):
        value.update({key: _block(inner) for key, inner in value.items()})
    return list(value) if isinstance(value, list) else value


def _require_committed(path: Path) -> None:
    """Raise UserError if `path` holds what git does not: changed since the last commit, or never committed."""
    if not path.exists():
        return
    command = ["git", "status", "--porcelain", "--", str(path)]
    status = subprocess.run(command, capture_output=True, text=True, check=False)
    if status.returncode:
        raise UserError(f"{path}: is in no git repository, so what it holds would be lost; rename or delete it first")
    if status.stdout.strip():
        raise UserError(
            f"{path}: has changes that git does not hold; commit them or undo them (git restore {path}) first"
        )
