"""Curves and points that answer to the mouse, as Vega-Lite specifications: on the HTML page, beside their pictures.

Colours come from the page, which knows whether it is light or dark; they are in the pictures' order.
"""

from collections.abc import Mapping, Sequence

MOST_EPOCHS = 150  # of a curve: what more there are would be finer than a screen, and weigh on the page
Chart = dict[str, object]


def accuracy_chart(rows: Sequence[Mapping]) -> Chart:
    """Test accuracy against parameters, with its interval; `rows` are those of `nas.report.contents.evaluated`."""
    keys, known = ("genotype", "layers", "params", "gmac", "accuracy"), all(row["interval"] for row in rows)
    values = [{key: row[key] for key in keys} | (row["interval"]._asdict() if known else {}) for row in rows]
    x = {"field": "params", "type": "quantitative", "title": "parameters (millions)"}
    y = {"field": "accuracy", "type": "quantitative", "title": "test accuracy (%)"}
    told = [
        {"field": "genotype"},
        {"field": "layers"},
        {**y, "format": ".2f"},
        *({"field": end, "title": f"95 %, {end}", "format": ".1f"} for end in ("low", "high") if known),
        {**x, "format": ".4~g"},
        {"field": "gmac", "title": "GMAC", "format": ".4~g"},
    ]
    points = {
        "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
        "params": [_by_legend("genotype")],
        "encoding": {
            "y": y | {"scale": {"zero": False}},
            "shape": {"field": "layers", "type": "nominal"},
            "tooltip": told,
        },
    }
    bars = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}},
    }
    encoding = {
        "x": x | {"scale": {"type": "log", "nice": False, "padding": 20}, "axis": {"format": "~g", "tickCount": 6}},
        "color": _colour("genotype", [row["genotype"] for row in rows]),
        "opacity": _faded(),
    }
    described = "Test accuracy of every network against its parameters, with 95 % intervals"
    return _chart(described, values, encoding, [bars, points] if known else [points])


def epochs_chart(histories: Mapping[str, Sequence[Mapping]], halves: Mapping[str, str], title: str) -> Chart:
    """Top-1 against epochs of several runs.

    Parameters
    ----------
    histories : a run's name and its rows of {epoch, and the columns of `halves` (percent)}.
    halves : what a column is called on the page, and its name; the first is drawn solid, the second dashed.
    title : what the accuracy is of.
    """
    curves = []
    for run, rows in histories.items():
        every = -(-len(rows) // MOST_EPOCHS)
        kept = [row for i, row in enumerate(rows, start=1) if i % every == 0 or i == len(rows)]
        epochs = [row["epoch"] for row in kept]
        for half, column in halves.items():
            curves.append({"run": run, "half": half, "epoch": epochs, "top1": [round(row[column], 2) for row in kept]})
    dashes = {"field": "half", "type": "nominal", "title": None, "sort": list(halves)}
    lines = {
        "mark": "line",
        "params": [_by_legend("run")],
        "encoding": {
            "strokeDash": dashes | {"scale": {"domain": list(halves), "range": [[1, 0], [4, 3]]}},
            "strokeWidth": {"condition": {"test": f"datum.half === '{next(iter(halves))}'", "value": 2.2}, "value": 1},
        },
    }
    points = {
        "mark": {"type": "point", "filled": True, "size": 120},
        "params": [{"name": "near", "select": {"type": "point", "on": "pointerover", "clear": "pointerout"}}],
        "encoding": {
            "opacity": {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0},
            "tooltip": [{"field": "run"}, {"field": "half", "title": "on"}, {"field": "epoch"}, {"field": "top1"}],
        },
    }
    encoding = {
        "x": {"field": "epoch", "type": "quantitative", "axis": {"tickMinStep": 1}, "scale": {"nice": False}},
        "y": {"field": "top1", "type": "quantitative", "title": title, "scale": {"zero": False}},
        "color": _colour("run", histories),
        "opacity": _faded(),
    }
    chart = _chart(f"Curves: {title} against epochs", curves, encoding, [lines, points])
    return chart | {"transform": [{"flatten": ["epoch", "top1"]}]}


def _chart(description: str, values: Sequence[Mapping], encoding: Mapping, layers: list[Mapping]) -> Chart:
    size = {"width": "container", "autosize": {"type": "fit", "contains": "padding"}}
    return {"description": description, **size, "data": {"values": values}, "encoding": encoding, "layer": layers}


def _colour(field: str, names: Sequence[str]) -> Chart:
    domain = list(dict.fromkeys(names))
    return {"field": field, "type": "nominal", "title": None, "scale": {"domain": domain}}


def _by_legend(field: str) -> Chart:
    """A click on the legend shows one alone."""
    return {"name": "chosen", "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def _faded() -> Chart:
    return {"condition": {"param": "chosen", "value": 1}, "value": 0.12}
