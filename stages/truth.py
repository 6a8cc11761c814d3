"""Train every genotype of a small space, or a sample of a larger one: python -m stages.truth SPACE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nas.pipeline.names import stage_name, truth_folder
from nas.pipeline.params import CellTraining, Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.networks.network import Network
    from nas.space.genotypes import Genotype
    from nas.training.context import Context

SCORED = 64  # images, as the papers of the scores have
CACHED = 2**21  # bytes of a map that a CPU's caches hold: wider networks are slower there than one by one
NOISE = "noise"  # draws for a whole batch at once: fused networks would draw others


@dataclass(frozen=True)
class Trained:
    """A network's genotype, how it was trained, and its history."""

    genotype: Genotype
    recipe: str
    seed: int
    history: list[dict]


def networks_of(context: Context, genotypes: Sequence[Genotype], stem: str, seed: int) -> list[Network]:
    """Each as it would be built alone with this seed."""
    import torch

    from nas.networks.network import Network

    p, made = context.params.truth, []
    for genotype in genotypes:
        torch.manual_seed(seed)
        network = Network(
            genotype,
            channels=p.channels,
            layers=p.layers,
            num_classes=len(context.prepared.classes),
            in_channels=context.prepared.shape[0],
            stem=stem,
        )
        made.append(network.to(context.device))
    return made


def groups_of(genotypes: Sequence[Genotype], size: int) -> Iterator[list[Genotype]]:
    """`size` at a time; those with noise alone."""
    alone = [genotype for genotype in genotypes if NOISE in genotype.operations()]
    fused = [genotype for genotype in genotypes if genotype not in alone]
    yield from (fused[i : i + size] for i in range(0, len(fused), size))
    yield from ([genotype] for genotype in alone)


