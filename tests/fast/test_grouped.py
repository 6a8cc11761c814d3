"""nas.fast.grouped, which computes mixed cells on a GPU, against MixedCell.forward: here on the CPU, in float64."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from nas.fast import accelerate, conditions, grouped
from nas.networks.network import CellSpec
from nas.networks.supernet import MixedCell, MixedOperation, Supernet
from nas.space.operations import build
from nas.space.spaces import SPACES

C, NODES = 4, 3
# Noise is drawn in another order there: no two passes are alike.
of_spaces = pytest.mark.parametrize(
    "space", [name for name, each in SPACES.items() if "noise" not in each.operations and not each.is_bench201]
)


@pytest.fixture(autouse=True)
def calls(monkeypatch) -> list[MixedCell]:
    """The CPU counts as a GPU, and no map is large enough for the CPU's own fast path; the passes that were grouped."""
    seen, mix_all = [], grouped.mix_all
    monkeypatch.setattr(grouped, "DEVICES", ("cpu",))
    monkeypatch.setattr(conditions, "SMALLEST", float("inf"))
    monkeypatch.setattr(grouped, "mix_all", lambda *given: seen.append(given) or mix_all(*given))
    return seen


def pair(space: str, reduction: bool = False, change: Callable[[MixedCell], object] = lambda cell: None) -> list:
    """A cell that is grouped, and the same one that is plain, with other running statistics than a new one's."""
    torch.manual_seed(0)
    nodes = SPACES[space].nodes or NODES
    names = SPACES[space].of_edges("reduce" if reduction else "normal", nodes)
    cell = MixedCell(names, nodes, CellSpec(5, 6, C, reduction, False)).double().train()
    for norm in cell.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(1, 2)
    change(cell)
    return [accelerate(deepcopy(cell)), cell]


def inputs(space: str, height: int = 6, width: int = 6) -> list[Tensor]:
    torch.manual_seed(1)
    maps = [torch.randn(3, channels, height, width, dtype=torch.float64) for channels in (5, 6)]
    nodes = SPACES[space].nodes or NODES
    weights = torch.rand(nodes * (nodes + 3) // 2, len(SPACES[space].columns), dtype=torch.float64)
    return [each.requires_grad_() for each in (*maps, weights)]


def outcome(cell: MixedCell, given: list[Tensor]) -> dict[str, dict[str, Tensor]]:
    """The map, gradients and the statistics that the pass leaves."""
    y = cell(*given)
    wanted = dict(zip(("s0", "s1", "weights"), given, strict=True)) | dict(cell.named_parameters())
    back = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad(y, list(wanted.values()), back, materialize_grads=True)
    buffers = {name: buffer.double() for name, buffer in cell.named_buffers()}
    return {"map": {"y": y.detach()}, "gradients": dict(zip(wanted, gradients, strict=True)), "statistics": buffers}


def assert_same(ours: dict, plain: dict, tolerance: float = 1e-12) -> None:
    """The norm of each difference, over the norm; of what is zero but for rounding, over a part of the largest."""
    for kind, tensors in plain.items():
        assert ours[kind].keys() == tensors.keys()
        floor = max(tensor.norm().item() for tensor in tensors.values()) / 1000
        for name, tensor in tensors.items():
            assert (ours[kind][name] - tensor).norm() <= tolerance * max(tensor.norm().item(), floor), (kind, name)


# The same mathematics


@of_spaces
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("height, width", [(6, 6), (7, 5)])
def test_a_cell_of_each_space(calls, space, reduction, height, width):
    ours, plain = (outcome(cell, inputs(space, height, width)) for cell in pair(space, reduction))
    assert_same(ours, plain)
    assert len(calls) == 1


def learns_scales(cell: MixedCell) -> None:
    names = SPACES["efficientnetv2"].operations
    for edge in cell.edges:
        edge.operations = nn.ModuleList(build(name, C, edge.stride, True) for name in names).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.3)


def learns_scales_of_pixels_and_at_the_end(cell: MixedCell) -> None:
    for edge in cell.edges:
        edge.operations[1] = build("sep_conv_3x3", C, edge.stride, True).double()
        nn.init.normal_(edge.operations[1][-1].weight)
        edge.operations[2] = build("sep_conv_gelu_ln_3x3", C, edge.stride, True).double()


def mirrors_the_border(cell: MixedCell) -> None:
    for module in cell.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "reflect"
            module._reversed_padding_repeated_twice = [p for p in reversed(module.padding) for _ in range(2)]


def pools_in_two_ways(cell: MixedCell) -> None:
    for edge in cell.edges:
        edge.operations[0][0] = nn.AvgPool2d(3, edge.stride, padding=1)  # counts the padding, unlike operation 1


def differs_on_one_edge(cell: MixedCell) -> None:
    cell.edges[3].operations[1] = build("sep_conv_7x7", C, 1, False).double()


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def doubles(cell: MixedCell) -> None:
    for module in cell.modules():
        if type(module) is nn.Conv2d and module.groups > 1:
            module.__class__ = Doubled


OTHERS = [
    ("efficientnetv2", learns_scales),
    ("darts_ln", learns_scales_of_pixels_and_at_the_end),
    ("convnext", mirrors_the_border),
    ("darts", pools_in_two_ways),
    ("darts", differs_on_one_edge),
    ("darts", doubles),
]


@pytest.mark.parametrize("space, change", OTHERS)
@pytest.mark.parametrize("reduction", [False, True])
def test_layers_of_other_settings(calls, space, change, reduction):
    if change is differs_on_one_edge and reduction:
        pytest.skip("the same operation has another stride there")
    ours, plain = (outcome(cell, inputs(space, 12, 10)) for cell in pair(space, reduction, change))
    assert_same(ours, plain)
    assert len(calls) == 1


