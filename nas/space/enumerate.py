"""Every genotype of a small space, and which of them are the same network.

Two nodes' choices multiply: with k operations and n nodes a cell has ∏ C(i + 2, 2)·k² genotypes over i < n, and a space
those of a normal cell times those of a reduction cell. ``none`` is no choice here, as no search derives it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from itertools import combinations, product
from random import Random
from typing import Any

from nas.pipeline.errors import UserError
from nas.space.genotypes import CELLS, Edge, Genotype, edges
from nas.space.spaces import SearchSpace

MOST = 5000  # genotypes that are trained without a sample

Choice = tuple[Edge, Edge]  # of a node


class Enumeration:
    """The genotypes of `space` whose cells have `nodes` nodes, by number: ``len`` of them may exceed what a list holds.

    Attributes
    ----------
    count : int

    Raises
    ------
    UserError
        If the cell is not DARTS's, or cannot have so many nodes.
    """

    def __init__(self, space: SearchSpace, nodes: int) -> None:
        if space.is_bench201:
            raise UserError(
                f"{space.name} is not allowed: its truth is taken from a table, which truth.source must name"
            )
        self.space = space
        self.cells = [_choices(space, cell, nodes) for cell in CELLS]
        self.count = math.prod(len(choices) for cell in self.cells for choices in cell)

    def __getitem__(self, number: int) -> Genotype:
        """The genotype of a number from 0 to count − 1; the last node of the reduction cell changes first."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        found = []
        for cell in reversed(self.cells):
            chosen: list[Edge] = []
            for choices in reversed(cell):
                number, i = divmod(number, len(choices))
                chosen = [*choices[i], *chosen]
            found.append(tuple(chosen))
        concat = tuple(range(2, 2 + len(self.cells[0])))
        reduce, normal = found
        return Genotype(normal, concat, reduce, concat)

    def __contains__(self, genotype: object) -> bool:
        """Whether it is one of them, each node's edges in the order of their states."""
        if not isinstance(genotype, Genotype):
            return False
        concat = tuple(range(2, 2 + len(self.cells[0])))
        for of_nodes, cell in zip(self.cells, CELLS, strict=True):
            pairs = getattr(genotype, cell)
            nodes = [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
            if getattr(genotype, f"{cell}_concat") != concat or len(nodes) != len(of_nodes):
                return False
            if not all(pair in choices for pair, choices in zip(nodes, of_nodes, strict=True)):
                return False
        return True

    def __iter__(self) -> Iterator[Genotype]:
        return (self[i] for i in range(self.count))

    def check(self, sample: int | None) -> None:
        """Raise UserError if all genotypes are more than `MOST`, and no sample is asked for."""
        if (self.count if sample is None else min(sample, self.count)) > MOST:
            raise UserError(
                f"{self.space.name} is not allowed: it has {self.count} genotypes of {len(self.cells[0])} nodes, and "
                f"no more than {MOST} are trained; set truth.sample to fewer, or lower search.nodes"
            )

    def chosen(self, sample: int | None, seed: str) -> list[Genotype]:
        """All, or `sample` of them drawn without repetition by `seed`, in their order.

        Raises
        ------
        UserError
            As `check` does.
        """
        self.check(sample)
        if sample is not None and sample < self.count:
            numbers: set[int] = set()
            source = Random(seed)
            while len(numbers) < sample:
                numbers.add(source.randrange(self.count))
            return [self[i] for i in sorted(numbers)]
        return list(self)


def _choices(space: SearchSpace, cell: str, nodes: int) -> list[list[Choice]]:
    """What each node of a cell may have: two of the earlier states, an operation on either."""
    of_edge = dict(zip(edges(nodes), space.of_edges(cell, nodes), strict=True))
    return [
        [
            ((first, a), (second, b))
            for a, b in combinations(range(target), 2)
            for first, second in product(*([o for o in of_edge[s, target] if o != "none"] for s in (a, b)))
        ]
        for target in range(2, 2 + nodes)
    ]


# Spelling


def spell(genotype: Genotype) -> str:
    """One line without commas: ``normal: skip_connect(0) + sep_conv_3x3(1); reduce: …``.

    Nodes are parted by ``|``, a node's edges are in the order of their states; ``-> 2 3`` names the states that are the
    output, where these are not all nodes.
    """
    return "; ".join(_spell_cell(genotype, cell) for cell in CELLS)


def _spell_cell(genotype: Genotype, cell: str) -> str:
    pairs, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
    nodes = [sorted(pairs[i : i + 2], key=lambda e: (e[1], e[0])) for i in range(0, len(pairs), 2)]
    text = " | ".join(" + ".join(f"{name}({state})" for name, state in node) for node in nodes)
    whole = concat == tuple(range(2, 2 + len(nodes)))
    return f"{cell}: {text}" + ("" if whole else f" -> {' '.join(map(str, concat))}")


def read(text: str) -> Genotype:
    """The genotype that `spell` spelled, each node's edges in the order of their states; raises ValueError if none."""
    match = re.fullmatch(r"normal: (.+?)(?: -> ([\d ]+))?; reduce: (.+?)(?: -> ([\d ]+))?", text)
    if not match:
        raise ValueError(f"{text!r} is no genotype: write normal: OPERATION(STATE) + OPERATION(STATE) | …; reduce: …")
    cells: dict[str, Any] = {}
    for cell, nodes, concat in zip(CELLS, match.groups()[::2], match.groups()[1::2], strict=True):
        pairs = re.split(r" \+ | \| ", nodes)
        found = [re.fullmatch(r"([\w.]+)\((\d+)\)", pair) for pair in pairs]
        if not all(found):
            raise ValueError(f"{text!r} is no genotype: an edge is OPERATION(STATE)")
        cells[cell] = tuple((edge[1], int(edge[2])) for edge in found if edge)
        states = tuple(map(int, concat.split())) if concat else tuple(range(2, 2 + len(pairs) // 2))
        cells[f"{cell}_concat"] = states
    return Genotype(**cells)


# Equal networks


class _Term:
    """A map: what it is called, and of which others it is made; one with weights is no other's equal."""

    def __init__(self, label: str, inputs: Iterable[_Term] = (), commutes: bool = False) -> None:
        self.label, self.inputs, self.commutes = label, list(inputs), commutes
        parts = [term.digest for term in self.inputs]
        told = "\n".join([label, *(sorted(parts) if commutes else parts)])
        self.digest: str = hashlib.sha256(told.encode()).hexdigest()


PURE = ("max_pool_3x3", "avg_pool_3x3")  # without weights: of zeros zeros, and twice of one map the same


def canonical(genotype: Genotype, layers: int, stem: str = "cifar") -> str:
    """What the network of `layers` cells computes, up to the naming of its weights: equal texts are equal networks.

    Edges that give zeros, nodes and cells that nothing reads, the order of a sum and of the maps of an output, and
    inputs that are the same map (both of the first cell after the stem `cifar`) make no difference.

    Notes
    -----
    Never two that differ have one text. Where operations of equal shape read several equal maps, two that are equal may
    have two, and are trained twice.
    """
    maps = [_Term("stem")] * 2 if stem == "cifar" else [_Term("quarter"), _Term("eighth")]
    reductions, reduced = (layers // 3, 2 * layers // 3), stem != "cifar"
    for layer in range(layers):
        cell = "reduce" if layer in reductions else "normal"
        first = "factorized_reduce" if reduced else "preprocess"
        states: list[_Term | None] = [
            _Term(f"{layer} {kind}", [maps[-2 + i]]) for i, kind in enumerate((first, "preprocess"))
        ]
        pairs, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
        pure: dict[tuple[str, int], _Term] = {}
        for i in range(0, len(pairs), 2):
            added = [_operation(edge, states, layer, cell == "reduce", pure) for edge in pairs[i : i + 2]]
            states.append(_sum([term for term in added if term]))
        maps.append(_Term("concat", [states[i] or _Term("zeros") for i in concat], commutes=True))
        reduced = cell == "reduce"
    return _text(maps[-1])


def _operation(
    edge: Edge, states: list[_Term | None], layer: int, reduction: bool, pure: dict[tuple[str, int], _Term]
) -> _Term | None:
    """The map that an edge gives; None: zeros."""
    (name, state), stride = edge, 2 if reduction and edge[1] < 2 else 1
    source = states[state]
    if name == "none" or (source is None and (name in PURE or (name == "skip_connect" and stride == 1))):
        return None
    if name == "skip_connect" and stride == 1:
        return source
    label, inputs = f"{layer} {name} {stride}", [source or _Term("zeros")]
    if name not in PURE:
        return _Term(label, inputs)
    return pure.setdefault((name, id(source)), _Term(label, inputs))


def _sum(terms: list[_Term]) -> _Term | None:
    if len(terms) < 2:
        return terms[0] if terms else None
    return _Term("sum", terms, commutes=True)


def _text(output: _Term) -> str:
    """Terms by number, each at its first mention: what is shared is told from what is merely alike."""
    numbers: dict[int, int] = {}
    lines: list[str] = []

    def visit(term: _Term) -> int:
        if id(term) not in numbers:
            inputs = sorted(term.inputs, key=lambda t: t.digest) if term.commutes else term.inputs
            known = [visit(each) for each in inputs]
            numbers[id(term)] = len(numbers)
            lines.append(f"{term.label} {' '.join(map(str, sorted(known) if term.commutes else known))}")
        return numbers[id(term)]

    visit(output)
    return "\n".join(lines)


def distinct(genotypes: Iterable[Genotype], layers: int, stem: str = "cifar") -> dict[Genotype, Genotype]:
    """Of each genotype the first one that is the same network."""
    first: dict[str, Genotype] = {}
    return {genotype: first.setdefault(canonical(genotype, layers, stem), genotype) for genotype in genotypes}
