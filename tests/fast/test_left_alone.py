"""What nas.fast does not know it leaves alone: frozen norms, hooks, other forwards; and gradients of gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from nas.fast import accelerate, kernels
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.space.operations.basic import FactorizedReduce
from nas.space.published import PUBLISHED

MODELS = {
    "network": lambda: Network(PUBLISHED["DARTS_PseudoInvBn"], channels=4, layers=3, num_classes=3),
    "supernet": lambda: Supernet("darts", channels=4, layers=3, nodes=2, num_classes=3),
    "pibconv supernet": lambda: Supernet("pibconv", channels=4, layers=3, nodes=2, num_classes=3),
}
of_models = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def both(monkeypatch) -> Callable[..., list]:
    """What a function makes of a model by the fast path and by the plain one; `change` changes it before."""
    monkeypatch.setattr("nas.fast.conditions.SMALLEST", 0)

    def compute(function: Callable[[nn.Module], object], model: str, change: Callable | None = None) -> list:
        results = []
        for path in (accelerate, nn.Module.train):
            torch.manual_seed(0)
            network = MODELS[model]().double().train()
            if change:
                network.apply(change)
            results.append(function(path(network)))
        return results

    return compute


def images() -> Tensor:
    return torch.randn(6, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@of_models
@pytest.mark.parametrize("which", ["all", "every other"])
def test_a_frozen_batch_norm_normalises_by_its_running_statistics(both, model, which):
    def outcome(network: nn.Module) -> tuple[Tensor, list[Tensor]]:
        frozen = norms(network)[:: 1 if which == "all" else 2]
        for norm in frozen:
            norm.eval()
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
        before = [norm.running_mean.clone() for norm in frozen]
        logits = network(images())
        assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(frozen, before, strict=True))
        return logits, [norm.running_var for norm in norms(network)]

    (ours, variances), (plain, plain_variances) = both(outcome, model)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(variances, plain_variances, rtol=1e-9, atol=1e-9)


@of_models
@pytest.mark.parametrize("change", [{"momentum": None}, {"track_running_stats": False}])
def test_batch_norms_of_other_bookkeeping(both, model, change):
    def outcome(network: nn.Module) -> tuple[Tensor, list[Tensor]]:
        for norm in norms(network):
            vars(norm).update(change)
        network(images())
        return network(images().flip(0) + 1), [norm.running_mean for norm in norms(network)]

    ours, plain = both(outcome, model)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@of_models
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre", "of every module"])
def test_hooks_fire_once_for_each_module_and_see_the_plain_values(both, model, kind):
    def outcome(network: nn.Module) -> dict[str, list[Tensor]]:
        names = {module: name for name, module in network.named_modules()}
        seen: dict[str, list[Tensor]] = {}

        def look(module: nn.Module, *maps: object) -> None:
            tensors = [tensor for each in maps for tensor in (each if isinstance(each, tuple) else (each,))]
            seen.setdefault(names[module], []).extend(t for t in tensors if isinstance(t, Tensor))

        convolutions = [module for module in names if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
        if kind == "of every module":
            handles = [register_module_forward_hook(look)]
        else:
            handles = [getattr(module, f"register_{kind}_hook")(look) for module in convolutions]
        try:
            x = images().requires_grad_(kind.startswith("full_backward"))
            network(x).square().sum().backward()
        finally:
            for handle in handles:
                handle.remove()
        assert {names[module] for module in convolutions} <= set(seen)
        return seen

    ours, plain = both(outcome, model)
    assert ours.keys() == plain.keys()
    for name, maps in plain.items():
        torch.testing.assert_close(
            ours[name], maps, rtol=1e-8, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}"
        )


@of_models
def test_a_hook_may_replace_what_a_layer_gives(both, model):
    def outcome(network: nn.Module) -> Tensor:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda module, inputs, output: 2 * output + 1)
        return network(images())

    ours, plain = both(outcome, model)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


class Shifted(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Reversed(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(3))


class Doubled(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@of_models
@pytest.mark.parametrize("kind", [Shifted, Reversed, Doubled])
def test_a_subclass_with_another_forward_keeps_it(both, model, kind):
    def change(module: nn.Module) -> None:
        if isinstance(module, kind.__base__):
            module.__class__ = kind

    ours, plain = both(lambda network: network(images()), model, change)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@of_models
@pytest.mark.parametrize("kind", [nn.ReLU, nn.Sequential, FactorizedReduce])
def test_a_forward_that_was_replaced_on_the_object_is_called(both, model, kind):
    def change(module: nn.Module) -> None:
        if isinstance(module, kind):
            usual = module.forward
            module.forward = lambda x: usual(x).tanh()

    ours, plain = both(lambda network: network(images()), model, change)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@of_models
def test_a_product_with_the_hessian(both, model):
    def outcome(network: nn.Module) -> list[Tensor]:
        weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(network(images()).square().sum(), weights, create_graph=True)
        along = sum(
            (gradient * torch.linspace(-1, 1, gradient.numel(), dtype=gradient.dtype).view_as(gradient)).sum()
            for gradient in gradients
        )
        return list(torch.autograd.grad(along, weights, allow_unused=True, materialize_grads=True))

    ours, plain = both(outcome, model)
    assert sum(found.abs().sum() for found in plain) > 0
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()


def test_gradients_of_gradients_by_finite_differences():
    torch.manual_seed(0)
    x, y = draw(2, 3, 6, 5), draw(2, 3, 6, 5)
    weight, weights = torch.randn(3, 1, 5, 5).double().requires_grad_(), torch.rand(2).double().requires_grad_()
    norm, plain_norms = nn.BatchNorm2d(3).double(), [nn.BatchNorm2d(3, affine=False).double() for _ in range(2)]

    def check(function: Callable[..., object], *inputs: Tensor) -> None:
        assert torch.autograd.gradgradcheck(function, inputs)

    check(lambda x, w: kernels.depthwise_conv(x, w, 1, 1), x, weight)
    check(lambda x, w: kernels.depthwise_conv(x, w, 2, 2), x, weight)
    pointwise = torch.randn(2, 3, 1, 1).double().requires_grad_()
    fixed = weight.detach(), pointwise.detach()
    for stride, dilation in ((1, 1), (1, 2), (2, 1), (2, 2)):
        check(lambda x, w, p, s=stride, d=dilation: kernels.depthwise_conv(x, w, s, d, p), x, weight, pointwise)
        check(lambda x, s=stride, d=dilation: kernels.depthwise_conv(x.sin(), fixed[0], s, d, fixed[1]), x)
    check(lambda x, p: kernels.depthwise_conv(x.sin(), fixed[0], 1, 1, p), x, pointwise)
    check(kernels.every_other, x)
    check(lambda x, y: kernels.concat([x, y]), x, y)
    check(lambda w, x, y: kernels.weighted_sum([x, y], w), weights, x, y)
    check(lambda w, x, y: kernels.weighted_norms([x, y], plain_norms, w), weights, x, y)
    check(lambda x: kernels.batch_norm(x, norm), x)
    check(lambda x: kernels.pool_and_norm(x, nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), plain_norms), x)


def kept(function: Callable[[], Tensor]) -> int:
    """Bytes that a backward pass, and one more through it, would find kept."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # or another would take its place
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function()
    return sum(sizes.values())


