"""The continuous relaxation of a space: all operations on each edge, mixed by weights (DARTS, section 2.2).

How the weights follow from α is the search algorithm's to say.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from nas.networks.network import CellSpec, cell_specs, make_stem, stem_maps
from nas.pipeline.errors import UserError
from nas.space import operations
from nas.space.genotypes import AnyGenotype, derive_from_weights, edges
from nas.space.spaces import SearchSpace, find


class Mixture(NamedTuple):
    """How the edges of a kind of cell mix their operations.

    Attributes
    ----------
    weights : Tensor, edges × operations
    chosen : list of int, optional
        The column of the only operation that each edge computes; None computes all.
    """

    weights: Tensor
    chosen: list[int] | None = None


class MixedOperation(nn.Module):
    """Σ_k w_k · operation_k(x), for one edge. ``none`` adds nothing, so it is not computed: it only takes weight away.

    Batch norms learn no scale here (it would undo the weights), and pooling is followed by one, so that the results
    of all operations have the same scale.

    Of `partial` K above 1, the operations see the first 1/K of the channels; the others pass by, with all the weight
    (or their maximum over 2×2 pixels, with stride 2), and the channels are shuffled (PC-DARTS: Xu et al., 2020).
    Operations `beside` those of the space have columns behind theirs. Where pooling is not `normed`, it is bare.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        channels: int,
        stride: int,
        partial: int = 1,
        beside: Sequence[str] = (),
        normed: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.partial, self.mixed = stride, partial, channels // partial
        self.own, names = len(names), (*names, *beside)
        self.columns = [k for k, name in enumerate(names) if name != "none"]
        make = _candidate if normed else _bare
        self.operations = nn.ModuleList(make(names[k], self.mixed, stride) for k in self.columns)

    def forward(self, x: Tensor, weights: Tensor, chosen: int | None = None) -> Tensor:
        """`weights`: one for each operation of the space; `chosen`: the column of the only one to compute."""
        if self.partial == 1:
            return self.mix(x, weights, chosen)
        mixed, passed = (
            self.mix(x[:, : self.mixed], weights, chosen),
            weights[: self.own].sum() * self.passed(x[:, self.mixed :]),
        )
        return nn.functional.channel_shuffle(torch.cat([mixed, passed], dim=1), self.partial)

    def passed(self, others: Tensor) -> Tensor:
        """The channels that no operation sees, at the edge's end."""
        return nn.functional.max_pool2d(others, 2, ceil_mode=True) if self.stride == 2 else others

    def mix(self, x: Tensor, weights: Tensor, chosen: int | None) -> Tensor:
        if chosen is None:
            each = weights.unbind()
            return sum(each[k] * operation(x) for k, operation in zip(self.columns, self.operations, strict=True))
        if chosen not in self.columns:  # none
            return weights[chosen] * torch.zeros_like(x[:, :, :: self.stride, :: self.stride])
        return weights[chosen] * self.operations[self.columns.index(chosen)](x)


class NormedPooling(nn.Sequential):
    """Pooling, then a batch norm."""


def _bare(name: str, channels: int, stride: int) -> nn.Module:
    return operations.build(name, channels, stride, False)


def _candidate(name: str, channels: int, stride: int) -> nn.Module:
    operation = _bare(name, channels, stride)
    if isinstance(operation, nn.MaxPool2d | nn.AvgPool2d):
        return NormedPooling(operation, nn.BatchNorm2d(channels, affine=False))
    return operation


