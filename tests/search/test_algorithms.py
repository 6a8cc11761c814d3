"""Every algorithm of `nas.search`: one contract for all, what ties each to another, and what its paper says it does."""

from inspect import get_annotations

import pytest
import torch
from test_search import crashing, loaders
from torch import Tensor, nn

from nas.analysis.landscape import dominant_eigenvalue
from nas.data.batches import Batches
from nas.networks import supernet as supernets
from nas.networks.supernet import MixedOperation, Mixture, Supernet
from nas.pipeline.errors import UserError
from nas.pipeline.params import ADDED, MIXING, Algorithms
from nas.search.algorithm import Algorithm, Step, make
from nas.search.loop import AlphaRecipe, functional_loss, search
from nas.space.genotypes import CELLS, derive_from_weights, edges
from nas.space.spaces import SearchSpace
from nas.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("paths")

SPACE = SearchSpace("small", ("none", "skip_connect", "avg_pool_3x3", "dil_conv_3x3", "sep_conv_3x3"))
# Of a run of a few steps: what warms up does so for one epoch, what counts steps counts few.
OWN = {
    "pc_darts": {"partial": 2, "warm_up": 1},
    "drnas": {"alone": 1},
    "oles": {"count": 2},
    "r_darts": {"window": 1, "watch_from": 1},
    "darts_plus": {"stop_skips": 9},
}
TOGETHER = ("drnas+darts_minus", "pc_darts+smooth_darts+darts_minus", "darts_second+smooth_darts", "oles+pc_darts")
ALL = (*MIXING, *ADDED, *TOGETHER)


def made(name: str, **own: object) -> Algorithm:
    parameters = {key: value for part in name.split("+") for key, value in OWN.get(part, {}).items()}
    return make(name, parameters | own)


def small(algorithm: Algorithm, space: SearchSpace = SPACE) -> Supernet:
    torch.manual_seed(0)
    how = {"channels": 4, "layers": 3, "nodes": 2, "num_classes": 3, "in_channels": 1}
    return Supernet(space, **how, **algorithm.supernet()).double()


def recipe(epochs: int = 3, learning_rate: float = 0.1) -> Recipe:
    return Recipe(epochs=epochs, learning_rate=learning_rate, weight_decay=3e-4, gradient_clip=5.0)


class Doubled(Batches):
    """In float64, so that what is the same mathematics is the same but for 1e-9."""

    def epoch(self, seed: int):
        for images, labels in super().epoch(seed):
            yield images.double(), labels


def searched(
    algorithm: Algorithm,
    epochs: int = 3,
    key: str | None = None,
    like: Supernet | None = None,
    rate: float = 0.05,
    space: SearchSpace = SPACE,
) -> tuple[Supernet, list[dict], list[dict]]:
    supernet, batches = small(algorithm, space), loaders()
    for each in batches:
        each.__class__ = Doubled
    if like is not None:
        supernet.load_state_dict(like.state_dict(), strict=False)
    found = search(supernet, *batches, recipe(epochs), AlphaRecipe(rate), algorithm, seed=1, key=key)
    return supernet, *found


def step_of(algorithm: Algorithm, supernet: Supernet) -> Step:
    """A step in the middle of a search, whose batches are alike in size but not in what they show."""
    algorithm.prepare(supernet)
    algorithm.begin(2, 4)
    torch.manual_seed(5)
    batches = [(torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 3) for _ in range(2)]
    loss = functional_loss(supernet, algorithm=algorithm)
    alphas = [*supernet.alphas(), *algorithm.parameters()]
    how = recipe()
    return Step(loss, loss, supernet.weights(), alphas, *batches, how.optimizer(supernet.weights().values()), how)


# The contract


