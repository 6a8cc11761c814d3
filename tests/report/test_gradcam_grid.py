"""The grid of heat maps: every picture under its column, with its caption."""

from itertools import combinations

import numpy as np
import pytest
from figure_checks import (
    LONG_RECIPE,
    RECIPE,
    assert_noted,
    assert_nothing_but_a_picture,
    draw,
    holds,
    meet,
    repeated_bytes,
    visible_texts,
)

from nas.report.figures import style
from nas.report.figures.gradcam import gradcam_figure, gradcam_grid


def pictures(count: int, height: int = 8, width: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize(
    ("columns", "titles", "shape"),
    [
        (["dog", "automobile", "airplane", "ship"], ["DARTS_V2, 20 layers", "DARTS_PseudoInvBn, 10 layers"], (32, 32)),
        (["a_class_with_a_very_long_name"], ["a row title that is longer than all the pictures are wide"], (20, 40)),
        ([str(i) for i in range(8)], ["pibconv"], (8, 8)),
    ],
)
def test_the_grid_shows_all_pictures_with_their_captions(columns, titles, shape):
    captions = [f"{name} 100 %" for name in columns]
    inputs, maps = pictures(len(columns), *shape), pictures(len(columns), *shape)
    rows = [("input", inputs, None), *((title, maps, captions) for title in titles)]
    figure = gradcam_figure(columns, rows, LONG_RECIPE)
    assert_noted(figure, LONG_RECIPE)
    texts = visible_texts(figure)
    canvas, *panels = figure.axes
    assert [text.get_text() for text in canvas.texts] == [
        "input", *columns, *(text for title in titles for text in (title, *captions))
    ]  # fmt: skip
    assert all(holds(figure.bbox, box) for box in texts.values())
    places = list(texts.values()) + [panel.images[0].get_window_extent() for panel in panels]
    assert not any(meet(a.padded(-0.5), b.padded(-0.5)) for a, b in combinations(places, 2))
    shown = [panel.images[0].get_array() for panel in panels]
    assert all((a == b).all() for a, b in zip(shown, inputs + maps * len(titles), strict=True))


def test_a_caption_stands_under_its_picture():
    figure = draw(gradcam_figure(["a", "b"], [("net", pictures(2), ["left 1 %", "right 2 %"])], ""))
    places = visible_texts(figure)
    for panel, caption in zip(figure.axes[1:], ("left 1 %", "right 2 %"), strict=True):
        (text,) = [place for key, place in places.items() if key.startswith(caption)]
        picture = panel.get_window_extent()
        assert (text.x0 + text.x1) / 2 == pytest.approx((picture.x0 + picture.x1) / 2, abs=1)
        assert 0 <= picture.y0 - text.y1 < 0.2 * style.DPI


@pytest.mark.parametrize(("count", "captions"), [(1, None), (3, None), (2, ["one"])])
def test_a_row_that_does_not_fit_the_columns_is_refused(count, captions):
    with pytest.raises(ValueError, match="zip"):
        gradcam_figure(["a", "b"], [("input", pictures(count), captions)], RECIPE)


def test_a_file_repeats_to_the_byte_and_names_no_version(tmp_path):
    rows = [("input", pictures(2), None)]
    assert_nothing_but_a_picture(
        repeated_bytes(lambda path: gradcam_grid(["a", "b"], rows, path, note=RECIPE), tmp_path)
    )
