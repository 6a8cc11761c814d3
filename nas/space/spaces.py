"""Search spaces: the operations that an edge may hold, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nas.pipeline.errors import UserError, unknown
from nas.space import bench201
from nas.space.genotypes import CELLS, edges


@dataclass(frozen=True)
class SearchSpace:
    """The operations among which every edge of a supernet chooses.

    Parameters
    ----------
    name : str
        How params.yaml and the results call the space.
    operations : tuple of str
        Names of ``operations.FAMILIES``, in the order of the columns of α. At least one other than ``none``.
    edges : mapping of str to tuple of tuple of str, optional
        Which of `operations`, in their order, each edge of the normal and of the reduction cell has; None: all. Every
        edge has as many, at least two besides ``none``, which is the same column on all of them or none: so α is as
        wide as an edge's operations are many, and no algorithm needs to know of those that an edge lacks.
    cell : "darts" or "nas_bench_201", default "darts"
        Whose cell the operations stand in, and with it whose network: a normal and a reduction cell of two inputs, of
        whose edges a genotype keeps two a node; or one kind of cell of one input, of whose edges it keeps all and on
        which it may choose ``none``.
    """

    name: str
    operations: tuple[str, ...]
    edges: Mapping[str, tuple[tuple[str, ...], ...]] | None = field(default=None, hash=False)
    cell: Literal["darts", "nas_bench_201"] = "darts"

    def __post_init__(self) -> None:
        if not set(self.operations) - {"none"}:
            raise ValueError(f"space {self.name} needs an operation other than none")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"space {self.name} names an operation twice: {', '.join(self.operations)}")
        if self.edges is not None:
            self._check_edges(self.edges)

    def _check_edges(self, of_cells: Mapping[str, tuple[tuple[str, ...], ...]]) -> None:
        if set(of_cells) != set(CELLS) or self.nodes is None or len({len(rows) for rows in of_cells.values()}) > 1:
            raise ValueError(f"space {self.name} must name the operations of every edge of a normal and a reduce cell")
        rows = [names for cell in CELLS for names in of_cells[cell]]
        for names in rows:
            if names != tuple(name for name in self.operations if name in names):
                raise ValueError(f"space {self.name} has an edge with other names, or in another order: {names}")
        if len({tuple(name == "none" for name in names) for names in rows}) > 1:
            raise ValueError(f"space {self.name} needs as many operations on each edge, and none in the same column")
        if len(set(rows[0]) - {"none"}) < 2:
            raise ValueError(f"space {self.name} needs two operations other than none on each edge")

    @property
    def is_bench201(self) -> bool:
        """Whether its cell is NAS-Bench-201's."""
        return self.cell == bench201.NAME

    @property
    def kinds(self) -> tuple[str, ...]:
        """Its kinds of cells, in the order of α's tables."""
        return (bench201.CELL,) if self.is_bench201 else tuple(CELLS)

    @property
    def choices(self) -> tuple[bool, ...]:
        """Of each column of α, whether a genotype may hold its operation."""
        return tuple(self.is_bench201 or name != "none" for name in self.columns)

    @property
    def nodes(self) -> int | None:
        """How many nodes its cells must have; None: any number."""
        if self.is_bench201:
            return bench201.NODES
        if self.edges is None:
            return None
        return next((n for n in range(1, 100) if len(edges(n)) == len(self.edges["normal"])), None)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of α; where edges differ, the first edge's, which has ``none`` where all have it."""
        return self.operations if self.edges is None else self.edges["normal"][0]

    def of_edges(self, cell: str, nodes: int) -> tuple[tuple[str, ...], ...]:
        """The operations of each edge of a kind of cell; raises UserError if it cannot have so many nodes."""
        if self.nodes not in (None, nodes):
            why = "whose cell is the benchmark's" if self.is_bench201 else "whose edges have operations of their own"
            raise UserError(f"nodes: {nodes} is not allowed: must be {self.nodes} for the space {self.name}, {why}")
        return (self.operations,) * len(self.places(nodes)) if self.edges is None else self.edges[cell]

    def places(self, nodes: int) -> list[tuple[int, int]]:
        """(source state, target state) of every edge of a cell with `nodes` nodes, in the order of α's rows."""
        return bench201.EDGES if self.is_bench201 else edges(nodes)

    def of_all(self, tables: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[list[float]]]:
        """For each kind of cell, edges × columns of α as edges × `operations`: 0 for those that an edge lacks."""
        if self.edges is None:
            return {cell: [list(row) for row in table] for cell, table in tables.items()}
        found = {}
        for cell, table in tables.items():
            rows = [dict(zip(*each, strict=True)) for each in zip(self.edges[cell], table, strict=True)]
            found[cell] = [[row.get(name, 0.0) for name in self.operations] for row in rows]
        return found


