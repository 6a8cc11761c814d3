"""What the tests of all pictures share: that text can be read, what a figure shows, and that its bytes repeat."""

import struct
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

from nas.report.figures import style


def draw(figure: Figure) -> Figure:
    with matplotlib.rc_context(style.STYLE):
        figure.canvas.draw()
    return figure


def visible_texts(figure: Figure) -> dict[str, Bbox]:
    """Every text that is drawn, by a unique key that starts with the text, with its place in pixels."""
    draw(figure)
    texts = [text for text in (figure._suptitle, figure._supxlabel, figure._supylabel) if text]
    texts += figure.texts + [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title, axes._right_title] if axes.axison else axes.texts
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            texts += [axis.label] + [
                label
                for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
                for label in (tick.label1, tick.label2)
                if low <= tick.get_loc() <= high and label.get_visible()
            ]
    renderer = figure.canvas.get_renderer()
    unique = {id(text): text for text in texts if text.get_text() and text.get_visible()}
    return {f"{text.get_text()}#{i}": text.get_window_extent(renderer) for i, text in enumerate(unique.values())}


def meet(one: Bbox, other: Bbox) -> bool:
    return one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1


def holds(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def assert_readable(figure: Figure) -> None:
    texts = visible_texts(figure)
    assert texts
    assert [key for key, box in texts.items() if not holds(figure.bbox, box)] == []
    assert [(a, b) for a, b in combinations(texts, 2) if meet(texts[a], texts[b])] == []
    panels = [axes.get_window_extent() for axes in figure.axes if axes.axison]
    legends = [legend.get_window_extent() for legend in figure.legends]
    assert not any(meet(legend, panel) for legend in legends for panel in panels)


def legend_labels(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    assert isinstance(legend, Legend)
    return [text.get_text() for text in legend.get_texts()]


def points(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in line.get_xydata()]


RECIPE = "ours: digits, 8 epochs, C = 16, on cpu"
LONG_RECIPE = (
    "ours: CIFAR-10, 600 epochs, batch 96, C = 36, $cutout$ 16, auxiliary tower 0.4, drop path 0.2, three seeds"
)


def assert_noted(figure: Figure, note: str) -> None:
    """The figure's own texts, from top to bottom, are the lines of the note, below everything else."""
    lines = sorted(figure.texts, key=lambda text: text.get_position()[1], reverse=True)
    assert " ".join(line.get_text() for line in lines) == note
    assert not any(line.get_parse_math() for line in lines)
    texts = visible_texts(figure)
    top = max((line.get_window_extent().y1 for line in lines), default=0)
    own = {line.get_text() for line in lines}
    assert all(box.y0 >= top for key, box in texts.items() if key.rsplit("#", 1)[0] not in own)
    assert all(legend.get_window_extent().y0 >= top for legend in figure.legends)


def repeated_bytes(draw: Callable[[Path], None], folder: Path) -> bytes:
    """What `draw` writes to a file, twice the same, and nothing else."""
    settings = dict(matplotlib.rcParams)
    first, second = folder / "first.file", folder / "deeper" / "second.file"
    draw(first)
    # What a caller has set for pictures of its own neither changes these nor is changed by them.
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        draw(second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in folder.rglob("*.*")) == ["first.file", "second.file"]
    assert dict(matplotlib.rcParams) == settings
    return first.read_bytes()


def assert_nothing_but_a_picture(png: bytes) -> None:
    """The file has no chunk that could name a version or a date."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, names = 8, set()
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        names.add(png[at + 4 : at + 8].decode())
        at += length + 12
    assert names <= {"IHDR", "pHYs", "IDAT", "IEND"}