def test_every_algorithm_is_a_file_with_the_parameters_that_params_yaml_knows() -> None:
    known = Algorithms.model_fields
    for name in (*MIXING, *ADDED):
        algorithm = make(name)
        assert bool(algorithm.added) == (name in ADDED)
        own = set(get_annotations(type(algorithm)))
        assert own == (set(known[name].annotation.model_fields) if name in known else set())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_search_that_is_killed_ends_in_the_same_bits(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    supernet, history, alphas = searched(made(name), epochs=4)
    if len(history) > 2:
        with crashing(monkeypatch, epochs=2):
            searched(made(name), epochs=4, key="key")
    resumed = searched(made(name), epochs=4, key="key")
    assert resumed[1:] == (history, alphas)
    assert all(torch.equal(a, b) for a, b in zip(resumed[0].parameters(), supernet.parameters(), strict=True))
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.parametrize("name", [n for n in ALL if not {"gdas", "drnas", "darts_second"} & {*n.split("+")}])
def test_the_gradient_of_alpha_is_that_of_the_loss_under_the_same_draws(name: str) -> None:
    """By finite differences. GDAS's, DrNAS's and the second order's are others, which have their own tests."""
    algorithm = made(name)
    supernet = small(algorithm)
    step = step_of(algorithm, supernet)
    fixed = {name: weight.detach() for name, weight in step.weights.items()}

    def loss() -> float:
        torch.manual_seed(7)
        with torch.no_grad():
            return step.loss(fixed, step.alpha_batch).item()

    torch.manual_seed(7)
    gradients = algorithm.gradients(step)
    assert len(gradients) == len(step.alphas) and all(gradient.norm() > 1e-6 for gradient in gradients)
    for parameter, gradient in zip(step.alphas, gradients, strict=True):
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-5 * direction
                values.append(loss())
                parameter -= sign * 1e-5 * direction
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-8)


class Noise(nn.Module):
    """Says nothing of its input."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.randn_like(x[:, :, :: self.stride, :: self.stride])


@pytest.mark.parametrize("name", ALL)
def test_it_finds_the_one_operation_that_is_of_use(name: str, monkeypatch) -> None:
    candidate = supernets._candidate

    def planted(operation: str, channels: int, stride: int) -> nn.Module:
        return Noise(stride) if operation.startswith("noise") else candidate(operation, channels, stride)

    monkeypatch.setattr(supernets, "_candidate", planted)
    own = {"gdas": {"tau": 1.0}, "fair_darts": {"zero_one": 0.1}}  # of α's learning rate here, 300 times the papers'
    algorithm = made(name, **own.get(name, {}))
    supernet = small(algorithm, SearchSpace("planted", ("noise_1", "skip_connect", "noise_2"))).float()
    search(supernet, *loaders(96), recipe(8, 0.05), AlphaRecipe(0.1), algorithm, seed=1)
    tables = {
        cell: algorithm.scores(alphas.detach(), cell).tolist()
        for cell, alphas in zip(("normal", "reduce"), supernet.alphas(), strict=True)
    }
    assert derive_from_weights(supernet.space.operations, tables).operations() == {"skip_connect"}


@pytest.mark.parametrize("name", ["gads", "loop", "darts+batches", "algorithm"])
def test_what_is_no_algorithm_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name.split('+')[-1]}: there is no such search algorithm$"):
        make(name)


# What ties one to another


def differences(found: tuple, expected: tuple) -> float:
    """The largest between α, of both, relative to how far it moved."""
    (one, *_), (other, *_) = found, expected
    moved = small(Algorithm()).alphas_normal
    pairs = zip(one.alphas(), other.alphas(), strict=True)
    return max(((a - b).norm() / (b - moved).norm()).item() for a, b in pairs)


@pytest.mark.parametrize(
    "name, own", [("smooth_darts", {"epsilon": 0.0, "epsilon_min": 0.0}), ("darts_minus", {"beta": 0.0})]
)
def test_without_what_it_adds_it_is_darts(name: str, own: dict) -> None:
    plain = searched(make("darts"))
    begun = small(make("darts"))
    assert differences(searched(make(name, own), like=begun), plain) < 1e-9
    assert differences(searched(make(name), like=begun), plain) > 1e-4


def test_smooth_darts_attacks_with_nothing_where_epsilon_is_0() -> None:
    own = {"epsilon": 0.0, "epsilon_min": 0.0, "attack_steps": 2}
    assert differences(searched(make("smooth_darts", own)), searched(make("darts"))) < 1e-9


def test_oles_without_patience_stops_nothing_and_is_darts() -> None:
    algorithm = made("oles", patience=-1.0)
    assert differences(searched(algorithm), searched(make("darts"))) < 1e-9
    assert not algorithm.stopped.any()


@pytest.mark.parametrize("added", ["darts_plus", "r_darts"])
def test_a_stop_changes_nothing_before_it(added: str) -> None:
    found, plain = searched(made(added)), searched(make("darts"))
    length = min(len(found[2]), len(plain[2]))
    assert found[2][:length] == plain[2][:length]


def test_second_order_without_a_learning_rate_is_first_order() -> None:
    algorithm = make("darts_second")
    supernet = small(algorithm)
    step = step_of(algorithm, supernet)
    step.optimizer.param_groups[0]["lr"] = 0.0
    for found, expected in zip(algorithm.gradients(step), make("darts").gradients(step), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_the_order_of_what_is_added_is_fixed() -> None:
    """Or the mixture would be another, without a word: edges' weights come last, perturbations first."""
    for name in ("pc_darts+smooth_darts+darts_minus+darts", "darts+darts_minus+smooth_darts+pc_darts"):
        algorithm = made(name)
        supernet = small(algorithm)
        step = step_of(algorithm, supernet)
        algorithm.before_weights(step)
        alphas, edges = supernet.alphas_normal, algorithm.of_edges("normal")
        torch.testing.assert_close(edges[:2].sum() + edges[2:].sum(), torch.full((), 2.0, dtype=torch.float64))
        found = algorithm.mixture(alphas, "normal", "weights").weights
        raw = (alphas.softmax(-1) + algorithm.shifts["normal"]).clamp(min=0)
        shifted = raw / raw.sum(-1, keepdim=True)
        faded = torch.full((5, 1), algorithm.faded, dtype=torch.float64)
        torch.testing.assert_close(found, edges * torch.cat([shifted, faded], dim=1))


