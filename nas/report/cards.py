"""Model cards: what an exported network is, what it was trained on, what it is worth and how to load it."""

from collections.abc import Mapping
from pathlib import Path

from nas.pipeline import names
from nas.pipeline.files import whole_folder, write_text
from nas.pipeline.names import Exported, Network
from nas.pipeline.records import Exporting, GradCam, Latency, Slimming
from nas.report.contents import Contents, evaluated
from nas.report.render import TEMPLATES, accuracy, interval, render
from nas.report.sections.deploy import FORMS, left_in_float
from nas.space.genotypes import load

MOST_CLASSES = 20  # that are named


def write_cards(contents: Contents, folder: Path = names.CARDS, results: Path = names.RESULTS) -> None:
    """Write NETWORK.md for each exported network, and nothing else, into `folder`.

    Raises
    ------
    UserError
        If a result that `contents` names is missing or damaged.
    """
    with whole_folder(folder) as cards:
        for named in contents.exported:
            write_text(cards / named.card().name, card(contents, named, results))


def card(contents: Contents, named: Exported, results: Path = names.RESULTS) -> str:
    """The card of one network, in Markdown."""
    told = Exporting.read(named.results(results) / "metrics.json")
    prepared, source = contents.prepared or {}, named.source
    of_network = _evaluated if isinstance(source, Network) else _slimmed
    text = render(
        "card",
        key=named.key,
        source=source,
        evaluated=isinstance(source, Network),
        prepared=prepared,
        classes=prepared.get("classes", [])[:MOST_CLASSES],
        more=max(0, len(prepared.get("classes", [])) - MOST_CLASSES),
        data=contents.data,
        licence=contents.licence,
        told=told,
        in_float=left_in_float(told),
        latencies=_latencies(contents, named, results),
        merit=_merit(contents, named, results),
        **of_network(contents, named, results),
    )
    code = TEMPLATES.get_template("card_code.md.j2").render(key=named.key, weights=source.model.as_posix())
    return f"{text}\n\n{code}\n"


def _evaluated(contents: Contents, named: Exported, results: Path) -> dict:
    """Accuracy over the seeds, cost and recipe of an evaluated network."""
    (row,) = (
        row
        for row in evaluated(results, contents.networks, contents.test_images)
        if (row["genotype"], row["layers"]) == (named.source.genotype, named.source.layers)
    )
    return {
        "cells": list(load(names.genotype_file(named.source.genotype, results)).placed()),
        "accuracy": accuracy(row),
        "seeds": len(row["seeds"]),
        "interval": interval(row["interval"]) if row["interval"] else None,
        "params": f"{row['params']:.4f}",
        "mmac": f"{1000 * row['gmac']:.3f}",
        "recipe": _listed(contents.recipes["Evaluation"]),
    }


def _slimmed(contents: Contents, named: Exported, results: Path) -> dict:
    found = Slimming.read(named.source.results(results) / "metrics.json")
    return {
        "cells": [],
        "accuracy": f"{found.top1:.2f}",
        "seeds": 1,
        "interval": None,
        "params": f"{found.params / 1e6:.4f}",
        "mmac": f"{found.conv_macs / 1e6:.3f}",
        "recipe": _listed(contents.recipes[f"DNAL: {named.source.backbone}"]),
    }


def _listed(recipe: Mapping[str, object]) -> list[tuple[str, object]]:
    return [(key, "–" if value is None else value) for key, value in recipe.items()]


def _latencies(contents: Contents, named: Exported, results: Path) -> list[tuple[object, ...]]:
    if named.key not in contents.timed:
        return []
    rows = Latency.read(results / "latency" / "table.csv").to_dict("records")
    return [
        (FORMS[row["form"]], row["batch"], row["threads"], f"{row['median']:.2f}")
        for row in rows
        if row["network"] == named.key
    ]


def _merit(contents: Contents, named: Exported, results: Path) -> dict[str, str] | None:
    """What the confidence loses, in points, without the pixels that the heat maps, or another image's, call hottest."""
    if named.source not in contents.gradcam:
        return None
    found = GradCam.read(named.source.gradcam(results) / "metrics.json")
    return {key: f"{100 * getattr(found, key):.1f}" for key in ("confidence", "drop", "other_drop", "random_drop")}