def together(context: Context, section: CellTraining) -> int:
    """How many networks train as one by this recipe."""
    p, (_, height, width) = context.params.truth, context.prepared.shape
    if context.params.fast == "off":
        return 1
    if context.device.type != "cpu":
        return p.together
    pixels = height * width // (64 if section.stem == "imagenet" else 1)
    return min(p.together, max(1, CACHED // (4 * section.batch_size * p.channels * pixels)))


def train_group(
    context: Context, genotypes: list[Genotype], section: CellTraining, recipe: str, seed: int, seeded_as: int
) -> list[list[dict]]:
    """The history of each of the networks, which train as one if they are several."""
    from nas.fast import accelerate
    from nas.training.loop import train
    from nas.training.recipe import Recipe, augmentation
    from nas.training.together import train_together

    p, prepared = context.params.truth, context.prepared
    settings = context.settings(
        section,
        layers=p.layers,
        channels=p.channels,
        genotypes=[genotype.to_dict() for genotype in genotypes],
        seeded_as=seeded_as,
    )
    networks = networks_of(context, genotypes, section.stem, seeded_as)
    data = (
        prepared.batches(prepared.train, batch_size=section.batch_size, **augmentation(section)),
        prepared.batches(prepared.test, batch_size=section.batch_size),
    )
    key = context.key(settings)
    # A folder of its own, as a stage's older checkpoints are deleted
    name, how = f"{context.name}/{recipe}-{seed}-{key}", Recipe.of(settings)
    if len(networks) > 1:
        return train_together(networks, *data, how, seed=seeded_as, key=key, name=name)
    if context.params.fast == "auto":
        accelerate(networks[0])
    return [train(networks[0], *data, how, seed=seeded_as, key=key, name=name)]


def train_all(context: Context, genotypes: list[Genotype]) -> list[Trained]:
    """Every genotype by every recipe with every seed, a group after the other."""
    import logging

    from nas.networks.network import check_image
    from nas.training.device import seed_for

    params, found, log = context.params, [], logging.getLogger("nas")
    for recipe, section in params.truth.recipes.items():
        check_image(section.stem, context.prepared.shape)
        groups = list(groups_of(genotypes, together(context, section)))
        for seed in params.truth.seeds:
            seeded_as = seed_for(params.seed, stage_name("truth", recipe, seed))
            for i, group in enumerate(groups):
                log.info("%s, seed %d: group %d/%d, %d networks", recipe, seed, i + 1, len(groups), len(group))
                histories = train_group(context, group, section, recipe, seed, seeded_as)
                pairs = zip(group, histories, strict=True)
                found += [Trained(genotype, recipe, seed, history) for genotype, history in pairs]
    return found


def scored(
    context: Context, genotypes: Iterable[Genotype], spelled: Mapping[Genotype, str]
) -> Iterator[dict[str, Any]]:
    """What each would be worth by the scores that cost no training, of a batch of training images."""
    from nas.analysis.proxies import score
    from nas.training.device import seed_for

    params, prepared = context.params, context.prepared
    stem = next(iter(params.truth.recipes.values())).stem
    seed = seed_for(params.seed, context.name)
    images, labels = next(prepared.batches(prepared.train, batch_size=SCORED, shuffle=True).epoch(seed))
    named = {spelled[genotype]: genotype for genotype in genotypes}
    yield from score(named, lambda name: networks_of(context, [named[name]], stem, seed)[0], images, labels, seed=seed)


def record(context: Context, space: str, count: int, same: dict[Genotype, Genotype], trained: list[Trained]) -> None:
    """Write the table, which genotypes are the same network, the histories and the summary."""
    from statistics import mean

    from nas.networks.complexity import count as cost
    from nas.pipeline import records
    from nas.space.enumerate import spell
    from nas.training.device import device_name

    folder, costs, stems = truth_folder(space), {}, context.params.truth.recipes
    for stem in {section.stem for section in stems.values()}:
        for genotype in set(same.values()):
            (network,) = networks_of(context, [genotype], stem, 0)
            costs[stem, genotype] = asdict(cost(network, context.prepared.shape))
    spelled = {genotype: spell(genotype) for genotype in same}

    def named(each: Trained) -> dict:
        return {"genotype": spelled[each.genotype], "recipe": each.recipe, "seed": each.seed}

    table = [
        named(each)
        | {"top1": each.history[-1]["test_top1"]}
        | {name: costs[stems[each.recipe].stem, each.genotype][name] for name in ("params", "macs")}
        for each in trained
    ]
    records.GroundTruth.write(folder / "table.csv", table)
    aliases = [{"genotype": spelled[one], "trained_as": spelled[other]} for one, other in same.items()]
    records.Alias.write(folder / "aliases.csv", aliases)
    histories = [named(each) | row for each in trained for row in each.history]
    records.TruthHistory.write(folder / "histories.csv", histories)
    records.ProxyScore.write(folder / "proxies.csv", scored(context, dict.fromkeys(same.values()), spelled))
    scores: dict[tuple[str, str], list[float]] = {}
    for row in table:
        scores.setdefault((row["genotype"], row["recipe"]), []).append(row["top1"])
    means = {of: mean(values) for of, values in scores.items()}
    best = max(means, key=means.__getitem__)
    records.TruthMetrics(
        space=count,
        genotypes=len(same),
        distinct=len(set(same.values())),
        best=best[0],
        best_recipe=best[1],
        best_top1=means[best],
        mean_top1=mean(means.values()),
        worst_top1=min(means.values()),
        device=device_name(context.device),
    ).write(folder / "metrics.json")


def main(params: Params, name: str, space: str) -> None:
    from nas.space.enumerate import Enumeration, distinct
    from nas.training.context import begin

    whole = Enumeration(params.space(space), params.search.nodes)
    genotypes = whole.chosen(params.truth.sample, f"{params.seed}/{name}")
    stems = {section.stem for section in params.truth.recipes.values()}
    # The stem cifar gives the first cell one map twice; where a recipe has another, nothing is taken for equal by it
    stem = "cifar" if stems == {"cifar"} else "imagenet"
    same = distinct(genotypes, params.truth.layers, stem)
    if context := begin(params, name):
        trained = train_all(context, list(dict.fromkeys(same.values())))
        if context.finish():
            record(context, space, whole.count, same, trained)


if __name__ == "__main__":
    run(main)