def _darts(name: str, convolution: str) -> SearchSpace:
    """DARTS's eight operations (Liu et al., 2019, section 3.1), `convolution` for its sep_conv."""
    return SearchSpace(
        name,
        (
            "none",
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            f"{convolution}_3x3",
            f"{convolution}_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        ),
    )


def _pibconv(name: str, convolution: str) -> SearchSpace:
    """The ten operations of PIBConv (Ahmadian et al., 2023, section 3, "Search Phase")."""
    return SearchSpace(
        name,
        (
            "none",
            "skip_connect",
            f"{convolution}_3x3",
            f"{convolution}_5x5",
            f"{convolution}_7x7",
            "dil_conv_3x3",
            "dil_conv_5x5",
            "conv_7x1_1x7",
            "max_pool_3x3",
            "avg_pool_3x3",
        ),
    )


_MAX, _AVG, _SKIP, _SEP, _DIL3, _DIL5 = _S1_OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
# Of each edge the two operations that a search in DARTS's space ranked highest: R-DARTS's S1 (Zela et al., 2020,
# section 3), as its program lists them (github.com/automl/RobustDARTS, src/spaces.py); a line a node
_S1 = {
    "normal": (
        *((_SKIP, _DIL3), (_SKIP, _DIL5)),
        *((_SKIP, _DIL5), (_SKIP, _SEP), (_SKIP, _DIL3)),
        *((_MAX, _SKIP), (_SKIP, _SEP), (_SKIP, _SEP), (_SKIP, _DIL3)),
        *((_SKIP, _SEP), (_MAX, _SKIP), (_SKIP, _DIL3), (_DIL3, _DIL5), (_DIL3, _DIL5)),
    ),
    "reduce": (
        *((_MAX, _AVG), (_MAX, _DIL3)),
        *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5)),
        *((_MAX, _AVG), (_MAX, _SEP), (_SKIP, _DIL3), (_SKIP, _DIL5)),
        *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _DIL5)),
    ),
}

_ALL = (
    # The PIBConv paper's roadmap (Fig. 1), step by step
    _darts("darts", "sep_conv"),
    _darts("darts_gelu", "sep_conv_gelu"),
    _darts("darts_ln", "sep_conv_gelu_ln"),
    _darts("convnext", "convnext"),
    _pibconv("pibconv", "pib_conv"),
    # Its inverted ratio F other than 2
    _pibconv("pibconv_f1.5", "pib_conv_f1.5"),
    _pibconv("pibconv_f3", "pib_conv_f3"),
    _pibconv("pibconv_f4.5", "pib_conv_f4.5"),
    # EfficientNetV2's blocks, the study of 2023: no none, skip connection or pooling
    SearchSpace("efficientnetv2", ("ds_conv", "mb_conv", "fused_mb_conv")),
    # R-DARTS's spaces, in which DARTS fails (Zela et al., 2020, section 3)
    SearchSpace("s1", _S1_OPERATIONS, _S1),
    SearchSpace("s2", ("skip_connect", "sep_conv_3x3")),
    SearchSpace("s3", ("none", "skip_connect", "sep_conv_3x3")),
    SearchSpace("s4", ("noise", "sep_conv_3x3")),
    # NAS-Bench-201 (Dong & Yang, 2020, section 2.1): its operations in its cell
    SearchSpace(bench201.NAME, bench201.OPERATIONS, cell="nas_bench_201"),
)

SPACES: dict[str, SearchSpace] = {space.name: space for space in _ALL}


def find(name: str, spaces: Mapping[str, SearchSpace] = SPACES) -> SearchSpace:
    """The one of `spaces` of that name; raises UserError if there is none."""
    if name not in spaces:
        raise UserError(unknown("search space", name, spaces))
    return spaces[name]
