"""Heat maps in a grid. Lengths are in inches, as in the drawing of a cell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.report.figures.style import MARGIN, NOTE_LINE, STYLE, new_canvas, note_below, note_lines, save, text_width

PICTURE, PICTURE_GAP, HEADING, CAPTION, ROW_GAP = 1.4, 0.12, 0.32, 0.26, 0.08
CAPTION_SIZE = 10.5


def gradcam_grid(
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str] | None]],
    path: str | Path,
    *,
    note: str,
) -> None:
    """Show pictures in a labelled grid: a row for the inputs and for each network, a column for each image.

    `rows` holds (title, H×W×3 uint8 pictures, the text below each or None); `note`, in small print at the bottom, says
    what the networks were trained on. Raises ValueError if a row has not one picture, and one text, for each column.
    """
    save(gradcam_figure(columns, rows, note), path)


@rc_context(STYLE)
def gradcam_figure(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str] | None]], note: str
) -> Figure:
    """The figure that `gradcam_grid` saves."""
    under = [caption for _, _, captions in rows for caption in captions or ()]
    step = max(PICTURE, *(text_width(text, CAPTION_SIZE) for text in (*columns, *under))) + PICTURE_GAP
    longest_title = max(text_width(title, 11, "bold") for title, _, _ in rows)
    width = max(len(columns) * step - PICTURE_GAP, longest_title) + 2 * MARGIN
    tall = [max(len(picture) / len(picture[0]) for picture in pictures) * PICTURE for _, pictures, _ in rows]
    texts = [HEADING + (CAPTION if captions else 0) + ROW_GAP for _, _, captions in rows]
    small_print = note_lines(note, width)
    below = MARGIN + NOTE_LINE * len(small_print)
    canvas = new_canvas(width, MARGIN + CAPTION + sum(tall) + sum(texts) - ROW_GAP + below)
    note_below(canvas.figure, small_print)
    centres = [MARGIN + i * step + (step - PICTURE_GAP) / 2 for i in range(len(columns))]
    y = MARGIN
    for i, (title, pictures, captions) in enumerate(rows):
        canvas.text(MARGIN, y + HEADING / 2, title, size=11, weight="bold", va="center", parse_math=False)
        y += HEADING
        if i == 0:
            y = _captions(canvas, centres, columns, y)
        for x, picture in zip(centres, pictures, strict=True):
            _picture(canvas, x - PICTURE / 2, y, tall[i], picture)
        y += tall[i]
        if captions:
            y = _captions(canvas, centres, captions, y)
        y += ROW_GAP
    return canvas.figure


def _captions(canvas: Axes, centres: Sequence[float], texts: Sequence[str], y: float) -> float:
    """Write a line of texts under `y`; return the y below it."""
    for x, text in zip(centres, texts, strict=True):
        canvas.text(x, y + CAPTION / 2, text, size=CAPTION_SIZE, ha="center", va="center", parse_math=False)
    return y + CAPTION


def _picture(canvas: Axes, x: float, y: float, height: float, picture: np.ndarray) -> None:
    total_width, total_height = canvas.figure.get_size_inches()
    place = (x / total_width, 1 - (y + height) / total_height, PICTURE / total_width, height / total_height)
    axes = canvas.figure.add_axes(place)
    axes.imshow(picture, interpolation="nearest")
    axes.axis("off")
