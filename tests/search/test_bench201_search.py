"""NAS-Bench-201's space as one that is searched: its supernet is its networks, and every algorithm works in it."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import reference
import torch
from test_algorithms import ALL, made
from test_search import loaders
from torch import Tensor, nn

from nas.data.inputs import Inputs
from nas.networks.bench201 import Bench201Cell, Bench201Network
from nas.networks.build import build_network
from nas.networks.network import load, save
from nas.networks.supernet import Mixture, Supernet
from nas.networks.supernets import Bench201Supernet, MixedBench201Cell, build_supernet
from nas.pipeline.errors import UserError
from nas.search import AlphaRecipe, make, search
from nas.search.algorithm import Algorithm
from nas.search.loop import functional_loss
from nas.search.one_shot import discrete, opinions
from nas.search.perturbation import select
from nas.space import genotypes
from nas.space.bench201 import EDGES, OPERATIONS, Bench201Genotype, by_edge, written
from nas.space.genotypes import derive_from_weights, random_genotype, weights_at, with_fewer_skips
from nas.space.notation import parse, spelled
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES
from nas.training.recipe import Recipe

SPACE = SPACES["nas_bench_201"]
HOW = {"channels": 4, "layers": 8, "num_classes": 3, "in_channels": 1}


def supernet_for(algorithm: Algorithm | None = None, **how: object) -> Supernet:
    torch.manual_seed(0)
    return build_supernet(SPACE, nodes=3, **HOW | how, **algorithm.supernet() if algorithm else {})


def one_hot(names: list[str]) -> Tensor:
    return torch.eye(5, dtype=torch.float64)[[OPERATIONS.index(name) for name in names]]


def copy_weights(supernet: Supernet, network: Bench201Network, names: list[str]) -> None:
    """All of the network's weights but the scales of its cells' batch norms, which stay at 1 and 0."""
    theirs = [supernet.stem[0], supernet.stem[1], *supernet.body, *supernet.head]
    for ours, module in zip(network, theirs, strict=True):
        if not isinstance(ours, Bench201Cell):
            ours.load_state_dict(module.state_dict())
            continue
        for row, (name, (source, target)) in enumerate(zip(names, EDGES, strict=True)):
            operation, edge = ours.nodes[target - 1][source], module.edges[row]
            if name != "none":
                candidate = edge.operations[edge.columns.index(OPERATIONS.index(name))]
                missing, unexpected = operation.load_state_dict(candidate.state_dict(), strict=False)
                norms = sum(isinstance(m, nn.BatchNorm2d) for m in operation.modules())
                assert len(missing) == 2 * norms and not unexpected


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("layers", [5, 8])
def test_a_decided_supernet_is_the_benchmarks_network(training: bool, layers: int) -> None:
    source, x = random.Random(layers), torch.randn(3, 1, 9, 12, dtype=torch.float64)
    supernet = reference.randomize(supernet_for(layers=layers)).train(training)
    every = [[name] * 6 for name in OPERATIONS] + [source.choices(OPERATIONS, k=6) for _ in range(12)]
    for names in every:
        genotype = Bench201Genotype(written(by_edge(names)))
        network = build_network(genotype, **HOW | {"layers": layers}).double().train(training)
        copy_weights(supernet, network, names)
        wanted = network(x)
        torch.testing.assert_close(supernet(x, [Mixture(one_hot(names))]), wanted, rtol=1e-10, atol=1e-10)
        (alone,) = discrete(supernet, genotype, [Mixture(one_hot(names[::-1]))])
        assert alone.chosen == [OPERATIONS.index(name) for name in names]
        torch.testing.assert_close(supernet(x, [alone]), wanted, rtol=1e-10, atol=1e-10)


def test_the_supernet_mixes_every_edge_of_every_cell_by_alpha() -> None:
    supernet = reference.randomize(supernet_for())
    x = images = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    x, weights = supernet.stem(x), supernet.alphas_normal.softmax(1)
    for module in supernet.body:
        if not isinstance(module, MixedBench201Cell):
            x = module(x)
            continue
        states = [x, 0, 0, 0]
        for row, (source, target) in enumerate(((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))):
            for k, operation in zip((1, 2, 3, 4), module.edges[row].operations, strict=True):
                states[target] = states[target] + weights[row, k] * operation(states[source])
        x = states[3]
    torch.testing.assert_close(supernet(images), supernet.head(x), rtol=1e-10, atol=1e-10)
    again = supernet_for(recompute=True).double()
    again.load_state_dict(supernet.state_dict())
    torch.testing.assert_close(again(images), supernet(images), rtol=1e-12, atol=1e-12)


def test_alpha_is_one_table_of_six_edges() -> None:
    supernet = supernet_for()
    assert [a.shape for a in supernet.alphas()] == [(6, 5)] and supernet.alphas()[0] is supernet.alphas_normal
    assert "alphas_normal" not in supernet.weights()
    assert len(supernet.weights()) == len(list(supernet.parameters())) - 1
    assert sum(isinstance(m, MixedBench201Cell) for m in supernet.body) == 6


def test_all_edges_stay_and_none_may_be_chosen() -> None:
    rows = [
        [0.9, 0.1, 0.0, 0.0, 0.0],  # none
        [0.2, 0.3, 0.1, 0.1, 0.3],  # of equal ones the first: skip_connect
        [0.1, 0.1, 0.1, 0.6, 0.1],
        [0.2, 0.2, 0.2, 0.2, 0.2],  # none
        [0.1, 0.1, 0.4, 0.2, 0.2],
        [0.1, 0.1, 0.1, 0.1, 0.6],
    ]
    expected = "|none~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|"
    assert derive_from_weights(OPERATIONS, {"normal": rows}) == Bench201Genotype(expected)
    fewer = with_fewer_skips(OPERATIONS, {"normal": rows}, 0)
    assert fewer.architecture == expected.replace("skip_connect~0", "avg_pool_3x3~0")
    supernet = supernet_for()
    with torch.no_grad():
        supernet.alphas_normal.copy_(torch.tensor(rows))
    assert supernet.genotype().architecture == expected
    for name in ("gdas", "snas"):  # which validate what would be derived
        algorithm = make(name)
        algorithm.prepare(supernet)
        algorithm.begin(0, 1)
        (mixture,) = algorithm.mixtures(supernet.alphas(), "valid")
        assert [OPERATIONS[k] for k in mixture.weights.argmax(1)] == Bench201Genotype(expected).names()


def test_random_genotypes_are_uniform_over_all_operations() -> None:
    drawn = [random_genotype(SPACE, 3, str(i)).names() for i in range(2000)]
    for edge in range(6):
        counts = Counter(names[edge] for names in drawn)
        assert set(counts) == set(OPERATIONS)
        assert sum((count - 400) ** 2 / 400 for count in counts.values()) < 18.5  # chi-square, 4 degrees, p = 0.001


@pytest.mark.parametrize("name", ALL)
def test_every_algorithm_searches_it(name: str) -> None:
    algorithm = made(name)
    supernet = supernet_for(algorithm)
    before = supernet.alphas_normal.detach().clone()
    recipe = Recipe(epochs=2, learning_rate=0.05)
    history, rows = search(supernet, *loaders(), recipe, AlphaRecipe(0.05), algorithm, seed=1)
    assert (supernet.alphas_normal - before).abs().max() > 1e-3
    assert len(history) == 2 and not [key for key in history[-1] if "reduce" in key]
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in history)
    assert [row["edge"] for row in rows[:30:5]] == ["0-1", "0-2", "1-2", "0-3", "1-3", "2-3"]
    as_text = [{key: str(value) for key, value in row.items()} for row in rows]
    operations, weights = weights_at(as_text)
    found = derive_from_weights(operations, weights)
    scores = algorithm.scores(supernet.alphas_normal.detach(), "normal")
    assert found.names() == [OPERATIONS[k] for k in scores.argmax(1)]
    assert found.skips() == {"skips_normal": history[-1]["skips_normal"]}


def test_pc_darts_weighs_the_edges_into_each_node() -> None:
    algorithm = made("pc_darts")
    supernet = supernet_for(algorithm)
    algorithm.prepare(supernet)
    with torch.no_grad():
        algorithm.betas["normal"].copy_(torch.tensor([3.0, 0.0, 0.0, 1.0, 0.0, 0.0]))
    e = torch.tensor(1.0).exp()
    expected = torch.stack([torch.ones(()), *2 * [torch.tensor(0.5)], e / (e + 2), *2 * [1 / (e + 2)]])
    torch.testing.assert_close(algorithm.of_edges("normal")[:, 0], expected)


def test_the_loss_without_an_algorithm_is_that_of_darts() -> None:
    supernet = supernet_for()
    batch = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    loss = functional_loss(supernet)(supernet.weights(), batch)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(supernet.train()(batch[0]), batch[1]))


def test_what_a_supernet_misses_most_is_selected_of_each_edge() -> None:
    algorithm, batches = make("darts"), loaders()
    supernet = supernet_for()
    recipe = Recipe(epochs=1, learning_rate=0.05)
    search(supernet, *batches, recipe, AlphaRecipe(0.05), algorithm, seed=1)
    found, history = select(supernet, algorithm, batches[0], batches[2], recipe, tune_epochs=1, seed=0)
    assert len(history) == 6 and {len(row["choices"]) for row in history} == {5}
    chosen = {c["edge"]: c["operation"] for row in history for c in row["choices"] if c["chosen"]}
    assert [chosen[f"{source}-{target}"] for source, target in EDGES] == found.names()
    for row in history:  # the least accurate without it, of equal ones that of the largest loss
        kept = min(row["choices"], key=lambda c: (c["top1"], -c["loss"]))
        assert kept["chosen"] == 1 and sum(c["chosen"] for c in row["choices"]) == 1


def test_a_supernet_has_an_opinion_of_each_architecture() -> None:
    algorithm, batches = make("darts"), loaders()
    supernet = supernet_for()
    algorithm.prepare(supernet)
    named = {g.architecture: g for g in (random_genotype(SPACE, 3, str(i)) for i in range(3))}
    rows = list(opinions(supernet, algorithm, named, batches[2], Recipe()))
    assert [row["genotype"] for row in rows] == list(named) and all(0 <= row["top1"] <= 100 for row in rows)
    like = algorithm.mixtures(supernet.alphas(), "valid")
    with pytest.raises(ValueError, match="another kind of cell"):
        discrete(supernet, PUBLISHED["DARTS_V2"], like)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"layers": 6}, "layers: 6 is not allowed: must be 3·N + 2"),
        ({"layers": 2}, "layers: 2 is not allowed: must be 3·N + 2"),
        ({"stem": "imagenet"}, "stem: imagenet is not allowed: must be cifar"),
        ({"nodes": 4}, "nodes: 4 is not allowed: must be 3 for the space nas_bench_201"),
    ],
)
def test_what_its_networks_cannot_be(how: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build_supernet(SPACE, **{"nodes": 3} | HOW | how)


def test_darts_supernet_is_not_taken_for_it() -> None:
    with pytest.raises(UserError, match="its cell is not DARTS's"):
        Supernet(SPACE, **{"nodes": 3} | HOW)
    assert isinstance(supernet_for(), Bench201Supernet)
    assert type(build_supernet(SPACES["s3"], nodes=1, **HOW)) is Supernet


def test_a_genotype_is_written_and_read_as_any_other(tmp_path: Path) -> None:
    genotype = random_genotype(SPACE, 3, "0")
    (tmp_path / "a.json").write_text(json.dumps(genotype.to_dict()))
    assert genotypes.load(tmp_path / "a.json") == genotype
    assert parse(f"{genotype.architecture}\n") == spelled(genotype.architecture) == genotype
    (tmp_path / "b.json").write_text(json.dumps({"architecture": "|none~0|"}))
    with pytest.raises(UserError, match=r"b\.json: is no genotype: architecture: '\|none~0\|' is not allowed"):
        genotypes.load(tmp_path / "b.json")


def test_a_network_is_saved_and_loaded(tmp_path: Path) -> None:
    genotype = random_genotype(SPACE, 3, "1")
    network = reference.randomize(build_network(genotype, **HOW)).float().eval()
    save(network, tmp_path / "n.safetensors", Inputs(list("abc"), (1, 8, 8), [0.5], [0.2]))
    loaded = load(tmp_path / "n.safetensors")
    assert loaded.built_from["layers"] == 8 and loaded.inputs.classes == list("abc") and len(loaded.cells) == 6
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(loaded(x), network(x), rtol=0, atol=0)
    with pytest.raises(UserError, match="auxiliary: is not allowed"):
        build_network(genotype, auxiliary=True, **HOW)