class MixedCell(nn.Module):
    """A cell with an edge from every earlier state to every node; the output concatenates all nodes.

    `names`: the operations of each edge.
    """

    def __init__(
        self, names: Sequence[tuple[str, ...]], nodes: int, spec: CellSpec, partial: int = 1, beside: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.preprocess0, self.preprocess1 = spec.preprocess(affine=False)
        self.nodes, self.partial = nodes, partial
        self.edges = nn.ModuleList(
            MixedOperation(own, spec.channels, spec.stride(source), partial, beside)
            for own, (source, _) in zip(names, edges(nodes), strict=True)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, chosen: Sequence[int | None] | None = None) -> Tensor:
        """`weights`: edges × operations; `chosen`: for each edge, the column of the only operation to compute."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        chosen, rows = chosen or [None] * len(self.edges), weights.unbind()
        first = 0
        for _ in range(self.nodes):
            incoming = range(first, first + len(states))
            states.append(
                sum(self.edges[e](state, rows[e], chosen[e]) for e, state in zip(incoming, states, strict=True))
            )
            first = incoming.stop
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """All networks of a search space in one; of a space with NAS-Bench-201's cell see `supernets.Bench201Supernet`.

    Parameters
    ----------
    space : str or SearchSpace
        A name of ``nas.space.spaces.SPACES``, or a space of your own.
    channels : int
        C of the first cells.
    layers : int
        Number of cells, at least 3; those at layers//3 and 2·layers//3 are reduction cells.
    nodes : int
        Intermediate nodes of a cell.
    num_classes : int
    in_channels : int, default 3
    stem : str, default "cifar"
        A key of ``network.STEMS``.
    partial : int, default 1
        K: every edge's operations see 1/K of the channels (PC-DARTS).
    beside : sequence of str, default none
        Operations that every edge has besides the space's, which no genotype holds: further columns of the mixtures.
    recompute : bool, default False
        Keep only each cell's inputs for backward, which computes the cell again (Chen et al., 2016): less memory for
        another forward pass. The results are the same.

    Attributes
    ----------
    alphas_normal, alphas_reduce : Parameter, edges × operations (of an edge, in the space's order)
        α of the normal and of the reduction cells, shared by all cells of a kind; drawn from 1e-3·N(0, 1).

    Raises
    ------
    UserError
        If the space is unknown, names an operation that there is not or is for another number of nodes, the stem is
        unknown, there are fewer than three layers, or C is no multiple of K.

    Notes
    -----
    ``forward(x, mixtures)``: N × in_channels × H × W → N × num_classes logits. `mixtures`: of the normal and of the
    reduction cells; by default softmax(α).
    """

    alphas_normal: nn.Parameter
    alphas_reduce: nn.Parameter

    def __init__(
        self,
        space: str | SearchSpace,
        *,
        channels: int,
        layers: int,
        nodes: int,
        num_classes: int,
        in_channels: int = 3,
        stem: str = "cifar",
        partial: int = 1,
        beside: Sequence[str] = (),
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if channels % partial:
            raise UserError(f"channels: {channels} is not allowed: must be a multiple of {partial} (partial channels)")
        self.space = find(space) if isinstance(space, str) else space
        self.nodes = nodes
        self.recompute = recompute
        names = {cell: self.space.of_edges(cell, nodes) for cell in self.space.kinds}
        for cell, of_edges in names.items():
            alphas = 1e-3 * torch.randn(len(of_edges), len(self.space.columns))
            self.register_parameter(f"alphas_{cell}", nn.Parameter(alphas))
        self.build(names, channels, layers, num_classes, in_channels, stem, partial, beside)

    def build(
        self,
        names: Mapping[str, Sequence[tuple[str, ...]]],
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int,
        stem: str,
        partial: int,
        beside: Sequence[str],
    ) -> None:
        """Make all but α; `names`: of each kind of cell the operations of each edge."""
        if self.space.cell != "darts":
            raise UserError(
                f"space: {self.space.name} is not allowed: its cell is not DARTS's (nas.networks.supernets)"
            )
        if layers < 3:
            raise UserError(f"layers: {layers} is not allowed: must be at least 3, or no cell is a normal one")
        self.stem = make_stem(stem, in_channels, channels)
        specs = cell_specs(layers, channels, stem, lambda reduction: self.nodes)
        kinds = ["reduce" if spec.reduction else "normal" for spec in specs]
        self.cells = nn.ModuleList(
            MixedCell(names[kind], self.nodes, spec, partial, beside) for kind, spec in zip(kinds, specs, strict=True)
        )
        self.reductions = [layer for layer, spec in enumerate(specs) if spec.reduction]
        self.classifier = nn.Linear(self.nodes * specs[-1].channels, num_classes)

    def forward(self, x: Tensor, mixtures: Sequence[Mixture] | None = None) -> Tensor:
        return self.mix(x, mixtures or [Mixture(alphas.softmax(dim=-1)) for alphas in self.alphas()])

    def mix(self, x: Tensor, mixtures: Sequence[Mixture]) -> Tensor:
        """The logits with these mixtures, one for each kind of cell."""
        normal, reduce = mixtures
        s0, s1 = stem_maps(self.stem, x)
        for layer, cell in enumerate(self.cells):
            mixture = reduce if layer in self.reductions else normal
            s0, s1 = s1, self.computed(cell)(s0, s1, *mixture)
        return self.classifier(s1.mean(dim=(2, 3)))

    def computed(self, cell: nn.Module) -> Callable[..., Tensor]:
        """`cell`, or what computes it again in backward."""
        return _recomputed(cell) if self.recompute and torch.is_grad_enabled() else cell

    def alphas(self) -> list[nn.Parameter]:
        """The architecture's parameters: α of each kind of cell, the normal one first."""
        return [self.get_parameter(f"alphas_{cell}") for cell in self.space.kinds]

    def weights(self) -> dict[str, nn.Parameter]:
        """The operations' parameters by name: all but α."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("alphas_")}

    def genotype(self) -> AnyGenotype:
        """The genotype that α stands for now, by softmax(α)."""
        return derive_from_weights(self.space.operations, self.table([a.softmax(dim=-1) for a in self.alphas()]))

    def table(self, scores: Sequence[Tensor]) -> dict[str, list[list[float]]]:
        """Of each kind of cell, `scores` shaped like α as edges × operations of the space."""
        return self.space.of_all({cell: each.tolist() for cell, each in zip(self.space.kinds, scores, strict=True)})


def strongest(alphas: Tensor, choices: Sequence[bool]) -> Tensor:
    """Weights, edges × operations, of 1 for each edge's strongest operation among those of `SearchSpace.choices`."""
    never = ~torch.tensor(choices, device=alphas.device)
    found = alphas.masked_fill(never, -torch.inf).argmax(dim=-1)
    return nn.functional.one_hot(found, alphas.shape[-1]).to(alphas.dtype)


def _recomputed(cell: nn.Module) -> Callable[..., Tensor]:
    """`cell`, which keeps its inputs for backward and computes the rest again there."""
    # Backward may run when a functional_call that put other weights into the cell is over.
    weights = dict(cell.named_parameters())
    passes = 0

    def compute(*inputs: object) -> Tensor:
        nonlocal passes
        passes += 1
        # Only the first pass counts for the running statistics of batch norm.
        statistics = {} if passes == 1 else {name: buffer.clone() for name, buffer in cell.named_buffers()}
        return functional_call(cell, weights | statistics, inputs)

    return partial(checkpoint, compute, use_reentrant=False)  # which also draws the same noise again
