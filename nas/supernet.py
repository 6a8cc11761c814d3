"""The continuous relaxation of a space: all operations on each edge, mixed by softmax(α) (DARTS, section 2.2)."""

import torch
from torch import Tensor, nn

from nas.errors import UserError, suggest
from nas.genotypes import Genotype, derive, edges
from nas.network import channels_last, reduction_layers, stem
from nas.operations import OPERATIONS, FactorizedReduce, relu_conv_norm
from nas.spaces import SPACES, SearchSpace


class MixedOperation(nn.Module):
    """Σ_k w_k · operation_k(x), for one edge. ``none`` adds nothing, so it is not computed: it only takes weight away.

    Batch norms learn no scale here (it would undo the weights), and pooling is followed by one, so that the results
    of all operations have the same scale.
    """

    def __init__(self, names: tuple[str, ...], channels: int, stride: int) -> None:
        super().__init__()
        self.columns = [k for k, name in enumerate(names) if name != "none"]
        self.operations = nn.ModuleList(_candidate(names[k], channels, stride) for k in self.columns)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weights[k] * operation(x) for k, operation in zip(self.columns, self.operations, strict=True))


def _candidate(name: str, channels: int, stride: int) -> nn.Module:
    operation = OPERATIONS[name](channels, stride, False)
    if isinstance(operation, nn.MaxPool2d | nn.AvgPool2d):
        return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))
    return operation


class MixedCell(nn.Module):
    """A cell with an edge from every earlier state to every node; the output concatenates all nodes."""

    def __init__(
        self,
        names: tuple[str, ...],
        nodes: int,
        channels_before_last: int,
        channels_last: int,
        channels: int,
        *,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        adapt = FactorizedReduce if after_reduction else relu_conv_norm
        self.adapt_before_last = adapt(channels_before_last, channels, affine=False)
        self.adapt_last = relu_conv_norm(channels_last, channels, affine=False)
        self.nodes = nodes
        self.edges = nn.ModuleList(
            MixedOperation(names, channels, 2 if reduction and source < 2 else 1) for source, _ in edges(nodes)
        )

    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        states = [self.adapt_before_last(before_last), self.adapt_last(last)]
        row = 0
        for _ in range(self.nodes):
            incoming = range(row, row + len(states))
            states.append(sum(self.edges[e](state, weights[e]) for e, state in zip(incoming, states, strict=True)))
            row = incoming.stop
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """All networks of a search space in one.

    Parameters
    ----------
    space : str or SearchSpace
        A name of ``nas.spaces.SPACES``, or a space of your own.
    channels : int
        C of the first cells; the stem has 3·C.
    layers : int
        Number of cells, at least 3; those at layers//3 and 2·layers//3 are reduction cells.
    nodes : int
        Intermediate nodes of a cell.
    num_classes : int
    in_channels : int, default 3

    Attributes
    ----------
    alphas_normal, alphas_reduce : Parameter, edges × operations
        α of the normal and of the reduction cells, shared by all cells of a kind; drawn from 1e-3·N(0, 1).

    Raises
    ------
    UserError
        If the space is unknown or names an operation that ``nas.operations`` does not have, or there are fewer
        than three layers.

    Notes
    -----
    ``forward(x)``: N × in_channels × H × W → N × num_classes logits.
    """

    def __init__(
        self,
        space: str | SearchSpace,
        *,
        channels: int,
        layers: int,
        nodes: int,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if layers < 3:
            raise UserError(f"layers: {layers} is not allowed: must be at least 3, or no cell is a normal one")
        self.space = _resolve(space)
        self.nodes = nodes
        names = self.space.operations
        shape = (len(edges(nodes)), len(names))
        self.alphas_normal = nn.Parameter(1e-3 * torch.randn(shape))
        self.alphas_reduce = nn.Parameter(1e-3 * torch.randn(shape))
        self.stem = stem(in_channels, 3 * channels)
        self.cells = nn.ModuleList()
        self.reductions = reduction_layers(layers)
        before_last = last = 3 * channels
        for layer in range(layers):
            reduction, after_reduction = layer in self.reductions, layer - 1 in self.reductions
            channels = 2 * channels if reduction else channels
            self.cells.append(
                MixedCell(
                    names, nodes, before_last, last, channels, reduction=reduction, after_reduction=after_reduction
                )
            )
            before_last, last = last, nodes * channels
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        normal, reduce = self.alphas_normal.softmax(dim=-1), self.alphas_reduce.softmax(dim=-1)
        before_last = last = channels_last(self.stem(x))
        for layer, cell in enumerate(self.cells):
            weights = reduce if layer in self.reductions else normal
            before_last, last = last, cell(before_last, last, weights)
        return self.classifier(last.mean(dim=(2, 3)))

    def alphas(self) -> list[nn.Parameter]:
        """The architecture's parameters: α of the normal and of the reduction cells."""
        return [self.alphas_normal, self.alphas_reduce]

    def weights(self) -> dict[str, nn.Parameter]:
        """The operations' parameters by name: all but α."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("alphas_")}

    def genotype(self) -> Genotype:
        """The genotype that α stands for now."""
        return derive(self.space.operations, self.alphas_normal, self.alphas_reduce)


def _resolve(space: str | SearchSpace) -> SearchSpace:
    if isinstance(space, str):
        if space not in SPACES:
            raise UserError(f"{space} is no search space: {suggest(space, SPACES)}")
        space = SPACES[space]
    unknown = [name for name in space.operations if name not in OPERATIONS]
    if unknown:
        raise UserError(
            f"space {space.name} names {unknown[0]}, which is no operation: {suggest(unknown[0], OPERATIONS)}"
        )
    return space