# What each paper says


def test_snas_draws_mixtures_that_come_close_to_one_operation() -> None:
    """The concrete distribution: the largest is operation k with probability softmax(α)_k, whatever τ."""
    torch.manual_seed(0)
    algorithm = make("snas")
    alphas = torch.tensor([[0.0, 1.0, -1.0], [2.0, 2.0, 0.0]], dtype=torch.float64)
    for temperature, close in ((1.0, False), (0.01, True)):
        algorithm.temperature = temperature
        draws = torch.stack([algorithm.mixture(alphas, "normal", "alpha").weights for _ in range(4000)])
        torch.testing.assert_close(draws.sum(-1), torch.ones(4000, 2, dtype=torch.float64))
        assert (draws.max(-1).values.mean() > 0.99) == close
        share = nn.functional.one_hot(draws.argmax(-1), 3).double().mean(0)
        expected = alphas.softmax(-1)
        assert ((share - expected).abs() < 4 * (expected * (1 - expected) / 4000).sqrt()).all()


def test_drnas_draws_from_a_dirichlet_distribution() -> None:
    """Mean c/s and variance c(s − c)/(s²(s + 1)) of concentrations c with sum s, c = ELU(α) + 1."""
    torch.manual_seed(0)
    algorithm = make("drnas")
    alphas = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]], dtype=torch.float64)
    c = torch.where(alphas > 0, alphas + 1, alphas.exp())
    s = c.sum(-1, keepdim=True)
    draws = torch.stack([algorithm.mixture(alphas, "normal", "alpha").weights for _ in range(8000)])
    variance = c * (s - c) / (s**2 * (s + 1))
    assert ((draws.mean(0) - c / s).abs() < 4 * (variance / 8000).sqrt()).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.1, atol=0)
    torch.testing.assert_close(algorithm.scores(alphas, "normal"), c / s)


