"""Many networks of one shape as a single wider one: horizontal fusion (HFTA: Wang et al., MLSys 2021, section 3).

Maps hold the networks' channels side by side, N × networks·C × H × W, channels innermost in memory. Convolutions are
grouped, so that no network sees another; batch norm, pooling and activations work by the channel anyway. Each network
keeps weights, statistics and gradients of its own: the result is that of one by one, but for rounding.

For others: Fused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.fast.conditions import settings
from nas.fast.kernels import channels_last
from nas.networks.network import Cell, ImageNetStem, Network, stem_maps
from nas.space.operations.basic import ChannelNorm, FactorizedReduce, Identity, Zero


class Fused(nn.Module):
    """Networks that differ in their cells' operations and inputs alone, as one.

    Parameters
    ----------
    networks : sequence of Network
        Of the same channels, layers, stem and classes, without auxiliary tower; what they hold is copied.

    Notes
    -----
    ``forward(x)``: N × in_channels × H × W, which all networks see → N × networks × classes logits.
    ``unfuse()`` writes weights and statistics back into `networks`.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.count = len(networks)
        self.members: dict[nn.Parameter, list[int]] = {}
        self._write: list[tuple[Tensor, list[Tensor]]] = []
        everyone = list(range(self.count))
        self.stem = self.fuse([network.stem for network in networks], everyone)
        self.cells = nn.ModuleList(
            FusedCell(self, list(cells)) for cells in zip(*(network.cells for network in networks), strict=True)
        )
        heads = [network.classifier for network in networks]
        self.weight = self.stacked(everyone, [head.weight for head in heads], torch.stack)
        self.bias = self.stacked(everyone, [head.bias for head in heads], torch.stack)

    def forward(self, x: Tensor) -> Tensor:
        s0, s1 = stem_maps(self.stem, channels_last(x))
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        features = s1.mean((2, 3)).unflatten(1, (self.count, -1))
        return torch.einsum("nmc,mkc->nmk", features, self.weight) + self.bias

    @torch.no_grad()
    def unfuse(self) -> None:
        for wide, parts in self._write:
            for part, value in zip(parts, wide.view(len(parts), -1), strict=True):
                part.copy_(value.view_as(part))

    @torch.no_grad()
    def clip(self, norm: float) -> None:
        """``nn.utils.clip_grad_norm_(…, norm)`` of each network by itself."""
        squares = self.weight.new_zeros(self.count)
        rows = [
            (p.grad.unflatten(0, (len(self.members[p]), -1)), torch.tensor(self.members[p], device=squares.device))
            for p in self.parameters()
            if p.grad is not None
        ]
        for grad, members in rows:
            squares.index_add_(0, members, grad.square().flatten(1).sum(1))
        scales = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for grad, members in rows:
            grad.mul_(scales[members].view(-1, *[1] * (grad.dim() - 1)))

    def stacked(self, members: list[int], parts: Sequence[Tensor], join: Callable = torch.cat) -> nn.Parameter:
        """What `members` have as `parts`, as one parameter whose first dimension goes through them in turn."""
        wide = nn.Parameter(join([part.detach() for part in parts]).contiguous())
        self.members[wide] = members
        self._write.append((wide, list(parts)))
        return wide

    def kept(self, parts: Sequence[Tensor]) -> Tensor:
        """Likewise, of buffers."""
        wide = torch.cat([part.detach() for part in parts])
        self._write.append((wide, list(parts)))
        return wide

    def fuse(self, modules: list[nn.Module], members: list[int]) -> nn.Module:
        """Modules of the same kind and settings, one of each of `members`, as one for their maps side by side."""
        first, count = modules[0], len(modules)
        if type(first).forward is nn.Sequential.forward:
            layers = zip(*modules, strict=True)
            return nn.Sequential(*(self.fuse(list(each), members) for each in layers))
        if type(first) is nn.Conv2d and first.bias is None:
            return FusedConv(first, self.stacked(members, [m.weight for m in modules]), count)
        if type(first) is nn.BatchNorm2d:
            return FusedNorm(self, modules, members)
        if type(first) is ImageNetStem:
            return FusedStem(self, modules, members)
        if type(first) is FactorizedReduce:
            return FusedReduce(self, modules, members)
        if type(first) is ChannelNorm:
            return FusedChannelNorm(self, modules, members)
        if type(first) in (nn.ReLU, nn.GELU, nn.SiLU, nn.MaxPool2d, nn.AvgPool2d, nn.Identity, Identity, Zero):
            return first  # by the channel, and without weights
        return Apart(self, modules, members)


