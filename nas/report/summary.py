"""What DVC compares runs by: a summary of every network for its metrics, and tables of curves for its plots."""

from collections.abc import Iterator
from pathlib import Path

from nas.pipeline import names
from nas.pipeline.records import (
    Curve,
    History,
    NetworkSummary,
    SearchHistory,
    SlimmedSummary,
    Slimming,
    Summary,
)
from nas.report.contents import Contents, evaluated, network_costs


def read_by(contents: Contents, results: Path = names.RESULTS) -> Iterator[Path]:
    """Every file and folder of results/ that a report of `contents` reads; scores of a space's genotypes if there."""
    yield from (names.GENOTYPES, names.DRAWINGS)
    yield from (names.PREFERENCE / f"{table}.csv" for table in ("cells", "operations", "repeatability"))
    yield from (names.COMPLEXITY / f"{table}.csv" for table in ("table", "blocks"))
    for search in contents.searches.values():
        yield from (search.results() / file for file in ("metrics.json", "history.csv", "alphas.csv"))
    for network in contents.runs:
        yield from (network.results() / file for file in ("metrics.json", "history.csv"))
    for network in contents.gradcam:
        yield from (network.gradcam() / file for file in ("metrics.json", "predictions.csv", "pictures"))
    for slimmed in contents.slimmed.networks:
        yield from (slimmed.results() / f for f in ("metrics.json", "history.csv", "channels.csv", "gates.csv"))
    for space in contents.truth:
        scores = [f for f in ("proxies.csv",) if (names.truth_folder(space, results) / f).exists()]
        yield from (names.truth_folder(space) / file for file in ("table.csv", "aliases.csv", *scores))
    yield from (searched.opinions() for searched in contents.asked)
    yield from (exported.results() / "metrics.json" for exported in contents.exported)
    if contents.timed:
        yield names.LATENCY


def summarise(contents: Contents, results: Path = names.RESULTS) -> Summary:
    """The mean top-1 of every network and what it costs."""
    networks, slimmed = {}, {}
    costs = network_costs(results, "evaluated", contents.networks) if contents.networks else []
    for row, cost in zip(evaluated(results, contents.networks), costs, strict=True):
        told = NetworkSummary(top1=row["accuracy"], params=cost.params, macs=cost.macs)
        networks[f"{cost.genotype}-{cost.layers}"] = told
    for network in contents.slimmed.networks:
        told = Slimming.read(network.results(results) / "metrics.json")
        slimmed[network.key] = SlimmedSummary(top1=told.top1, params=told.params, conv_macs=told.conv_macs)
    return Summary(networks=networks, slimmed=slimmed)


def write_curves(contents: Contents, folder: Path = names.CURVES, results: Path = names.RESULTS) -> None:
    """Top-1 after each epoch: search.csv, evaluate.csv and slim.csv, a table for each kind of run."""
    searches = {search.key: search for search in contents.trained.values()}
    for name, record, column, runs in (
        ("search", SearchHistory, "valid_top1", searches),
        ("evaluate", History, "test_top1", {network.key: network for network in contents.runs}),
        ("slim", History, "test_top1", {slimmed.key: slimmed for slimmed in contents.slimmed.networks}),
    ):
        rows = [
            {"run": key, "epoch": row["epoch"], "top1": row[column]}
            for key, run in runs.items()
            for row in record.read(run.results(results) / "history.csv").to_dict("records")
        ]
        Curve.write(folder / f"{name}.csv", rows)