def test_the_gradient_of_drnas_is_that_of_the_expectation() -> None:
    """Averaged over draws, d/dα of a linear function of them is that of its mean, Σ direction · c/s."""
    torch.manual_seed(0)
    algorithm, direction = make("drnas"), torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    alphas = torch.tensor([[0.3, -0.4, 0.1]], dtype=torch.float64, requires_grad=True)
    draws = [(direction * algorithm.mixture(alphas, "normal", "alpha").weights).sum() for _ in range(4000)]
    found = torch.stack([torch.autograd.grad(draw, alphas)[0] for draw in draws])
    mean = (direction * algorithm.mixture(alphas, "normal", "valid").weights).sum()
    (expected,) = torch.autograd.grad(mean, alphas)
    assert ((found.mean(0) - expected).abs() < 4 * found.std(0) / 4000**0.5).all()
    assert (found.mean(0) * expected > 0).all()


@pytest.mark.parametrize("name, epochs", [("drnas", {"alone": 2}), ("pc_darts", {"warm_up": 2})])
def test_alpha_rests_while_the_weights_warm_up(name: str, epochs: dict) -> None:
    _, _, alphas = searched(made(name, **epochs), epochs=3)
    tables = [[row["weight"] for row in alphas if row["epoch"] == epoch] for epoch in range(4)]
    assert tables[0] == tables[1] == tables[2] != tables[3]


def test_fair_darts_drives_each_weight_to_0_or_1() -> None:
    """L₀₁ = −w/N Σ (σ(α) − ½)²: 0 where undecided, −w/4 where all is decided."""
    algorithm = make("fair_darts")
    undecided = [torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)]
    assert algorithm.penalty(undecided).item() == 0
    decided = [torch.full((3, 2), 50.0, dtype=torch.float64), torch.full((3, 2), -50.0, dtype=torch.float64)]
    assert algorithm.penalty(decided).item() == pytest.approx(-2.5)
    _, history, _ = searched(make("fair_darts", {"zero_one": 1000.0}), epochs=3, rate=0.3)
    _, plain, _ = searched(make("fair_darts", {"zero_one": 0.0}), epochs=3, rate=0.3)
    assert history[-1]["entropy_normal"] != plain[-1]["entropy_normal"]


def test_darts_minus_fades_the_second_skip_connection() -> None:
    algorithm = make("darts_minus")
    seen = []
    for epoch in range(5):
        algorithm.begin(epoch, 5)
        seen.append(algorithm.mixture(torch.zeros(2, 4), "normal", "alpha").weights[:, -1].tolist())
    assert seen == [[beta, beta] for beta in (1.0, 0.75, 0.5, 0.25, 0.0)]


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_against_their_definition(stride: int) -> None:
    """1/K of the channels mixed, the others passed by, shuffled: channel k·K + j is channel k of part j."""
    torch.manual_seed(0)
    edge = MixedOperation(SPACE.operations, 12, stride, partial=3, beside=("skip_connect",)).double()
    x = torch.randn(2, 12, 6, 6, dtype=torch.float64)
    weights = torch.rand(6, dtype=torch.float64)
    mixed = sum(weights[k] * operation(x[:, :4]) for k, operation in zip((1, 2, 3, 4, 5), edge.operations, strict=True))
    others = x[:, 4:] if stride == 1 else x[:, 4:].unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-1, -2))
    parts = [mixed, *(weights[:5].sum() * others).split(4, dim=1)]
    found = edge(x, weights)
    for k in range(4):
        for j in range(3):
            torch.testing.assert_close(found[:, 3 * k + j], parts[j][:, k])