class FusedConv(nn.Module):
    def __init__(self, layer: nn.Conv2d, weight: nn.Parameter, count: int) -> None:
        super().__init__()
        self.weight, self.inputs, self.groups, self.count = weight, layer.in_channels, layer.groups, count
        self.how = (layer.stride, layer.padding, layer.dilation)

    def forward(self, x: Tensor) -> Tensor:
        shared = x.shape[1] == self.inputs and self.groups == 1  # the images, which all networks see
        return functional.conv2d(x, self.weight, None, *self.how, 1 if shared else self.count * self.groups)


class FusedNorm(nn.Module):
    """Batch norm, which knows no network but its channels."""

    def __init__(self, fused: Fused, modules: list[Any], members: list[int]) -> None:
        super().__init__()
        self.momentum, self.eps = modules[0].momentum, modules[0].eps
        self.weight = fused.stacked(members, [m.weight for m in modules])
        self.bias = fused.stacked(members, [m.bias for m in modules])
        self.register_buffer("running_mean", fused.kept([m.running_mean for m in modules]))
        self.register_buffer("running_var", fused.kept([m.running_var for m in modules]))

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )


class FusedStem(nn.Module):
    def __init__(self, fused: Fused, modules: list[Any], members: list[int]) -> None:
        super().__init__()
        self.quarter = fused.fuse([m.quarter for m in modules], members)
        self.eighth = fused.fuse([m.eighth for m in modules], members)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(x)
        return quarter, self.eighth(quarter)


class FusedReduce(nn.Module):
    def __init__(self, fused: Fused, modules: list[Any], members: list[int]) -> None:
        super().__init__()
        self.count = len(modules)
        self.even = fused.fuse([m.even for m in modules], members)
        self.odd = fused.fuse([m.odd for m in modules], members)
        self.norm = fused.fuse([m.norm for m in modules], members)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        height, width = x.shape[-2:]
        shifted = functional.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
        halves = (self.even(channels_last(x[:, :, ::2, ::2])), self.odd(channels_last(shifted)))
        return self.norm(side_by_side(halves, self.count))


class FusedChannelNorm(nn.Module):
    def __init__(self, fused: Fused, modules: list[Any], members: list[int]) -> None:
        super().__init__()
        self.eps = modules[0].norm.eps
        self.weight = fused.stacked(members, [m.norm.weight for m in modules], torch.stack)
        self.bias = fused.stacked(members, [m.norm.bias for m in modules], torch.stack)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1).unflatten(3, self.weight.shape)
        y = functional.layer_norm(pixels, self.weight.shape[1:], eps=self.eps) * self.weight + self.bias
        return y.flatten(3).permute(0, 3, 1, 2)


class Apart(nn.Module):
    """Modules that nothing is known of, each on its own network's channels."""

    def __init__(self, fused: Fused, modules: list[nn.Module], members: list[int]) -> None:
        super().__init__()
        from copy import deepcopy

        self.each = nn.ModuleList(deepcopy(modules))
        for i, (copy, module) in enumerate(zip(self.each, modules, strict=True)):
            for ours, theirs in zip(copy.parameters(), module.parameters(), strict=True):
                fused.members[ours] = [members[i]]
                fused._write.append((ours, [theirs]))
            for ours, theirs in zip(copy.buffers(), module.buffers(), strict=True):
                fused._write.append((ours, [theirs]))

    def forward(self, x: Tensor) -> Tensor:
        maps = x.chunk(len(self.each), dim=1)
        return channels_last(torch.cat([each(part) for each, part in zip(self.each, maps, strict=True)], dim=1))


class FusedCell(nn.Module):
    """The same cell of all networks; on each edge those that hold the same operation on the same state go together."""

    def __init__(self, fused: Fused, cells: list[Cell]) -> None:
        super().__init__()
        self.count, self.concat = len(cells), cells[0].concat
        everyone = list(range(self.count))
        self.preprocess0 = fused.fuse([cell.preprocess0 for cell in cells], everyone)
        self.preprocess1 = fused.fuse([cell.preprocess1 for cell in cells], everyone)
        self.edges = nn.ModuleList(FusedEdge(fused, cells, i) for i in range(len(cells[0].operations)))

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for one, other in zip(self.edges[::2], self.edges[1::2], strict=True):
            states.append(one(states) + other(states))
        return side_by_side([states[i] for i in self.concat], self.count)