def test_an_operation_that_is_replaced_after_a_pass_is_what_the_next_one_computes(calls):
    cells = pair("darts")
    assert_same(*(outcome(cell, inputs("darts")) for cell in cells))
    assert_same(*(outcome(cell, inputs("darts")) for cell in cells))  # by the same plan
    for cell in cells:
        differs_on_one_edge(cell)
        cell.edges[3].operations[1].load_state_dict(cells[0].edges[3].operations[1].state_dict())
    ours, plain = (outcome(cell, inputs("darts")) for cell in cells)
    assert_same(ours, plain)
    assert len(calls) == 3
    for cell in cells:
        doubles(cell)
    assert_same(*(outcome(cell, inputs("darts")) for cell in cells))


@of_spaces
def test_gradients_of_gradients(space):
    def product(cell: MixedCell) -> list[Tensor]:
        given = inputs(space)
        wanted = [*given, *cell.parameters()]
        first = torch.autograd.grad(cell(*given).square().sum(), wanted, create_graph=True)
        along = sum((g * torch.linspace(-1, 1, g.numel(), dtype=g.dtype).view_as(g)).sum() for g in first)
        return list(torch.autograd.grad(along, wanted, materialize_grads=True))

    ours, plain = ({"": dict(enumerate(product(cell)))} for cell in pair(space))
    assert_same(ours, plain, 1e-10)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_whole_supernet(calls, recompute):
    torch.manual_seed(0)
    options = {"channels": 4, "layers": 3, "nodes": 2, "num_classes": 3, "recompute": recompute}
    plain = Supernet("pibconv", **options).double().train()
    ours = accelerate(deepcopy(plain))
    images = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    found = []
    for network in (ours, plain):
        parameters = dict(network.named_parameters())
        gradients = torch.autograd.grad(network(images).square().sum(), list(parameters.values()))
        buffers = {name: buffer.double() for name, buffer in network.named_buffers()}
        found.append({"gradients": dict(zip(parameters, gradients, strict=True)), "statistics": buffers})
    assert_same(*found, tolerance=1e-11)
    assert len(calls) == 3 * (1 + recompute)


@pytest.mark.parametrize("space", ["darts", "darts_ln", "efficientnetv2"])
def test_bfloat16_rounds_as_much_as_in_the_plain_cells(calls, space):
    cells = [cell.float() for cell in pair(space)]
    errors = []
    for _ in range(5):
        given = [torch.randn_like(each, dtype=torch.float32).requires_grad_() for each in inputs(space)]
        found = []
        for cell, rounded in zip((*cells, cells[1]), (True, True, False), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
                y = cell(*given)
            found.append([y.float(), *torch.autograd.grad(y.float().square().mean(), given)])
        ours, plain, exact = found
        errors.append([((x - z).norm() / (y - z).norm()).item() for x, y, z in zip(ours, plain, exact, strict=True)])
    assert len(calls) == 5
    assert torch.tensor(errors).median(dim=0).values.max() < 1.4


# What is left alone


def hook(cell: MixedCell) -> None:
    cell.edges[0].operations[3][1].register_forward_hook(lambda module, given, result: 2 * result)


def freeze(cell: MixedCell) -> None:
    cell.edges[0].operations[3][3].eval()


def average_over_all_batches(cell: MixedCell) -> None:
    cell.edges[0].operations[3][3].momentum = None


def forget_slowly(cell: MixedCell) -> None:
    cell.edges[0].operations[3][3].momentum = 0.01


def write_in_place(cell: MixedCell) -> None:
    cell.edges[-1].operations[3][4].inplace = True


class OtherNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def shift(cell: MixedCell) -> None:
    cell.edges[0].operations[3][3].__class__ = OtherNorm


class OtherCell(MixedCell):
    def forward(self, *given: Tensor) -> Tensor:
        return 2 * super().forward(*given)


def double(cell: MixedCell) -> None:
    cell.__class__ = OtherCell


class OtherEdge(MixedOperation):
    def forward(self, *given: Tensor) -> Tensor:
        return 2 * super().forward(*given)


def double_an_edge(cell: MixedCell) -> None:
    cell.edges[0].__class__ = OtherEdge


CHANGES = [
    hook,
    freeze,
    average_over_all_batches,
    forget_slowly,
    write_in_place,
    shift,
    double,
    double_an_edge,
    nn.Module.eval,
]


@pytest.mark.parametrize("change", CHANGES)
def test_it_leaves_alone(calls, change):
    ours, plain = (outcome(cell, inputs("darts")) for cell in pair("darts", change=change))
    assert_same(ours, plain)
    assert not calls


def test_it_leaves_alone_what_hooks_of_every_module_see(calls):
    cell, _ = pair("darts")
    handle = register_module_forward_hook(lambda *_: None)
    cell(*inputs("darts"))
    handle.remove()
    assert not calls


def test_it_leaves_alone_what_gdas_chose_and_several_processes(calls, monkeypatch):
    cell, plain = pair("darts")
    given, chosen = inputs("darts"), [3] * len(cell.edges)
    torch.testing.assert_close(cell(*given, chosen), plain(*given, chosen))
    monkeypatch.setattr("nas.data.sharing.world", lambda: 2)
    torch.testing.assert_close(cell(*given), plain(*given))
    assert not calls


def test_a_cpu_is_no_gpu(calls, monkeypatch):
    monkeypatch.setattr(grouped, "DEVICES", ("cuda",))
    cell, _ = pair("darts")
    cell(*inputs("darts"))
    assert not calls