@pytest.mark.parametrize("attack_steps", [0, 3])
def test_smooth_darts_trains_the_weights_within_epsilon_and_alpha_where_it_is(attack_steps: int) -> None:
    algorithm = make("smooth_darts", {"epsilon": 0.2, "epsilon_min": 0.1, "attack_steps": attack_steps})
    supernet = small(algorithm)
    step = step_of(algorithm, supernet)
    assert algorithm.radius == pytest.approx(0.1 + 0.1 * 2 / 4)
    algorithm.before_weights(step)
    plain = supernet.alphas_normal.softmax(-1)
    shifted = algorithm.mixtures(supernet.alphas(), "weights")[0].weights
    torch.testing.assert_close(shifted.sum(-1), torch.ones(5, dtype=torch.float64))
    raw = (plain + algorithm.shifts["normal"]).clamp(min=0)
    assert all(shift.abs().max() <= algorithm.radius + 1e-12 for shift in algorithm.shifts.values())
    torch.testing.assert_close(shifted, raw / raw.sum(-1, keepdim=True))
    assert torch.equal(algorithm.mixtures(supernet.alphas(), "alpha")[0].weights, plain)


def test_smooth_darts_attack_is_worse_than_chance() -> None:
    """Its loss is larger than that of random perturbations of the same size."""
    losses = {}
    for steps in (0, 4):
        algorithm = make("smooth_darts", {"attack_steps": steps})
        supernet = small(algorithm)
        step = step_of(algorithm, supernet)
        found = []
        for _ in range(12):
            algorithm.before_weights(step)
            with torch.no_grad():
                mixtures = algorithm.mixtures(supernet.alphas(), "weights")
                found.append(step.loss(dict(step.weights), step.weights_batch, mixtures).item())
        losses[steps] = found
    assert min(losses[4]) > max(losses[0])


def test_darts_plus_ends_with_two_skip_connections_in_the_normal_cell() -> None:
    algorithm = make("darts_plus")
    history = [{"skips_normal": skips} for skips in (0, 1, 1, 2)]
    assert [algorithm.stop(history[:n]) for n in (1, 2, 3, 4)] == [None, None, None, 4]
    assert make("darts_plus", {"stop_from": 5}).stop(history) is None
    supernet, history, alphas = searched(make("darts_plus", {"stop_skips": 0}), epochs=4)
    assert len(history) == 1 and {row["epoch"] for row in alphas} == {0, 1}


def test_r_darts_ends_where_the_eigenvalue_grows_and_goes_back() -> None:
    algorithm = make("r_darts", {"window": 2, "watch_from": 1})
    values = [1.0, 1.1, 1.2, 1.3, 1.4, 2.0, 3.0]
    history = [{"eigenvalue": value} for value in values]
    # After 6 epochs: (1.2 + 1.3) / (1.4 + 2.0) = 0.735 < 0.75; after 5: 2.3 / 2.7 = 0.85.
    assert [algorithm.stop(history[:n]) for n in (3, 4, 5, 6)] == [None, None, None, 4]
    assert make("r_darts", {"window": 2, "watch_from": 4}).stop(history[:6]) is None  # three of them count


@pytest.mark.parametrize("seed", [0, 1])
def test_the_dominant_eigenvalue_is_that_of_the_full_hessian(seed: int) -> None:
    algorithm = make("r_darts")
    supernet = small(algorithm)
    with torch.no_grad():
        torch.manual_seed(seed)
        for alphas in supernet.alphas():
            alphas.normal_()
    step = step_of(algorithm, supernet)
    fixed = {name: weight.detach() for name, weight in step.weights.items()}
    gradients = torch.autograd.grad(step.loss(fixed, step.alpha_batch), step.alphas, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(f, step.alphas, retain_graph=True)]) for f in flat]
    expected = torch.linalg.eigvalsh(torch.stack(rows))[-1].item()
    found = dominant_eigenvalue(lambda: step.loss(fixed, step.alpha_batch), step.alphas, tolerance=1e-8)
    assert found == pytest.approx(expected, rel=1e-6)
    assert algorithm.measure(step)["eigenvalue"] == pytest.approx(expected, rel=0.05)


