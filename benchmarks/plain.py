"""The search and its networks as the papers write them, and nothing else: what `nas` is measured and checked against.

DARTS is Liu et al. (2019); PIBConv is Ahmadian et al. (2023). Every operation of every edge is computed by itself, on
contiguous N × C × H × W tensors, by autograd. Nothing is imported from the modules of `nas` that do the same; the
tensors have the same names and shapes, so that ``plain.load_state_dict(theirs.state_dict())`` works.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, cross_entropy, pad

from nas.space.genotypes import Genotype

Batch = tuple[Tensor, Tensor]


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x[:, :, :: self.stride, :: self.stride]


class FactorizedReduce(nn.Module):
    """ReLU, two 1×1 convolutions of stride 2, the second on the input shifted by one pixel, BN (DARTS)."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.even = conv(channels_in, channels_out // 2, 1, stride=2)
        self.odd = conv(channels_in, channels_out - channels_out // 2, 1, stride=2)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        even = self.even(x)
        odd = self.odd(pad(x, (0, 1, 0, 1))[:, :, 1:, 1:])
        return self.norm(torch.cat([even, odd[:, :, : even.shape[2], : even.shape[3]]], dim=1))


def conv(channels_in: int, channels_out: int, kernel: int | tuple[int, int], **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, bias=False, **options)


def relu_conv_norm(channels_in: int, channels_out: int, affine: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(), conv(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out, affine=affine)
    )  # fmt: skip


def skip_connect(c: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine)


def sep_conv(c: int, stride: int, affine: bool, k: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        conv(c, c, k, stride=stride, padding=k // 2, groups=c),
        conv(c, c, 1),
        nn.BatchNorm2d(c, affine=affine),
        nn.ReLU(),
        conv(c, c, k, padding=k // 2, groups=c),
        conv(c, c, 1),
        nn.BatchNorm2d(c, affine=affine),
    )


def dil_conv(c: int, stride: int, affine: bool, k: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        conv(c, c, k, stride=stride, padding=k - 1, dilation=2, groups=c),
        conv(c, c, 1),
        nn.BatchNorm2d(c, affine=affine),
    )


def conv_7x1_1x7(c: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        conv(c, c, (1, 7), stride=(1, stride), padding=(0, 3)),
        conv(c, c, (7, 1), stride=(stride, 1), padding=(3, 0)),
        nn.BatchNorm2d(c, affine=affine),
    )


def pib_conv(c: int, stride: int, affine: bool, k: int) -> nn.Module:
    """The pseudo-inverted bottleneck with F = 2 (PIBConv, Fig. 2c)."""
    return nn.Sequential(
        conv(c, c, k, stride=stride, padding=k // 2, groups=c),
        nn.BatchNorm2d(c, affine=affine),
        conv(c, 2 * c, 1),
        conv(2 * c, c, k, padding=k // 2, groups=c),
        nn.GELU(),
        conv(c, c, 1),
    )


# (channels, stride, affine) → module
OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": lambda c, stride, affine: Zero(stride),
    "skip_connect": skip_connect,
    "max_pool_3x3": lambda c, stride, affine: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda c, stride, affine: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "sep_conv_3x3": lambda c, stride, affine: sep_conv(c, stride, affine, 3),
    "sep_conv_5x5": lambda c, stride, affine: sep_conv(c, stride, affine, 5),
    "dil_conv_3x3": lambda c, stride, affine: dil_conv(c, stride, affine, 3),
    "dil_conv_5x5": lambda c, stride, affine: dil_conv(c, stride, affine, 5),
    "conv_7x1_1x7": conv_7x1_1x7,
    "pib_conv_3x3": lambda c, stride, affine: pib_conv(c, stride, affine, 3),
    "pib_conv_5x5": lambda c, stride, affine: pib_conv(c, stride, affine, 5),
    "pib_conv_7x7": lambda c, stride, affine: pib_conv(c, stride, affine, 7),
}


def candidate(name: str, channels: int, stride: int) -> nn.Module:
    """An operation of the supernet: BN is not affine, and follows pooling."""
    operation = OPERATIONS[name](channels, stride, False)
    return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False)) if "pool" in name else operation


class MixedOp(nn.Module):
    """Σ_k w_k · operation_k(x) (DARTS, eq. 2). ``none`` is zero: not computed, only its weight counts."""

    def __init__(self, names: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.columns = [k for k, name in enumerate(names) if name != "none"]
        self.operations = nn.ModuleList(candidate(names[k], channels, stride) for k in self.columns)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weights[k] * operation(x) for k, operation in zip(self.columns, self.operations, strict=True))


def reduction_layers(layers: int) -> set[int]:
    return {layers // 3, 2 * layers // 3}


def preprocess(channels: tuple[int, int, int], reduction_prev: bool, affine: bool) -> tuple[nn.Module, nn.Module]:
    """What brings the outputs of the last cell but one and of the last cell to C; `channels`: theirs, and C."""
    prev_prev, prev, c = channels
    first = FactorizedReduce if reduction_prev else relu_conv_norm
    return first(prev_prev, c, affine), relu_conv_norm(prev, c, affine)


class PlainMixedCell(nn.Module):
    """A mixed operation from every earlier state to every node (DARTS, eq. 1); all nodes are concatenated."""

    def __init__(
        self, names: Sequence[str], nodes: int, channels: tuple[int, int, int], reduction: bool, reduction_prev: bool
    ) -> None:
        super().__init__()
        self.preprocess0, self.preprocess1 = preprocess(channels, reduction_prev, affine=False)
        self.nodes = nodes
        self.edges = nn.ModuleList(
            MixedOp(names, channels[2], 2 if reduction and source < 2 else 1)
            for node in range(nodes)
            for source in range(2 + node)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        rows = iter(zip(self.edges, weights, strict=True))
        for _ in range(self.nodes):
            mixed = []
            for state in states:
                edge, edge_weights = next(rows)
                mixed.append(edge(state, edge_weights))
            states.append(sum(mixed))
        return torch.cat(states[2:], dim=1)


class PlainSupernet(nn.Module):
    """All operations on every edge, mixed by softmax(α) (DARTS, section 2.2).

    Parameters
    ----------
    operations : sequence of str
        Names of ``OPERATIONS``, in the order of α's columns.
    channels, layers, nodes, num_classes, in_channels : int
        As in ``nas.networks.supernet.Supernet``, whose state_dict fits.

    Notes
    -----
    ``forward(x)``: N × in_channels × H × W → N × num_classes logits.
    """

    def __init__(
        self,
        operations: Sequence[str],
        *,
        channels: int,
        layers: int,
        nodes: int,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        edges = nodes * (nodes + 3) // 2
        self.alphas_normal = nn.Parameter(1e-3 * torch.randn(edges, len(operations)))
        self.alphas_reduce = nn.Parameter(1e-3 * torch.randn(edges, len(operations)))
        prev_prev = prev = 3 * channels
        self.stem = nn.Sequential(conv(in_channels, prev, 3, padding=1), nn.BatchNorm2d(prev))
        self.reductions = reduction_layers(layers)
        self.cells = nn.ModuleList()
        for layer in range(layers):
            reduction, reduction_prev = layer in self.reductions, layer - 1 in self.reductions
            channels = 2 * channels if reduction else channels
            widths = (prev_prev, prev, channels)
            self.cells.append(PlainMixedCell(operations, nodes, widths, reduction, reduction_prev))
            prev_prev, prev = prev, nodes * channels
        self.classifier = nn.Linear(prev, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = self.stem(x)
        for layer, cell in enumerate(self.cells):
            alphas = self.alphas_reduce if layer in self.reductions else self.alphas_normal
            s0, s1 = s1, cell(s0, s1, alphas.softmax(dim=-1))
        return self.classifier(s1.mean(dim=(2, 3)))

    def alphas(self) -> list[nn.Parameter]:
        return [self.alphas_normal, self.alphas_reduce]

    def weights(self) -> list[nn.Parameter]:
        """All parameters but α."""
        return [p for name, p in self.named_parameters() if not name.startswith("alphas_")]


class PlainCell(nn.Module):
    """Each node sums two operations on earlier states; the nodes of `concat` are the output."""

    def __init__(
        self,
        edges: Sequence[tuple[str, int]],
        concat: Sequence[int],
        channels: tuple[int, int, int],
        reduction: bool,
        reduction_prev: bool,
    ) -> None:
        super().__init__()
        self.preprocess0, self.preprocess1 = preprocess(channels, reduction_prev, affine=True)
        self.sources, self.concat = [source for _, source in edges], concat
        self.operations = nn.ModuleList(
            OPERATIONS[name](channels[2], 2 if reduction and source < 2 else 1, True) for name, source in edges
        )

    def forward(self, s0: Tensor, s1: Tensor, drop: float) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for first in range(0, len(self.sources), 2):
            one, other = (self.edge(e, states, drop) for e in (first, first + 1))
            states.append(one + other)
        return torch.cat([states[i] for i in self.concat], dim=1)

    def edge(self, e: int, states: Sequence[Tensor], drop: float) -> Tensor:
        """The result of edge `e`; drop path (FractalNet) is for all but identities."""
        result = self.operations[e](states[self.sources[e]])
        if drop and self.training and not isinstance(self.operations[e], nn.Identity):
            keep = 1 - drop
            result = result * result.new_empty(len(result), 1, 1, 1).bernoulli_(keep) / keep
        return result


class AuxiliaryTower(nn.Module):
    """ReLU, average pooling to 2×2, 1×1 convolution to 128, 2×2 convolution to 768, linear (DARTS)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(channels, 128, 1), nn.BatchNorm2d(128), nn.ReLU(), conv(128, 768, 2), nn.BatchNorm2d(768), nn.ReLU()
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        x = avg_pool2d(x, 5, stride=3) if x.shape[2:] == (8, 8) else adaptive_avg_pool2d(x, 2)
        return self.classifier(self.features(x).flatten(1))


class PlainNetwork(nn.Module):
    """The discrete network of a genotype (DARTS, section 3.1).

    Parameters
    ----------
    genotype : Genotype
    channels, layers, num_classes, in_channels, auxiliary
        As in ``nas.networks.network.Network``, whose state_dict fits.

    Attributes
    ----------
    drop_path : float, default 0
        Probability with which an edge's result is dropped while training.

    Notes
    -----
    ``forward(x)``: N × in_channels × H × W → N × num_classes logits; while training with an auxiliary tower, a pair
    (logits, auxiliary logits).
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int = 3,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.drop_path = 0.0
        prev_prev = prev = 3 * channels
        self.stem = nn.Sequential(conv(in_channels, prev, 3, padding=1), nn.BatchNorm2d(prev))
        self.cells, self.auxiliary = nn.ModuleList(), None
        reductions = reduction_layers(layers)
        for layer in range(layers):
            reduction, reduction_prev = layer in reductions, layer - 1 in reductions
            channels = 2 * channels if reduction else channels
            edges = genotype.reduce if reduction else genotype.normal
            concat = genotype.reduce_concat if reduction else genotype.normal_concat
            self.cells.append(PlainCell(edges, concat, (prev_prev, prev, channels), reduction, reduction_prev))
            prev_prev, prev = prev, len(concat) * channels
            if auxiliary and layer == 2 * layers // 3:
                self.auxiliary = AuxiliaryTower(prev, num_classes)
        self.classifier = nn.Linear(prev, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        s0 = s1 = self.stem(x)
        auxiliary_logits = None
        for layer, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop_path)
            if self.training and self.auxiliary is not None and layer == 2 * len(self.cells) // 3:
                auxiliary_logits = self.auxiliary(s1)
        logits = self.classifier(s1.mean(dim=(2, 3)))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


def first_order_gradient(supernet: PlainSupernet, alpha_batch: Batch) -> list[Tensor]:
    """∇α L_val(w, α) (DARTS, section 2.3 with ξ = 0)."""
    images, labels = alpha_batch
    return list(torch.autograd.grad(cross_entropy(supernet(images), labels), supernet.alphas()))


def second_order_gradient(
    supernet: PlainSupernet, optimizer: torch.optim.SGD, weights_batch: Batch, alpha_batch: Batch
) -> list[Tensor]:
    """∇α L_val(w − ξ·(step of SGD), α), its Hessian–vector product by finite differences (DARTS, eq. 6 to 8)."""
    (train_images, train_labels), (valid_images, valid_labels) = weights_batch, alpha_batch
    xi, momentum, decay = (optimizer.param_groups[0][key] for key in ("lr", "momentum", "weight_decay"))
    probe = copy.deepcopy(supernet)
    alphas, weights = probe.alphas(), probe.weights()

    # w' = w − ξ · (momentum · velocity + ∇w L_train(w, α) + decay · w)
    gradients = torch.autograd.grad(cross_entropy(probe(train_images), train_labels), weights)
    with torch.no_grad():
        for w_ahead, w, gradient in zip(weights, supernet.weights(), gradients, strict=True):
            velocity = optimizer.state[w].get("momentum_buffer")
            w_ahead -= xi * (gradient + decay * w + (0 if velocity is None else momentum * velocity))

    # ∇α L_val(w', α) and v = ∇w' L_val(w', α)
    found = torch.autograd.grad(cross_entropy(probe(valid_images), valid_labels), [*alphas, *weights])
    direct, v = found[: len(alphas)], found[len(alphas) :]
    epsilon = 0.01 / torch.cat([part.flatten() for part in v]).norm()

    def gradient_at(sign: int) -> Sequence[Tensor]:
        """∇α L_train(w ± εv, α)."""
        with torch.no_grad():
            for w_shifted, w, part in zip(weights, supernet.weights(), v, strict=True):
                w_shifted.copy_(w + sign * epsilon * part)
        return torch.autograd.grad(cross_entropy(probe(train_images), train_labels), alphas)

    return [
        g - xi * (plus - minus) / (2 * epsilon)
        for g, plus, minus in zip(direct, gradient_at(+1), gradient_at(-1), strict=True)
    ]


def first_order_step(
    supernet: PlainSupernet,
    optimizer: torch.optim.SGD,
    alpha_optimizer: torch.optim.Adam,
    weights_batch: Batch,
    alpha_batch: Batch,
) -> None:
    """A step of α on `alpha_batch`, then one of w on `weights_batch` (DARTS, algorithm 1).

    The running statistics of BN see both batches, as in DARTS's own program.
    """
    _step(supernet, optimizer, alpha_optimizer, first_order_gradient(supernet, alpha_batch), weights_batch)


def second_order_step(
    supernet: PlainSupernet,
    optimizer: torch.optim.SGD,
    alpha_optimizer: torch.optim.Adam,
    weights_batch: Batch,
    alpha_batch: Batch,
) -> None:
    """As `first_order_step`, with the gradient of second order."""
    gradients = second_order_gradient(supernet, optimizer, weights_batch, alpha_batch)
    _step(supernet, optimizer, alpha_optimizer, gradients, weights_batch)


def _step(
    supernet: PlainSupernet,
    optimizer: torch.optim.SGD,
    alpha_optimizer: torch.optim.Adam,
    alpha_gradients: Sequence[Tensor],
    weights_batch: Batch,
) -> None:
    for alpha, gradient in zip(supernet.alphas(), alpha_gradients, strict=True):
        alpha.grad = gradient
    alpha_optimizer.step()
    images, labels = weights_batch
    optimizer.zero_grad()
    cross_entropy(supernet(images), labels).backward()
    nn.utils.clip_grad_norm_(supernet.weights(), 5.0)
    optimizer.step()


def evaluation_step(
    network: PlainNetwork, optimizer: torch.optim.SGD, batch: Batch, auxiliary_weight: float = 0.4
) -> None:
    """A step of SGD on a discrete network with an auxiliary tower, the gradient clipped at 5 (DARTS, section 3.1)."""
    images, labels = batch
    logits, auxiliary_logits = network(images)
    optimizer.zero_grad()
    loss = cross_entropy(logits, labels) + auxiliary_weight * cross_entropy(auxiliary_logits, labels)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
