"""NAS-Bench-201's space: Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
ICLR 2020.

Its cell is not DARTS's: one input, three nodes, and an operation from every earlier state to each node, whose sums are
neither chosen among nor concatenated. An architecture is the benchmark's text:
``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|`` names, for each node, the operation
from state 0 (the input), 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from nas.pipeline.errors import UserError, unknown

NAME = "nas_bench_201"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 3
EDGES = [(source, target) for target in range(1, NODES + 1) for source in range(target)]  # states, in α's order
SIZE = len(OPERATIONS) ** len(EDGES)
CELL = "normal"  # its one kind of cell: what halves the maps is no cell

Architecture = tuple[tuple[str, ...], ...]  # of each node, the operation from every earlier state


def parse(text: str) -> Architecture:
    """Read an architecture; raises UserError if `text` says none."""
    nodes = [[edge.partition("~")[0] for edge in node.strip("|").split("|")] for node in text.split("+")]
    for name in (name for node in nodes for name in node):
        if name not in OPERATIONS:
            raise UserError(f"architecture: {text!r}: {unknown('operation', name, OPERATIONS)}")
    architecture = tuple(map(tuple, nodes))
    if len(nodes) != NODES or written(architecture) != text:
        raise UserError(f"architecture: {text!r} is not allowed: must be like |OP~0|+|OP~0|OP~1|+|OP~0|OP~1|OP~2|")
    return architecture


def written(architecture: Architecture) -> str:
    """The text that `parse` reads; a node has as many operations as there are states before it."""
    return "+".join("".join(f"|{name}~{i}" for i, name in enumerate(node)) + "|" for node in architecture)


def by_edge(names: Sequence[str]) -> Architecture:
    """The architecture with these operations, one for each of `EDGES`."""
    return tuple(tuple(names[i] for i, (_, end) in enumerate(EDGES) if end == node + 1) for node in range(NODES))


def architectures() -> Iterator[Architecture]:
    """All `SIZE` of the space."""
    return map(by_edge, product(OPERATIONS, repeat=len(EDGES)))


def expression(architecture: Architecture) -> str:
    """What the cell computes, in the benchmark's notation: architectures of one expression count once, 6,466 in all.

    0 is the input, # what is zero, ``(x)@conv`` a convolution of x. The terms of a sum are sorted as texts, and zeros
    stay in it, so that a few which compute the same are still told apart, as the benchmark does.
    """
    states = ["0"]
    for node in architecture:
        terms = []
        for name, x in zip(node, states, strict=True):
            zero = name == "none" or x == "#"
            terms.append("#" if zero else x if name == "skip_connect" else f"({x})@{name}")
        states.append("+".join(sorted(terms)))
    return states[-1]


def cells_of(layers: int, stem: str = "cifar") -> int:
    """N, the cells of each of three stacks, of a network of `layers` = 3·N + 2: its cells and residual blocks.

    Raises
    ------
    UserError
        If `layers` is no such number, or the stem is not the space's own, which keeps the image's size.
    """
    if layers < 5 or layers % 3 != 2:
        raise UserError(f"layers: {layers} is not allowed: must be 3·N + 2 for NAS-Bench-201's network: 5, 8, …, 17")
    if stem != "cifar":
        raise UserError(f"stem: {stem} is not allowed: must be cifar for NAS-Bench-201's network")
    return layers // 3


@dataclass(frozen=True)
class Bench201Genotype:
    """What a search in the space ends in: an architecture, which stands where a `Genotype` does in DARTS's cell.

    Raises
    ------
    ValueError
        If `architecture` is no text that `parse` reads.
    """

    inputs: ClassVar[int] = 1

    architecture: str

    def __post_init__(self) -> None:
        try:
            parse(str(self.architecture))
        except UserError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def derive(cls, operations: Sequence[str], weights: Sequence[Sequence[float]]) -> Bench201Genotype:
        """The strongest operation of every edge, ``none`` among them (its section 2.1: all edges stay).

        `weights`: edges × operations. Of equal weights the earlier operation wins.
        """
        return cls(written(by_edge([operations[max(range(len(row)), key=row.__getitem__)] for row in weights])))

    def names(self) -> list[str]:
        """The operation of each of `EDGES`."""
        return [name for node in parse(self.architecture) for name in node]

    def to_dict(self) -> dict[str, str]:
        return {"architecture": self.architecture}

    def operations(self) -> set[str]:
        return set(self.names())

    def with_all(self, operation: str) -> Bench201Genotype:
        """The same cell with `operation` on every edge that has one other than ``none``."""
        names = [operation if name != "none" else name for name in self.names()]
        return Bench201Genotype(written(by_edge(names)))

    def placed(self) -> dict[str, list[tuple[tuple[int, int], str]]]:
        """As `Genotype.placed`: of its one kind of cell all edges with their operations."""
        return {CELL: list(zip(EDGES, self.names(), strict=True))}

    def output(self, cell: str) -> tuple[int, ...]:
        """As `Genotype.output`: the last node."""
        return (NODES,)

    def skips(self) -> dict[str, int]:
        """Number of skip connections, as skips_normal."""
        return {f"skips_{CELL}": self.names().count("skip_connect")}
