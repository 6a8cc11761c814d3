"""The animation of a search: that every frame shows its epoch, and that its file plays as it should."""

import random
from itertools import combinations

import numpy as np
import pytest
from figure_checks import assert_noted, assert_readable, draw, holds, legend_labels, meet, repeated_bytes
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from nas.report.figures import style
from nas.report.figures.alphas import alphas_figure
from nas.report.figures.animation import THICK, THIN, CellAnimation, animate_cell, gif_palette, save_gif

THREE = ["ds_conv", "mb_conv", "fused_mb_conv"]
TEN = ["none", "skip_connect", "max_pool_3x3", *(f"sep_conv_gelu_ln_{k}x{k}" for k in range(3, 17, 2))]
EDGES = ["0-2", "1-2", "0-3", "1-3", "2-3"]  # of two nodes


def rows_of(epochs: dict[int, list[tuple[float, ...]]], operations: list[str]) -> list[dict]:
    """Rows of a cell of two nodes, from the weights of its edges at each epoch."""
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": weight}
        for epoch, table in epochs.items()
        for edge, weights in zip(EDGES, table, strict=True)
        for operation, weight in zip(operations, weights, strict=True)
    ]


def search_rows(nodes: int, operations: list[str], epochs: int) -> list[dict]:
    """The softmax of α that drift apart."""
    rng = np.random.default_rng(nodes)
    edges = [f"{source}-{target}" for target in range(2, nodes + 2) for source in range(target)]
    drift = rng.normal(0, 0.08, (len(edges), len(operations)))
    exponentials = [np.exp(epoch * drift + rng.normal(0, 0.05, drift.shape)) for epoch in range(epochs + 1)]
    weights = [table / table.sum(axis=1, keepdims=True) for table in exponentials]
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": float(weights[epoch][i, k])}
        for epoch in range(epochs + 1)
        for i, edge in enumerate(edges)
        for k, operation in enumerate(operations)
    ]


WEIGHTS = {  # epoch -> edge -> weights of none, a and b
    0: [(0.25, 0.25, 0.5), (0.25, 0.5, 0.25), (0.25, 0.375, 0.375), (0.125, 0.25, 0.625), (0.5, 0.125, 0.375)],
    1: [(0.5, 0.375, 0.125), (0.0, 0.25, 0.75), (0.25, 0.25, 0.5), (0.875, 0.0625, 0.0625), (0.125, 0.75, 0.125)],
}
STRONGEST = {0: ["b", "a", "a", "b", "b"], 1: ["a", "b", "b", "a", "a"]}  # other than none; a before b if equal
KEPT = {0: [True, True, True, True, False], 1: [True, True, True, False, True]}  # of equal edges the earlier one
A_AND_B = {"a": "#d55e00", "b": "#009e73"}  # the second and the third colour


@pytest.fixture(params=[0, 1])
def shown(request) -> tuple[int, CellAnimation]:
    """An epoch of WEIGHTS, and the animation at that epoch, reached from the other one."""
    animation = CellAnimation(rows_of(WEIGHTS, ["none", "a", "b"]), "darts, normal cell")
    for epoch in (1 - request.param, request.param):
        animation.show(epoch)
    return request.param, animation


def whiteness(colour, of: str) -> float:
    """The share of white in a mixture of white and the colour `of`."""
    mixed, full = (1 - np.array(to_rgb(c)) for c in (colour, of))
    share = mixed @ full / (full @ full)
    assert mixed == pytest.approx(share * full, abs=0.01)
    return 1 - share


def test_rows_of_the_animation_follow_the_strongest_operation_and_the_genotype(shown):
    epoch, animation = shown
    assert [row.label.get_text() for row in animation.rows] == STRONGEST[epoch]
    for row, operation, kept in zip(animation.rows, STRONGEST[epoch], KEPT[epoch], strict=True):
        strokes = (row.line.get_edgecolor(), row.arrow.get_edgecolor(), row.pill.get_edgecolor())
        white = [whiteness(colour, A_AND_B[operation]) for colour in strokes]
        assert white == pytest.approx([0, 0, 0], abs=0.01) if kept else min(white) > 0.5
        assert row.label.get_color() == (style.INK if kept else style.PAPER)
        assert (to_hex(row.pill.get_facecolor()) == "#ffffff") != kept