def test_oles_matches_gradients_by_their_cosine() -> None:
    algorithm = made("oles")
    supernet = small(algorithm)
    step = step_of(algorithm, supernet)
    algorithm.gradients(step)
    names, values = list(step.weights), list(step.weights.values())
    both = [torch.autograd.grad(step.loss(step.weights, b), values) for b in (step.weights_batch, step.alpha_batch)]
    of_train, of_valid = (dict(zip(names, each, strict=True)) for each in both)
    found = algorithm._matching(of_train)
    for k in range(len(found)):
        own = [name for name, operation in algorithm.operation_of.items() if operation == k]
        assert not {name.split(".operations.")[1][0] for name in own} & {"0"}  # a skip connection is none of them
        assert own and len({name.split(".operations.")[0] for name in own}) == 1
        one, other = (torch.cat([g[name].flatten() for name in own]) for g in (of_train, of_valid))
        assert found[k].item() == pytest.approx(torch.cosine_similarity(one, other, dim=0).item(), abs=1e-6)


def test_oles_leaves_an_operation_alone_once_its_gradients_disagree() -> None:
    """With more patience than a cosine can have, every operation stops after `count` steps; the rest trains on."""
    algorithm = made("oles", count=3, patience=2.0)  # three steps an epoch
    supernet, _, _ = searched(algorithm, epochs=1)
    assert algorithm.stopped.all()
    before = {name: weight.clone() for name, weight in supernet.weights().items()}
    longer, _, alphas = searched(made("oles", count=3, patience=2.0), epochs=2)
    skips = {name for name in before if ".operations.0." in name}  # of stride 2
    assert skips
    moved = {name for name, weight in longer.weights().items() if not torch.equal(weight, before[name])}
    assert moved and not any(".operations." in name for name in moved - skips)
    tables = [[row["weight"] for row in alphas if row["epoch"] == epoch] for epoch in (1, 2)]
    assert tables[0] != tables[1]


def test_a_mixture_of_one_operation_is_that_operation() -> None:
    torch.manual_seed(0)
    edge = MixedOperation(SPACE.operations, 4, 1).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    weights = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(edge(x, weights), edge.operations[2](x))
    assert Mixture(weights).chosen is None


# Spaces whose edges have operations of their own

WHOLE = SearchSpace("small", SPACE.operations, {cell: (SPACE.operations,) * 5 for cell in CELLS})
# Of the two nodes' five edges each has three of five operations.
OWN_EDGES = SearchSpace(
    "own",
    SPACE.operations,
    {
        cell: tuple(("none", *(name for name in SPACE.operations[1:] if name not in without)) for without in lacks)
        for cell, lacks in {
            "normal": [SPACE.operations[1:3], SPACE.operations[2:4], SPACE.operations[3:]]
            + 2 * [SPACE.operations[1:3]],
            "reduce": [SPACE.operations[3:]] * 4 + [SPACE.operations[2:4]],
        }.items()
    },
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_edges_that_have_all_operations_are_the_space_without_edges(name: str) -> None:
    plain, whole = (searched(made(name), epochs=2, space=space) for space in (SPACE, WHOLE))
    assert plain[1:] == whole[1:]
    state, other = plain[0].state_dict(), whole[0].state_dict()
    assert list(state) == list(other)
    assert all(torch.equal(state[key], other[key]) for key in state)


@pytest.mark.parametrize("name", ALL)
def test_what_an_edge_lacks_has_no_weight_and_is_never_found(name: str) -> None:
    supernet, history, alphas = searched(made(name), space=OWN_EDGES)
    own = {cell: dict(zip(edges(2), OWN_EDGES.edges[cell], strict=True)) for cell in CELLS}
    assert len(alphas) == (len(history) + 1) * 2 * 5 * len(SPACE.operations)
    for row in alphas:
        ends = tuple(map(int, row["edge"].split("-")))
        assert (row["weight"] > 0) == (row["operation"] in own[row["cell"]][ends])
    if "pc_darts" not in name and "fair_darts" not in name:  # whose weights of an edge are no shares of 1
        for i in range(0, len(alphas), len(SPACE.operations)):
            assert sum(row["weight"] for row in alphas[i : i + len(SPACE.operations)]) == pytest.approx(1)
    genotype = supernet.genotype()
    for cell in CELLS:
        for i, (operation, state) in enumerate(getattr(genotype, cell)):
            assert operation in own[cell][state, 2 + i // 2]
