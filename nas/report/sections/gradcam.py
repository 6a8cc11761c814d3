"""Heat maps of the networks, and what the heat is worth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nas.pipeline.names import Network
from nas.pipeline.records import GradCam, Prediction, damaged
from nas.report.contents import Report, listed
from nas.report.figures.gradcam import gradcam_grid
from nas.report.render import render

SCORES = ("confidence", "drop", "other_drop", "random_drop")


def section(report: Report) -> str:
    """The maps in a grid, and how much each network's confidence drops where they are removed."""
    networks = report.contents.gradcam
    if not networks:
        return ""
    recipe, evaluation = report.contents.recipes["Grad-CAM"], report.contents.recipes["Evaluation"]
    folders = {network: network.gradcam(report.results) for network in networks}
    scores = [GradCam.read(folder / "metrics.json").model_dump() for folder in folders.values()]
    trained = f"{report.contents.data}, {evaluation['epochs']} epochs"
    _draw(report, networks, f"{recipe['method']}; {trained}")
    return render(
        "gradcam",
        method=recipe["method"],
        rows=[
            (network.key, *(f"{100 * score[key]:.1f}" for key in SCORES))
            for network, score in zip(networks, scores, strict=True)
        ],
        images=scores[0]["images"],
        removed=100 * recipe["removed"],
        trained=trained,
        devices=listed(score["device"] for score in scores),
    )


def _draw(report: Report, networks: Sequence[Network], note: str) -> None:
    """A row of inputs, and one of maps for each network with the classes that it predicts."""
    folders = {network: network.gradcam(report.results) for network in networks}
    tables = {network: Prediction.read(folder / "predictions.csv") for network, folder in folders.items()}
    classes = tables[networks[0]]["true_class"]
    columns = [f"class {name}" if name.isdigit() else name for name in classes]
    rows = [("input", _pictures(folders[networks[0]] / "pictures", "input", len(columns)), None)]
    for network in networks:
        captions = [f"{row.predicted_class}: {100 * row.confidence:.0f} %" for row in tables[network].itertuples()]
        heats = _pictures(folders[network] / "pictures", "heat", len(columns))
        rows.append((f"{network.genotype}, {network.layers} layers", heats, captions))
    gradcam_grid(columns, rows, report.folder / "gradcam.png", note=note)


def _pictures(folder: Path, kind: str, count: int) -> list[np.ndarray]:
    try:
        return [np.asarray(Image.open(folder / f"{i}-{kind}.png").convert("RGB")) for i in range(count)]
    except OSError as error:
        raise damaged(folder, error) from None