def test_lines_of_the_animation_widen_with_the_weight_on_one_scale_for_all_epochs(shown):
    epoch, animation = shown
    weights = [max(a, b) for _, a, b in WEIGHTS[epoch]]
    expected = [np.interp(w, (0.0625, 0.75), (THIN, THICK)) for w in weights]
    assert [row.line.get_linewidth() for row in animation.rows] == pytest.approx(expected)
    assert THICK > 4 * THIN
    note = (
        "Line width: softmax weight of the strongest operation other than none, from 0.06 to 0.75. "
        "Bar: weights of all operations. Faint: edges that the genotype of the epoch leaves out."
    )
    assert_noted(animation.figure, note)


def test_small_leads_do_not_look_like_decisions():
    epochs = {epoch: [(0.334 + i / 1000, 0.333, 0.333 - i / 1000) for i in range(5)] for epoch in (0, 1)}
    animation = CellAnimation(rows_of(epochs, THREE), "mb, normal cell")
    animation.show(1)
    assert max(row.line.get_linewidth() for row in animation.rows) < 1.1 * THIN
    assert "strongest operation, from 0.33 to 0.67." in " ".join(
        text.get_text() for text in animation.figure.texts[::-1]
    )


def test_bars_of_the_animation_are_divided_by_the_weights_of_all_operations(shown):
    epoch, animation = shown
    for row, weights, kept in zip(animation.rows, WEIGHTS[epoch], KEPT[epoch], strict=True):
        left, width = row.pill.get_x(), row.pill.get_width()
        edges = [(part.get_x() - left) / width for part in row.bar]
        assert edges == pytest.approx([0, weights[0], weights[0] + weights[1]])
        assert [part.get_width() / width for part in row.bar] == pytest.approx(list(weights))
        none, *others = (part.get_facecolor() for part in row.bar)
        assert min(to_rgb(none)) == max(to_rgb(none)) > 0.8
        white = [whiteness(colour, of) for colour, of in zip(others, A_AND_B.values(), strict=True)]
        assert white == pytest.approx([0, 0] if kept else [0.5, 0.5], abs=0.01)


def test_operations_have_the_colours_of_their_curves():
    rows = search_rows(1, TEN, 1)
    curves, animation = (draws(rows, "darts") for draws in (alphas_figure, CellAnimation))
    assert legend_labels(animation.figure) == legend_labels(curves) == TEN
    (_, *ours), (_, *theirs) = (
        [line.get_color() for line in figure.legends[0].get_lines()] for figure in (animation.figure, curves)
    )
    assert ours == theirs
    animation.show(1)
    assert [to_hex(part.get_facecolor()) for part in animation.rows[0].bar[1:]] == [colour.lower() for colour in ours]


@pytest.mark.parametrize(("nodes", "operations", "epochs"), [(1, THREE, 1), (2, THREE, 0), (4, TEN, 50), (7, TEN, 2)])
def test_the_animation_is_readable_and_nothing_moves_but_what_changes(nodes, operations, epochs):
    animation = CellAnimation(search_rows(nodes, operations, epochs), "darts_ln, normal cell")
    figure = animation.figure
    assert figure.get_figwidth() <= 7.5 or nodes > 4
    places = []
    for epoch in (0, epochs):
        animation.show(epoch)
        assert_readable(figure)
        total = f" of {epochs}" if epochs else ""
        assert animation.counter.get_text() == f"epoch {epoch}{total}"
        pills, labels, bars = (
            [artist.get_window_extent() for artist in artists]
            for artists in (
                [row.pill for row in animation.rows],
                [row.label for row in animation.rows],
                [part for row in animation.rows for part in row.bar],
            )
        )
        assert all(holds(pill, label) for pill, label in zip(pills, labels, strict=True))
        assert not any(meet(a, b) for a, b in combinations(pills, 2))
        assert not any(meet(pill, bar.padded(-0.5)) for pill in pills for bar in bars if bar.width > 1)
        boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if patch.get_gid() == "box"]
        assert not any(meet(box, animation.counter.get_window_extent().padded(10)) for box in boxes)
        progress = animation.past_epochs.get_width() / (animation.all_epochs.get_width() or 1)
        assert progress == pytest.approx(epoch / epochs if epochs else 0)
        places.append([pill.bounds for pill in pills])
    assert places[0] == places[1]


