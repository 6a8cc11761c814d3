"""The gradient of α against exact derivatives in float64, and the loop around it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
import torch
from torch import nn
from torch.func import functional_call

from nas.data.batches import Batches
from nas.networks.supernet import Supernet
from nas.search import gdas as gdas_module
from nas.search.algorithm import Algorithm, first_order, make
from nas.search.darts_second import second_order
from nas.search.loop import AlphaRecipe, Relaxed, functional_loss, search, settle_statistics
from nas.space.spaces import SearchSpace
from nas.training.checkpoint import Checkpoint
from nas.training.device import seed_for
from nas.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("paths")

RECIPE = Recipe(
    epochs=2, learning_rate=0.1, learning_rate_min=0.0, momentum=0.9, weight_decay=3e-4, gradient_clip=5.0, precision=32
)


def alpha_recipe(**changes: object) -> AlphaRecipe:
    return AlphaRecipe(**({"learning_rate": 0.01, "betas": (0.5, 0.999), "weight_decay": 0.0} | changes))


def gdas(temperature: float = 10.0) -> Algorithm:
    """GDAS, cooling from `temperature` to 1, for `small_supernet`."""
    return make("gdas", {"tau": temperature, "tau_min": 1.0})


def smooth_problem(seed: int = 0):
    """A small smooth loss of weights w and architecture α: three branches of a tanh layer, mixed by softmax(α)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    weights = {name: draw(5, 5).mul(0.5).requires_grad_() for name in ("a", "b", "c")} | {
        "out": draw(5, 3).requires_grad_()
    }
    alphas = [draw(3).requires_grad_(), draw(3).requires_grad_()]
    batches = [(draw(8, 5), torch.randint(3, (8,), generator=generator)) for _ in range(2)]

    def loss(w: dict[str, torch.Tensor], batch: tuple) -> torch.Tensor:
        x, labels = batch
        for alpha in alphas:
            mix = alpha.softmax(0)
            x = sum(mix[k] * torch.tanh(x @ w[name]) for k, name in enumerate("abc"))
        return nn.functional.cross_entropy(x @ w["out"], labels)

    velocity = {name: draw(*w.shape).mul(0.1) for name, w in weights.items()}
    return loss, weights, alphas, batches, velocity


def exact(loss, weights, alphas, batches, *, xi, weight_decay, momentum, velocity):
    """d/dα L_val(w − ξ(momentum·velocity + ∇w L_train(w, α) + weight_decay·w), α), by differentiating twice."""
    gradients = torch.autograd.grad(loss(weights, batches[0]), list(weights.values()), create_graph=True)
    stepped = {
        name: w - xi * (momentum * velocity[name] + g + weight_decay * w)
        for (name, w), g in zip(weights.items(), gradients, strict=True)
    }
    return torch.autograd.grad(loss(stepped, batches[1]), alphas)


