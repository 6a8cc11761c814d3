"""Genotypes: the discrete cells that a search ends in, and how one is read off α."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from nas.pipeline.errors import UserError, unknown
from nas.pipeline.files import require_columns
from nas.space import bench201
from nas.space.bench201 import Bench201Genotype

if TYPE_CHECKING:  # names alone must be readable in a moment, before torch is
    from torch import Tensor

    from nas.space.spaces import SearchSpace

Edge = tuple[str, int]

CELLS = {"normal": "normal cell", "reduce": "reduction cell"}  # field of a Genotype, and what it is called


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell (DARTS, section 2.1).

    Parameters
    ----------
    normal, reduce : sequence of (operation, state)
        Two edges a node, in node order, perhaps from one state (NASNet). States 0 and 1 are the outputs of the two
        cells before, state 2 + i is node i.
    normal_concat, reduce_concat : sequence of int
        The states whose concatenation is the cell's output.

    Raises
    ------
    ValueError
        If the edges do not come in pairs, or an edge or the output names a state that does not exist yet.
    """

    inputs: ClassVar[int] = 2  # of a cell: its first states

    normal: tuple[Edge, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Edge, ...]
    reduce_concat: tuple[int, ...]

    def __post_init__(self) -> None:
        for cell in CELLS:
            edges = tuple((str(operation), _state(state)) for operation, state in getattr(self, cell))
            concat = tuple(_state(state) for state in getattr(self, f"{cell}_concat"))
            object.__setattr__(self, cell, edges)
            object.__setattr__(self, f"{cell}_concat", concat)
            _check_cell(cell, edges, concat)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Genotype:
        """Read what `to_dict` gives, or the same with tuples. Raises ValueError if a key is missing or unknown."""
        keys = ("normal", "normal_concat", "reduce", "reduce_concat")
        if not isinstance(value, dict) or set(value) != set(keys):
            found = ", ".join(value) if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"a genotype has the keys {', '.join(keys)}, not {found}")
        try:
            return cls(**value)
        except TypeError as error:
            raise ValueError(f'a cell is a list of ["operation", state] pairs and a list of states ({error})') from None

    def to_dict(self) -> dict[str, list[Any]]:
        """The four fields as lists, ready for JSON: ``{"normal": [["sep_conv_3x3", 0], …], …}``."""
        return json.loads(json.dumps(asdict(self)))

    def operations(self) -> set[str]:
        """Names of the operations that either cell uses."""
        return {operation for operation, _ in self.normal + self.reduce}

    def with_all(self, operation: str) -> Genotype:
        """The same cells with `operation` on every edge: what it is worth alone, in the wiring that was found."""
        cells: dict[str, Any] = {cell: tuple((operation, state) for _, state in getattr(self, cell)) for cell in CELLS}
        return replace(self, **cells)

    def placed(self) -> dict[str, list[tuple[tuple[int, int], str]]]:
        """Of each kind of cell its edges, (source state, target state), with their operations."""
        return {
            cell: [((source, 2 + i // 2), operation) for i, (operation, source) in enumerate(getattr(self, cell))]
            for cell in CELLS
        }

    def output(self, cell: str) -> tuple[int, ...]:
        """The states whose concatenation is a cell's output."""
        return getattr(self, f"{cell}_concat")

    def skips(self) -> dict[str, int]:
        """Number of skip connections in each cell, as skips_normal and skips_reduce."""
        return {
            f"skips_{cell}": sum(operation == "skip_connect" for operation, _ in getattr(self, cell)) for cell in CELLS
        }


def _state(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a state is an integer, not {value!r}")
    return value


def _check_cell(cell: str, edges: Sequence[Edge], concat: Sequence[int]) -> None:
    if not edges or len(edges) % 2:
        raise ValueError(f"the {cell} cell needs two edges a node, not {len(edges)} in all")
    for i, (operation, state) in enumerate(edges):
        if not 0 <= state < 2 + i // 2:
            raise ValueError(
                f"edge {i} of the {cell} cell ({operation}) comes from state {state}, which is not before it"
            )
    states = 2 + len(edges) // 2
    if not concat or not all(0 <= state < states for state in concat) or len(set(concat)) < len(concat):
        raise ValueError(f"{cell}_concat must name distinct states from 0 to {states - 1}, not {list(concat)}")


AnyGenotype = Genotype | Bench201Genotype


def from_dict(value: dict[str, Any]) -> AnyGenotype:
    """Read what ``to_dict`` of either gives; raises ValueError if it is none."""
    if isinstance(value, dict) and set(value) == {"architecture"}:
        return Bench201Genotype(value["architecture"])
    return Genotype.from_dict(value)


def load(path: str | Path) -> AnyGenotype:
    """Read a genotype from a JSON file of the form that its ``to_dict`` gives.

    Raises
    ------
    UserError
        If the file is missing, not JSON or not a genotype; the message says why.
    """
    try:
        return from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        found = sorted(file.stem for file in Path(path).parent.glob("*.json"))
        raise UserError(f"{path}: {unknown('genotype', Path(path).stem, found)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: is no genotype: {error}") from None


def derive(operations: Sequence[str], alphas_normal: Tensor, alphas_reduce: Tensor) -> Genotype:
    """Read a genotype off the architecture weights (DARTS, section 2.4).

    Each node keeps the two incoming edges whose strongest operation other than ``none`` has the largest softmax
    weight, and on each of them that operation. Of equal weights the earlier edge and operation win.

    Parameters
    ----------
    operations : sequence of str
        Names of the columns of α.
    alphas_normal, alphas_reduce : Tensor, edges × operations
        α before the softmax, rows in node order: 2 edges into node 0, 3 into node 1, and so on.
    """
    tables = (alphas.detach().softmax(dim=-1).tolist() for alphas in (alphas_normal, alphas_reduce))
    return _derive(operations, dict(zip(CELLS, tables, strict=True)))


def weight_rows(operations: Sequence[str], cells: Mapping[str, list[list[float]]], epoch: int) -> list[dict[str, Any]]:
    """Softmax weights as the rows of an alphas.csv: epoch, cell, edge ("source-target" states), operation, weight.

    `cells` maps normal and reduce, or normal alone (NAS-Bench-201), to edges × operations weights.
    """
    return [
        {"epoch": epoch, "cell": cell, "edge": f"{source}-{target}", "operation": operation, "weight": weight}
        for cell, table in cells.items()
        for (source, target), weights in zip(_places(cells, len(table)), table, strict=True)
        for operation, weight in zip(operations, weights, strict=True)
    ]


def _nodes(count: int) -> int:
    """Intermediate nodes of a cell with `count` edges; where no number fits, the next larger one."""
    return next(n for n in range(1, count + 1) if len(edges(n)) >= count)


def _places(cells: Collection[str], count: int) -> list[tuple[int, int]]:
    """The edges of `count` rows of α where those are the kinds of `cells`: NAS-Bench-201 has one, DARTS two."""
    return bench201.EDGES if set(cells) == {bench201.CELL} else edges(_nodes(count))


def random_weights(space: SearchSpace, nodes: int, seed: str) -> dict[str, list[list[float]]]:
    """The softmax of α ~ N(0, 1) for each kind of cell, edges × columns of α.

    `derive_from_weights` reads a uniformly random genotype off it: no edge is favoured, and no operation that it may
    hold.
    """
    source = Random(seed)

    def softmax(names: Sequence[str]) -> list[float]:
        exponentials = [math.exp(source.gauss(0, 1)) for _ in names]
        return [e / sum(exponentials) for e in exponentials]

    return {cell: [softmax(names) for names in space.of_edges(cell, nodes)] for cell in space.kinds}


def random_genotype(space: SearchSpace, nodes: int, seed: str) -> AnyGenotype:
    """A genotype drawn uniformly from a space: each node has two of the earlier states, each edge any operation of its.

    The baseline that a search must beat (Li & Talwalkar, 2019). In DARTS's cell ``none`` is never drawn, as it is never
    derived.
    """
    return derive_from_weights(space.operations, space.of_all(random_weights(space, nodes, seed)))


def weights_at(
    rows: Sequence[Mapping[str, str]], epoch: int | None = None
) -> tuple[list[str], dict[str, list[list[float]]]]:
    """The operations, and of each cell the edges × operations softmax weights, at an epoch of an alphas.csv.

    `rows` are the file's: epoch, cell, edge, operation, weight. By default the last epoch.

    Raises
    ------
    ValueError
        If a column or a weight is missing or is no number.
    """
    require_columns(rows, ("epoch", "cell", "edge", "operation", "weight"))
    last = max(int(row["epoch"]) for row in rows) if epoch is None else epoch
    final = [row for row in rows if int(row["epoch"]) == last]
    if not final:
        raise ValueError(f"it has no epoch {last}")
    operations = list(dict.fromkeys(row["operation"] for row in final))
    weights = {(row["cell"], row["edge"], row["operation"]): float(row["weight"]) for row in final}
    if not all(map(math.isfinite, weights.values())):
        raise ValueError("a weight is not finite")
    one_kind = any(row["edge"] == "0-1" for row in final)  # state 1 is an input of DARTS's cell
    kinds = [bench201.CELL] if one_kind else list(CELLS)
    places = _places(kinds, len({row["edge"] for row in final}))
    names = [f"{source}-{target}" for source, target in places]
    whole = [(cell, edge, operation) for cell in kinds for edge in names for operation in operations]
    if [(row["cell"], row["edge"], row["operation"]) for row in final] != whole:
        cells = "both cells" if len(kinds) > 1 else "its cell"
        raise ValueError(f"epoch {last} does not have each operation on each edge of {cells} once, in order")
    return operations, {cell: [[weights[cell, edge, o] for o in operations] for edge in names] for cell in kinds}


def derive_from_weights(operations: Sequence[str], cells: Mapping[str, Sequence[Sequence[float]]]) -> AnyGenotype:
    """`derive` from what `weights_at` reads: softmax weights, edges × operations, of normal and reduce.

    Of one kind of cell alone, NAS-Bench-201's, all edges stay: see `Bench201Genotype.derive`.
    """
    if set(cells) == {bench201.CELL}:
        return Bench201Genotype.derive(operations, cells[bench201.CELL])
    return _derive(operations, cells)


def _derive(operations: Sequence[str], cells: Mapping[str, Sequence[Sequence[float]]]) -> Genotype:
    normal, reduce = (strongest(operations, cells[cell]) for cell in CELLS)
    concat = tuple(range(2, 2 + len(normal) // 2))
    return Genotype(normal, concat, reduce, concat)


def with_fewer_skips(
    operations: Sequence[str], cells: Mapping[str, Sequence[Sequence[float]]], most: int
) -> AnyGenotype:
    """`derive_from_weights` with at most `most` skip connections in the normal cell (P-DARTS: Chen et al., 2019, 4.2).

    While there are more, the skip connection of the smallest weight among those derived loses its weight, and the
    genotype is derived anew.
    """
    skip, normal = list(operations).index("skip_connect"), [list(row) for row in cells["normal"]]
    places = _places(cells, len(normal))
    while True:
        genotype = derive_from_weights(operations, {**cells, "normal": normal})
        rows = [places.index(edge) for edge, name in genotype.placed()["normal"] if name == "skip_connect"]
        if len(rows) <= most:
            return genotype
        normal[min(rows, key=lambda row: (normal[row][skip], row))][skip] = 0.0


def favourite(weights: Mapping[str, float]) -> str:
    """The operation other than ``none`` of the largest weight; of equal ones the first."""
    return max((name for name in weights if name != "none"), key=weights.__getitem__)


def strongest(operations: Sequence[str], weights: Sequence[Sequence[float]]) -> tuple[Edge, ...]:
    """The edges that `derive` keeps of one cell, in node order: ``Genotype.normal`` or ``.reduce``.

    `weights`: edges × operations, after the softmax.
    """
    chosen: list[Edge] = []
    start, inputs = 0, 2
    while start < len(weights):
        best = [
            max((weight, -k) for k, weight in enumerate(row) if operations[k] != "none")
            for row in weights[start : start + inputs]
        ]
        kept = sorted(range(inputs), key=lambda state: (-best[state][0], state))[:2]
        chosen += [(operations[-best[state][1]], state) for state in kept]
        start, inputs = start + inputs, inputs + 1
    return tuple(chosen)


def edges(nodes: int) -> list[tuple[int, int]]:
    """(source state, target state) of every edge of a cell with `nodes` nodes, in the order of α's rows."""
    return [(source, 2 + node) for node in range(nodes) for source in range(2 + node)]