def test_rows_of_the_animation_lead_from_their_source_to_their_node():
    animation = CellAnimation(search_rows(3, THREE, 0), "mb, normal cell")
    animation.show(0)
    boxes = [patch for patch in animation.figure.axes[0].patches if patch.get_gid() == "box"]
    c2, c1, _, *nodes = boxes
    edges = [(source, target) for target in range(2, 5) for source in range(target)]
    starts = {}
    for row, (source, target) in zip(animation.rows, edges, strict=True):
        (start, y), (_, end) = row.line.get_path().vertices
        node = nodes[target - 2]
        assert y == end and node.get_y() < y < node.get_y() + node.get_height()
        (tail, _), (head, height) = row.arrow._posA_posB
        assert height == y and head == pytest.approx(node.get_x())
        assert row.pill.get_y() < y < row.pill.get_y() + row.pill.get_height()
        assert start < row.pill.get_x() < tail
        starts.setdefault(source, set()).add(start)
    first, second, *tracks = (start for (start,) in starts.values())
    for start, box in ((first, c2), (second, c1)):
        assert box.get_x() < start < box.get_x() + box.get_width()
    assert [second, *tracks] == sorted({second, *tracks})
    heights = [row.pill.get_y() for row in animation.rows]
    assert heights == sorted(heights)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (lambda row: (row["epoch"], row["edge"], row["operation"]) == (1, "1-3", "a"), "edge 1-3 .* of a at epoch 1"),
        (lambda row: row["edge"] == "0-3", "edge 0-3 .* of none at epoch 0"),
        (lambda row: row["epoch"] == 1 and row["operation"] == "b", "edge 0-2 .* of b at epoch 1"),
    ],
)
def test_an_animation_needs_every_weight(missing, message, tmp_path):
    rows = [row for row in rows_of(WEIGHTS, ["none", "a", "b"]) if not missing(row)]
    with pytest.raises(ValueError, match=message):
        animate_cell(rows, tmp_path / "cell.gif", title="")
    assert not list(tmp_path.iterdir())


def gif_blocks(content: bytes) -> list[str]:
    """What a GIF consists of after its header and its colours, by the specification of GIF89a."""
    assert content[:6] == b"GIF89a" and content[10] & 0x80  # one table of colours for all frames
    at, blocks = 13 + 3 * 2 ** (content[10] % 8 + 1), []
    while content[at] != 0x3B:
        if content[at] == 0x21:
            blocks.append(f"extension {content[at + 1]:02x}")
            at += 2
        else:
            assert content[at] == 0x2C
            blocks.append("frame with colours" if content[at + 9] & 0x80 else "frame")
            at += 11
        while content[at]:
            at += 1 + content[at]
        at += 1
    assert at == len(content) - 1
    return blocks


CONTROL = "extension f9"  # holds the duration; a loop would be an extension ff, a comment fe


@pytest.mark.parametrize(("frames", "duration"), [(1, 500), (6, 500), (13, 460), (51, 110), (61, 100), (200, 100)])
def test_a_gif_plays_once_slowly_enough_to_follow(frames, duration, tmp_path):
    pictures = [gif_palette().resize((4, 4)) for _ in range(frames)]
    for i, picture in enumerate(pictures):
        picture.putpixel((i % 4, i // 4 % 4), 1 + i % 100)
    save_gif(pictures, tmp_path / "cell.gif")
    assert gif_blocks((tmp_path / "cell.gif").read_bytes()) == [CONTROL, "frame"] * frames
    with Image.open(tmp_path / "cell.gif") as gif:
        for i in range(frames):
            gif.seek(i)
            assert gif.info["duration"] == duration


def test_every_frame_of_a_gif_shows_its_epoch(tmp_path):
    rows = rows_of(WEIGHTS | {2: WEIGHTS[0], 7: WEIGHTS[1]}, ["none", "a", "b"])
    animate_cell(random.Random(0).sample(rows, len(rows)), tmp_path / "cell.gif", title="darts")
    random.Random(0).shuffle(rows)
    animation = CellAnimation(rows, "darts")
    with Image.open(tmp_path / "cell.gif") as gif:
        assert gif.n_frames == 4
        for i, epoch in enumerate((0, 1, 2, 7)):
            gif.seek(i)
            animation.show(epoch)
            drawn = np.asarray(draw(animation.figure).canvas.buffer_rgba())[..., :3].astype(int)
            error = abs(np.asarray(gif.convert("RGB")) - drawn).max(axis=-1)
            assert error.max() < 48 and (error > 8).mean() < 0.005
            assert error[:5].max() == 0  # the background


def test_a_gif_of_many_frames_is_small(tmp_path):
    path = tmp_path / "cell.gif"
    animate_cell(search_rows(4, THREE, 16), path, title="mb, normal cell")
    assert gif_blocks(path.read_bytes()) == [CONTROL, "frame"] * 17
    assert path.stat().st_size < 250_000


def test_a_file_repeats_to_the_byte_and_names_no_version(tmp_path):
    content = repeated_bytes(lambda path: animate_cell(search_rows(2, THREE, 2), path, title="search"), tmp_path)
    assert set(gif_blocks(content)) == {CONTROL, "frame"}