@pytest.mark.parametrize("xi", [0.0025, 0.1, 1.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_second_order_is_the_exact_gradient_on_a_smooth_problem(xi: float, momentum: float) -> None:
    loss, weights, alphas, batches, velocity = smooth_problem()
    options = {"xi": xi, "weight_decay": 0.01, "momentum": momentum, "velocity": velocity}
    expected = exact(loss, weights, alphas, batches, **options)
    found = second_order(loss, weights, alphas, *batches, **options)
    direct = first_order(loss, weights, alphas, batches[1])
    for f, e, d in zip(found, expected, direct, strict=True):
        # ε = 0.01/‖v‖ leaves an error of order ε², small against what the second order adds.
        assert (f - e).norm() < 1e-3 * (e - d).norm() + 1e-12


def test_the_finite_difference_scales_with_xi() -> None:
    """The Hessian–vector product is multiplied by ξ: halving a small ξ halves what it adds."""
    loss, weights, alphas, batches, _ = smooth_problem(1)
    added = []
    for xi in (1e-4, 2e-4):
        gradients = second_order(loss, weights, alphas, *batches, xi=xi)
        added.append(
            torch.cat(gradients) - torch.cat(first_order(loss, weights, alphas, batches[1]))  # L_val moves with w' too
        )
    torch.testing.assert_close(added[1], 2 * added[0], rtol=1e-3, atol=0)


def test_first_order_agrees_with_finite_differences() -> None:
    loss, weights, alphas, batches, _ = smooth_problem(2)
    found = first_order(loss, weights, alphas, batches[1])
    for alpha, gradient in zip(alphas, found, strict=True):
        for i in range(len(alpha)):
            with torch.no_grad():
                alpha[i] += 1e-6
                above = loss(weights, batches[1])
                alpha[i] -= 2e-6
                below = loss(weights, batches[1])
                alpha[i] += 1e-6
            assert gradient[i].item() == pytest.approx(((above - below) / 2e-6).item(), abs=1e-8)


def small_supernet(double: bool = False) -> Supernet:
    torch.manual_seed(0)
    space = SearchSpace("small", ("none", "skip_connect", "avg_pool_3x3", "pib_conv_3x3", "sep_conv_3x3"))
    supernet = Supernet(space, channels=2, layers=3, nodes=2, num_classes=3, in_channels=1)
    return supernet.double() if double else supernet


def test_second_order_on_a_supernet_agrees_with_the_exact_gradient() -> None:
    supernet = small_supernet(double=True)
    batches = [(torch.randn(8, 1, 8, 8, dtype=torch.float64), torch.randint(3, (8,))) for _ in range(2)]
    weights, alphas = supernet.weights(), supernet.alphas()
    loss = functional_loss(supernet)
    zero = {name: torch.zeros_like(w) for name, w in weights.items()}
    options = {"xi": 0.01, "weight_decay": 3e-4, "momentum": 0.9, "velocity": zero}
    expected = torch.cat(exact(loss, weights, alphas, batches, **options))
    # DARTS's radius of 0.01 would cross ReLU's kinks, and the exact gradient has none: a small one shows the formula.
    found = torch.cat(second_order(loss, weights, alphas, *batches, **options, radius=1e-7))
    direct = torch.cat(first_order(loss, weights, alphas, batches[1]))
    assert (found - expected).norm() < 1e-3 * (expected - direct).norm()


def test_the_architects_passes_leave_the_supernet_as_it_was() -> None:
    supernet = small_supernet()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    batch = (torch.randn(8, 1, 8, 8), torch.randint(3, (8,)))
    second_order(functional_loss(supernet), supernet.weights(), supernet.alphas(), batch, batch, xi=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_functional_loss_is_the_loss_of_the_module() -> None:
    supernet = small_supernet()
    images, labels = torch.randn(8, 1, 8, 8), torch.randint(3, (8,))
    doubled = {name: 2 * w for name, w in supernet.weights().items()}
    found = functional_loss(supernet)(doubled, (images, labels))
    with torch.no_grad():
        for w in supernet.weights().values():
            w.mul_(2)
    assert found.item() == nn.functional.cross_entropy(supernet(images), labels).item()


def test_functional_loss_moves_all_places_of_a_tied_weight() -> None:
    """An operation of one's own may use a weight twice; `weights` has one name for it."""
    supernet = small_supernet(double=True)
    one, other = [m for m in supernet.cells[0].modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)][:2]
    one.weight = other.weight
    images, labels = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    doubled = {name: 2 * weight.detach() for name, weight in supernet.weights().items()}
    found = functional_loss(supernet)(doubled, (images, labels))
    with torch.no_grad():
        for weight in supernet.weights().values():
            weight.mul_(2)
    torch.testing.assert_close(found, nn.functional.cross_entropy(supernet(images), labels), rtol=0, atol=1e-12)


def loaders(count: int = 24, brighter: int = 150, batch_size: int = 8) -> tuple[Batches, Batches, Batches]:
    """Images of which a row, by so much brighter, tells the class."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(3, (2 * count,), generator=generator)
    images = (torch.rand(2 * count, 1, 8, 8, generator=generator) * 80).to(torch.uint8)
    images[torch.arange(2 * count), 0, labels * 3] += brighter
    options = {"batch_size": batch_size, "mean": [0.3], "std": [0.3]}
    halves = [(images[i::2], labels[i::2]) for i in (0, 1)]
    train = [Batches(*half, shuffle=True, **options) for half in halves]
    return train[0], train[1], Batches(*halves[1], **options)


@contextmanager
def crashing(monkeypatch: pytest.MonkeyPatch, epochs: int) -> Iterator[None]:
    """What trains here is killed when its checkpoint holds so many epochs."""
    save = Checkpoint.save

    def save_and_crash(self: Checkpoint, records: list[dict]) -> None:
        save(self, records)
        if len(records) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoint, "save", save_and_crash)
        yield


def run(name: str, epochs: int = 2, key: str | None = None, **options) -> tuple[Supernet, list[dict], list[dict]]:
    """Search by the algorithm of that name."""
    supernet = small_supernet()
    recipe = Recipe(**(vars(RECIPE) | {"epochs": epochs} | options))
    # A fast α soon draws the same operations, so that the running statistics are those of the network validated.
    alpha = alpha_recipe(weight_decay=1e-3, **({"learning_rate": 0.3} if name == "gdas" else {}))
    algorithm = gdas() if name == "gdas" else make(name)
    history, alphas = search(supernet, *loaders(), recipe, alpha, algorithm, seed=1, key=key)
    return supernet, history, alphas


@pytest.mark.slow
@pytest.mark.parametrize("name, epochs", [("darts", 12), ("darts_second", 12), ("gdas", 60)])
def test_search_learns_and_tells_how(name: str, epochs: int) -> None:
    supernet, history, alphas = run(name, epochs)
    assert [row["epoch"] for row in history] == list(range(1, epochs + 1))
    # GDAS trains and validates what it draws, so that a single bad epoch is luck, and another processor's rounding.
    late = history[-epochs // 4 :]
    train_loss, valid_top1 = (median(row[key] for row in late) for key in ("train_loss", "valid_top1"))
    assert train_loss < 0.5 * history[0]["train_loss"]
    assert valid_top1 > 90
    edges, operations = supernet.alphas_normal.shape
    assert len(alphas) == (epochs + 1) * 2 * edges * operations
    last = [row["weight"] for row in alphas if row["epoch"] == epochs and row["cell"] == "normal"]
    assert last == supernet.alphas_normal.softmax(1).flatten().tolist()
    for e in range(edges):
        assert math.fsum(last[e * operations : (e + 1) * operations]) == pytest.approx(1, abs=1e-6)
    entropy = -math.fsum(w * math.log(w) for w in last) / edges
    assert history[-1]["entropy_normal"] == pytest.approx(entropy, rel=1e-5)
    chosen = [operation for operation, _ in supernet.genotype().reduce]
    assert history[-1]["skips_reduce"] == chosen.count("skip_connect")


def test_orders_differ_and_each_repeats_to_the_bit() -> None:
    first, again, second = run("darts"), run("darts"), run("darts_second")
    assert torch.equal(first[0].alphas_normal, again[0].alphas_normal)
    assert first[1] == again[1]
    assert not torch.equal(first[0].alphas_normal, second[0].alphas_normal)


def test_gdas_draws_with_a_temperature_that_falls_linearly_from_10_to_1(monkeypatch) -> None:
    """Dong & Yang (2019): τ is large at first, so that the gradient reaches all operations alike, then small."""
    seen: list[float] = []
    draw = gdas_module.one_hot_sample
    monkeypatch.setattr(gdas_module, "one_hot_sample", lambda a, t: seen.append(t) or draw(a, t))
    run("gdas", epochs=4)
    # Two kinds of cell, a pass for α and one for the weights, three batches an epoch.
    assert seen == [t for t in (10.0, 7.0, 4.0, 1.0) for _ in range(2 * 2 * 3)]
    alone = gdas()
    alone.begin(0, 1)
    assert alone.temperature == 10


def test_gdas_repeats_and_resumes_to_the_bit(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    supernet, history, alphas = run("gdas", epochs=4)
    assert history == run("gdas", epochs=4)[1]
    with crashing(monkeypatch, epochs=2):
        run("gdas", epochs=4, key="key")
    resumed = run("gdas", epochs=4, key="key")
    assert resumed[1:] == (history, alphas)
    assert all(torch.equal(a, b) for a, b in zip(resumed[0].parameters(), supernet.parameters(), strict=True))


def test_gdas_goes_on_when_its_draws_cut_a_cell_off() -> None:
    """Where every edge is drawn `none`, nothing depends on α: its gradient is 0, not an error."""
    supernet, algorithm = small_supernet(), gdas(1.0)
    algorithm.prepare(supernet)
    with torch.no_grad():
        supernet.alphas_reduce[:, supernet.space.operations.index("none")] = 1e4
    batch = (torch.randn(8, 1, 8, 8), torch.randint(3, (8,)))
    normal, reduce = first_order(
        functional_loss(supernet, algorithm=algorithm), supernet.weights(), supernet.alphas(), batch
    )
    assert normal.eq(0).all() and reduce.isfinite().all()


def test_a_parameter_that_an_algorithm_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="Gdas has no parameter temperature"):
        make("gdas", {"temperature": 3.0})


def test_a_weights_step_of_gdas_leaves_operations_alone_that_were_not_drawn() -> None:
    supernet = small_supernet()
    before = {name: w.detach().clone() for name, w in supernet.weights().items()}
    weights_half, alpha_half, _ = loaders(8)
    recipe = Recipe(**(vars(RECIPE) | {"epochs": 1, "weight_decay": 0.1}))
    search(supernet, weights_half, alpha_half, alpha_half, recipe, alpha_recipe(), gdas(), seed=1)
    moved = {name for name, w in supernet.weights().items() if not torch.equal(w, before[name])}
    still = set(before) - moved
    assert still and all(".operations." in name for name in still)
    assert "stem.0.weight" in moved and "classifier.weight" in moved
    assert any(".operations." in name for name in moved)


def test_alpha_moves_by_adams_first_step() -> None:
    """After one step Adam has moved every α by its learning rate against the gradient's sign (m/√v = ±1)."""
    supernet = small_supernet()
    before = supernet.alphas_reduce.detach().clone()
    weights_half, alpha_half, _ = loaders(8)
    recipe = Recipe(**(vars(RECIPE) | {"epochs": 1}))
    search(supernet, weights_half, alpha_half, alpha_half, recipe, alpha_recipe(), seed=1)
    moved = (supernet.alphas_reduce.detach() - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0)


@pytest.mark.parametrize("clip", [0.01, None])
def test_weights_step_is_clipped_sgd(clip: float | None) -> None:
    """One step of the weights against the update written out: gradient scaled to the clip, decay, learning rate."""
    supernet = small_supernet()
    weights_half, alpha_half, _ = loaders(8)
    recipe = Recipe(**(vars(RECIPE) | {"epochs": 1, "gradient_clip": clip, "weight_decay": 0.1}))
    search(supernet, weights_half, alpha_half, alpha_half, recipe, alpha_recipe(), seed=1)
    reference = small_supernet()
    with torch.no_grad():  # α steps before the weights
        for alpha, stepped in zip(reference.alphas(), supernet.alphas(), strict=True):
            alpha.copy_(stepped)
    images, labels = next(weights_half.epoch(seed_for(1, 0)))
    weights = reference.weights()
    gradients = torch.autograd.grad(
        nn.functional.cross_entropy(functional_call(reference, {}, (images,)), labels), list(weights.values())
    )
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    assert norm > 0.01
    scale = clip / norm if clip else 1
    for (name, w), g in zip(weights.items(), gradients, strict=True):
        expected = w - 0.1 * (g * scale + 0.1 * w)
        torch.testing.assert_close(supernet.weights()[name], expected, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow  # where the processor only imitates bfloat16
def test_bf16_leaves_the_finite_difference_to_float32() -> None:
    """ε·v is smaller than bfloat16's rounding of the weights, so the difference is taken in float32."""
    supernet = small_supernet()
    weights, alphas = supernet.weights(), supernet.alphas()
    float32, bf16 = functional_loss(supernet), functional_loss(supernet, "bf16")

    def no_difference(w: dict, batch: tuple) -> torch.Tensor:
        return sum(alpha.sum() for alpha in alphas)

    def product(loss, difference_loss, batches: list) -> torch.Tensor:
        """ξ times the Hessian–vector product: what the finite difference adds."""
        whole, direct = (
            torch.cat(second_order(loss, weights, alphas, *batches, xi=0.1, difference_loss=d))
            for d in (difference_loss, no_difference)
        )
        return (whole - direct).flatten()

    kept, lost = [], []
    for _ in range(8):
        batches = [(torch.randn(16, 1, 8, 8), torch.randint(3, (16,))) for _ in range(2)]
        expected = product(float32, float32, batches)
        kept.append(torch.cosine_similarity(product(bf16, float32, batches), expected, dim=0).item())
        lost.append(torch.cosine_similarity(product(bf16, bf16, batches), expected, dim=0).item())
    # Medians: where a difference crosses one of ReLU's kinks, a batch is far off, on another processor another batch.
    assert median(kept) > 0.8
    assert median(kept) > median(lost) + 0.1


def test_validation_scores_are_those_of_the_whole_half_in_eval_mode() -> None:
    supernet, history, _ = run("darts", epochs=3)
    supernet.eval()
    with torch.no_grad():
        parts = [(supernet(images), labels) for images, labels in loaders()[2].epoch(0)]
    logits, labels = (torch.cat(both) for both in zip(*parts, strict=True))
    assert history[-1]["valid_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert history[-1]["valid_top1"] == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())


@pytest.mark.parametrize("name", ["darts", "darts_second", "gdas"])
def test_a_validation_normalises_by_the_statistics_of_what_it_validates(name: str) -> None:
    """Not by running averages, which lag behind the weights: by the mean over the batches of the weights' half."""
    supernet, _, _ = run(name, epochs=2)
    algorithm = gdas() if name == "gdas" else make(name)
    algorithm.prepare(supernet)
    validated = Relaxed(supernet, algorithm)
    seen: dict[str, list] = {}
    for path, norm in supernet.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.train()
            parts = seen[path] = []
            norm.register_forward_pre_hook(lambda _, inputs, parts=parts: parts.append(inputs[0].double()))
    with torch.no_grad():
        kept = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
        for images, _ in loaders()[0].epoch(seed_for(1, 1) + 2):
            validated(images)
    used = {name: parts for name, parts in seen.items() if parts}
    assert len(used) == len(seen) if name != "gdas" else 0 < len(used) < len(seen)
    for path, parts in used.items():
        assert len(parts) == 3
        mean = sum(x.mean(dim=(0, 2, 3)) for x in parts) / 3
        variance = sum(x.transpose(0, 1).flatten(1).var(dim=1) for x in parts) / 3
        torch.testing.assert_close(kept[f"{path}.running_mean"].double(), mean, rtol=1e-4, atol=1e-5, msg=path)
        torch.testing.assert_close(kept[f"{path}.running_var"].double(), variance, rtol=1e-4, atol=1e-5, msg=path)


def test_settling_takes_50_batches_at_most_and_leaves_the_batch_norms_as_they_were() -> None:
    supernet = small_supernet()
    norm = next(module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d))
    settle_statistics(supernet, loaders(count=8 * 60)[0], RECIPE, seed=1)
    assert norm.num_batches_tracked == 50
    assert norm.momentum == 0.1
    assert not any(module.training for module in supernet.modules())


def test_gdas_moves_the_weights_before_alpha() -> None:
    """As its program does: α's gradient is that at the weights of the same step, for operations drawn after theirs."""
    supernet = small_supernet()
    weights_half, alpha_half, _ = loaders(8)
    recipe = Recipe(**(vars(RECIPE) | {"epochs": 1}))
    search(supernet, weights_half, alpha_half, alpha_half, recipe, alpha_recipe(), gdas(), seed=1)
    reference, algorithm = small_supernet(), gdas()
    algorithm.prepare(reference)
    optimizer = recipe.optimizer(reference.weights().values())
    epoch_seed = seed_for(1, 0)
    torch.manual_seed(epoch_seed)
    images, labels = next(weights_half.epoch(epoch_seed))
    nn.functional.cross_entropy(reference(images, algorithm.mixtures(reference.alphas(), "weights")), labels).backward()
    nn.utils.clip_grad_norm_(reference.weights().values(), recipe.gradient_clip)
    optimizer.step()
    images, labels = next(alpha_half.epoch(epoch_seed + 1))
    logits = reference(images, algorithm.mixtures(reference.alphas(), "alpha"))
    expected = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), reference.alphas())
    for alpha, gradient in zip(supernet.alphas(), expected, strict=True):
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(alpha.grad, gradient, rtol=1e-3, atol=1e-6)


def test_bf16_searches_and_keeps_weights_in_float32() -> None:
    supernet, history, _ = run("darts_second", precision="bf16")
    assert math.isfinite(history[-1]["train_loss"])
    assert {p.dtype for p in supernet.parameters()} == {torch.float32}
    assert history != run("darts_second")[1]
