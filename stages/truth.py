"""Train every genotype of a small space, or a sample of a larger one: python -m stages.truth SPACE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.pipeline.errors import UserError
from nas.pipeline.names import stage_name, truth_folder
from nas.pipeline.params import CellTraining, Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    from nas.networks.network import Network
    from nas.space.enumerate import Enumeration
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


def recipes_of(params: Params) -> list[tuple[str, CellTraining]]:
    """The longest first, which the report draws by; to DVC params.yaml is the same in any order."""
    return sorted(params.truth.recipes.items(), key=lambda each: (-each[1].epochs, each[0]))


def groups_of(genotypes: Sequence[Genotype], size: int) -> Iterator[list[Genotype]]:
    """`size` at a time; those with noise alone."""
    alone = [genotype for genotype in genotypes if NOISE in genotype.operations()]
    fused = [genotype for genotype in genotypes if genotype not in alone]
    yield from (fused[i : i + size] for i in range(0, len(fused), size))
    yield from ([genotype] for genotype in alone)


def together(context: Context, section: CellTraining) -> int:
    """How many networks train as one by this recipe."""
    p, (_, height, width) = context.params.truth, context.prepared.shape
    if context.fast == "off":
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
        fast=context.fast,
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
    if context.fast != "off":
        accelerate(networks[0])
    return [train(networks[0], *data, how, seed=seeded_as, key=key, name=name)]


def train_all(context: Context, genotypes: list[Genotype]) -> list[Trained]:
    """Every genotype by every recipe with every seed, a group after the other."""
    import logging

    from nas.networks.network import check_image
    from nas.training.device import seed_for

    params, found, log = context.params, [], logging.getLogger("nas")
    for recipe, section in recipes_of(params):
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
    stem = recipes_of(params)[0][1].stem
    seed = seed_for(params.seed, context.name)
    images, labels = next(prepared.batches(prepared.train, batch_size=SCORED, shuffle=True).epoch(seed))
    named = {spelled[genotype]: genotype for genotype in genotypes}
    yield from score(named, lambda name: networks_of(context, [named[name]], stem, seed)[0], images, labels, seed=seed)


class Rows(NamedTuple):
    """What the tables of a space hold, as `nas.pipeline.records` has them, and on what it was trained."""

    table: list[dict]
    aliases: list[dict]
    histories: Iterable[dict]
    scores: Iterable[dict]
    device: str


def rows_of(context: Context, same: dict[Genotype, Genotype], trained: list[Trained]) -> Rows:
    """Of what was trained here; `same`: of each genotype the one that was trained."""
    from nas.networks.complexity import count
    from nas.space.enumerate import spell
    from nas.training.device import device_name

    costs, stems = {}, context.params.truth.recipes
    for stem in {section.stem for section in stems.values()}:
        for genotype in set(same.values()):
            (network,) = networks_of(context, [genotype], stem, 0)
            costs[stem, genotype] = asdict(count(network, context.prepared.shape))
    spelled = {genotype: spell(genotype) for genotype in same}

    def named(each: Trained) -> dict:
        return {"genotype": spelled[each.genotype], "recipe": each.recipe, "seed": each.seed}

    table = [
        named(each)
        | {"top1": each.history[-1]["test_top1"]}
        | {name: costs[stems[each.recipe].stem, each.genotype][name] for name in ("params", "macs")}
        for each in trained
    ]
    aliases = [{"genotype": spelled[one], "trained_as": spelled[other]} for one, other in same.items()]
    histories = (named(each) | row for each in trained for row in each.history)
    scores = scored(context, dict.fromkeys(same.values()), spelled)
    return Rows(table, aliases, histories, scores, device_name(context.device))


def rows_from(source: str, context: Context, space: str, whole: Enumeration | None) -> Rows:
    """Of what others trained, without histories, and with the scores alone that are counted."""
    from nas.analysis.tables import read
    from nas.analysis.truth import is_bench201
    from nas.pipeline.names import TABLES

    path, prepared = TABLES / source, context.prepared
    table, aliases = read(path, shape=prepared.shape, num_classes=len(prepared.classes))
    if is_bench201(table[0]["genotype"]) and whole is not None:
        raise UserError(f"{path}: is of NAS-Bench-201, not of {space}; list nas_bench_201 as the space")
    if whole is None and not is_bench201(table[0]["genotype"]):
        raise UserError(f"{path}: is not of NAS-Bench-201; list the space that it is of")
    if whole is not None:
        aliases = aliases_of([row["trained_as"] for row in aliases], context.params, whole, path)
    costs = {row["genotype"]: row for row in table}.values()
    scores = [{"genotype": row["genotype"], "proxy": n, "score": row[n]} for row in costs for n in ("params", "macs")]
    return Rows(table, aliases, [], scores, f"not trained here: {path.as_posix()}")


def aliases_of(trained: Sequence[str], params: Params, whole: Enumeration, path: Path) -> list[dict]:
    """Of each genotype of the space the one of `trained` that is the same network; of a large space, of these alone."""
    from nas.space.enumerate import MOST, read, spell

    genotypes = [read(spelled) for spelled in trained]
    for genotype in genotypes:
        if genotype not in whole:
            told = f"{spell(genotype)} is no genotype of {whole.space.name} with search.nodes: {params.search.nodes}"
            raise UserError(f"{path}: {told}")
    same = same_of(params, list(whole) if whole.count <= MOST else genotypes)
    stands = {same[genotype]: spell(genotype) for genotype in reversed(genotypes)}
    return [{"genotype": spell(one), "trained_as": stands[of]} for one, of in same.items() if of in stands]


def record(space: str, whole: Enumeration | None, rows: Rows) -> None:
    """Write the tables of a space, and its summary."""
    from statistics import mean

    from nas.pipeline import records
    from nas.space.bench201 import SIZE

    folder = truth_folder(space)
    records.GroundTruth.write(folder / "table.csv", rows.table)
    records.Alias.write(folder / "aliases.csv", rows.aliases)
    records.TruthHistory.write(folder / "histories.csv", rows.histories)
    records.ProxyScore.write(folder / "proxies.csv", rows.scores)
    seeds: dict[tuple[str, str], list[float]] = {}
    for row in rows.table:
        seeds.setdefault((row["genotype"], row["recipe"]), []).append(row["top1"])
    means = {of: mean(values) for of, values in seeds.items()}
    best = max(means, key=means.__getitem__)
    records.TruthMetrics(
        space=SIZE if whole is None else whole.count,
        genotypes=len(rows.aliases),
        distinct=len({row["trained_as"] for row in rows.aliases}),
        best=best[0],
        best_recipe=best[1],
        best_top1=means[best],
        mean_top1=mean(means.values()),
        worst_top1=min(means.values()),
        device=rows.device,
    ).write(folder / "metrics.json")


def same_of(params: Params, genotypes: list[Genotype]) -> dict[Genotype, Genotype]:
    """Of each genotype the first one that is the same network."""
    from nas.space.enumerate import distinct

    stems = {section.stem for section in params.truth.recipes.values()}
    # The stem cifar gives the first cell one map twice; where a recipe has another, nothing is taken for equal by it
    return distinct(genotypes, params.truth.layers, "cifar" if stems == {"cifar"} else "imagenet")


def main(params: Params, name: str, space: str) -> None:
    from nas.space.enumerate import Enumeration
    from nas.training.context import begin

    source, of_bench201 = params.truth.source, params.space(space).is_bench201
    whole = None if of_bench201 else Enumeration(params.space(space), params.search.nodes)
    same = {} if source or not whole else same_of(params, whole.chosen(params.truth.sample, f"{params.seed}/{name}"))
    if context := begin(params, name):
        trained = train_all(context, list(dict.fromkeys(same.values())))
        if context.finish():
            rows = rows_from(source, context, space, whole) if source else rows_of(context, same, trained)
            record(space, whole, rows)


if __name__ == "__main__":
    run(main)