class FusedEdge(nn.Module):
    def __init__(self, fused: Fused, cells: list[Cell], edge: int) -> None:
        super().__init__()
        groups: dict[tuple[int, str], list[int]] = {}
        for i, cell in enumerate(cells):
            groups.setdefault((cell.sources[edge], settings_of(cell.operations[edge])), []).append(i)
        self.count = len(cells)
        self.groups: dict[int, list[list[Run]]] = {}  # of each state the groups that take it, as runs of networks
        for (source, _), members in sorted(groups.items()):
            self.groups.setdefault(source, []).append(runs(members))
        self.operations = nn.ModuleList(
            fused.fuse([cells[i].operations[edge] for i in members], members) for _, members in sorted(groups.items())
        )

    def forward(self, states: list[Tensor]) -> Tensor:
        if len(self.operations) == 1:
            return self.operations[0](states[next(iter(self.groups))])
        inputs = [x for source, of in self.groups.items() for x in _Take.apply(states[source], self.count, of)]
        maps = [operation(x) for operation, x in zip(self.operations, inputs, strict=True)]
        return _Put.apply(self.count, [of for groups in self.groups.values() for of in groups], *maps)


Run = tuple[int, int]  # networks in a row: the first, and the one behind the last


def runs(members: Sequence[int]) -> list[Run]:
    """`members`, in order, as few runs."""
    starts = [i for i in members if i - 1 not in members]
    ends = [i + 1 for i in members if i + 1 not in members]
    return list(zip(starts, ends, strict=True))


def settings_of(operation: nn.Module) -> str:
    """What an operation is, but for its weights: its modules, with the settings that their text does not tell."""
    return " ".join(
        f"{name}:{type(module).__qualname__}:{settings(module)}" for name, module in operation.named_modules()
    )


def side_by_side(maps: Sequence[Tensor], count: int) -> Tensor:
    """Of each network its channels of all `maps` in turn."""
    if len(maps) == 1:
        return maps[0]
    return channels_last(torch.cat([x.unflatten(1, (count, -1)) for x in maps], dim=2).flatten(1, 2))


def _parts(x: Tensor, count: int) -> Tensor:
    """N × H × W × networks × C."""
    return channels_last(x).permute(0, 2, 3, 1).unflatten(3, (count, -1))


def _whole(x: Tensor) -> Tensor:
    return x.flatten(3).permute(0, 3, 1, 2)


def _pick(parts: Tensor, of: list[Run]) -> Tensor:
    picked = [parts[..., lo:hi, :] for lo, hi in of]
    return _whole(torch.cat(picked, dim=3) if len(picked) > 1 else picked[0].contiguous())


def _lay(whole: Tensor, of: list[Run], x: Tensor) -> None:
    """Write the channels of `x` where the networks of `of` have theirs."""
    parts, done = _parts(x, sum(hi - lo for lo, hi in of)), 0
    for lo, hi in of:
        whole[..., lo:hi, :] = parts[..., done : done + hi - lo, :]
        done += hi - lo


class _Take(torch.autograd.Function):
    """The channels of each of several groups of networks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, groups: list[list[Run]]) -> tuple[Tensor, ...]:
        ctx.count, ctx.groups, ctx.like = count, groups, (x.new_empty(0), _parts(x, count).shape)
        return tuple(_pick(_parts(x, count), of) for of in groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        like, shape = ctx.like
        taken = sum(hi - lo for of in ctx.groups for lo, hi in of)
        of_x = like.new_empty(shape) if taken == ctx.count else like.new_zeros(shape)
        for of, gradient in zip(ctx.groups, gradients, strict=True):
            _lay(of_x, of, gradient)
        return _whole(of_x), None, None


class _Put(torch.autograd.Function):
    """Maps of groups of networks, in the networks' order."""

    @staticmethod
    def forward(ctx: Any, count: int, groups: list[list[Run]], *maps: Tensor) -> Tensor:
        ctx.count, ctx.groups = count, groups
        n, wide, height, width = maps[0].shape
        channels = wide // sum(hi - lo for lo, hi in groups[0])
        whole = maps[0].new_empty((n, height, width, count, channels))
        for of, x in zip(groups, maps, strict=True):
            _lay(whole, of, x)
        return _whole(whole)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        parts = _parts(gradient, ctx.count)
        return None, None, *(_pick(parts, of) for of in ctx.groups)