def test_no_map_is_kept_for_weights_that_want_no_gradient() -> None:
    x, weight, pointwise = draw(4, 8, 16, 16), torch.randn(8, 1, 3, 3).double(), torch.randn(8, 8, 1, 1).double()
    fixed = kept(lambda: kernels.depthwise_conv(x, weight, 1, 1, pointwise))
    assert fixed == (weight.numel() + pointwise.numel()) * 8
    weight.requires_grad_()
    trained = kept(lambda: kernels.depthwise_conv(x, weight, 1, 1, pointwise))
    assert trained == fixed + 2 * x.numel() * 8


def test_nor_for_a_gradient_that_is_differentiated_again() -> None:
    """R-DARTS's eigenvalue takes what memory there is."""
    x, weight, pointwise = draw(4, 8, 16, 16), torch.randn(8, 1, 3, 3).double(), torch.randn(8, 8, 1, 1).double()

    def plain(x: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.conv2d(x, weight, padding=1, groups=8), pointwise)

    def bytes_of(function: Callable[[Tensor], Tensor]) -> int:
        """Of three edges that leave one state."""
        y = x.sin()
        return kept(
            lambda: torch.autograd.grad(sum(function(y).square().sum() for _ in range(3)), x, create_graph=True)
        )

    between = 3 * x.numel() * 8  # what PyTorch keeps between the two convolutions
    assert bytes_of(lambda x: kernels.depthwise_conv(x, weight, 1, 1, pointwise)) <= bytes_of(plain) - between
