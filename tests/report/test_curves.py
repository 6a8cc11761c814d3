"""Accuracy and loss of searches and trainings: the numbers given, readable."""

import random

import pytest
from figure_checks import assert_nothing_but_a_picture, assert_readable, legend_labels, points, repeated_bytes

from nas.report.figures.curves import (
    plot_search,
    plot_training,
    search_figure,
    training_figure,
)


def history(epochs: int, halves: tuple[str, str], seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    keys = [f"{half}_{measure}" for half in halves for measure in ("loss", "top1")]
    return [
        {"epoch": e} | {key: rng.uniform(20, 90) if "top1" in key else rng.uniform(0.1, 2) for key in keys}
        for e in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(("searches", "epochs"), [(1, 1), (5, 50), (12, 115)])
def test_a_search_shows_both_halves(searches, epochs):
    histories = {f"darts_gelu_{i}": history(epochs, ("train", "valid"), i) for i in range(searches)}
    figure = search_figure(histories)
    assert_readable(figure)
    assert legend_labels(figure) == [*histories, "validation half", "training half"]
    for axes, measure in zip(figure.axes, ("top1", "loss"), strict=True):
        assert len(axes.lines) == 2 * searches
        assert len({line.get_color() for line in axes.lines}) == searches
        for half, style in (("train", "--"), ("valid", "-")):
            drawn = [points(line) for line in axes.lines if line.get_linestyle() == style]
            given = [[(row["epoch"], row[f"{half}_{measure}"]) for row in rows] for rows in histories.values()]
            assert drawn == given


@pytest.mark.parametrize(
    ("genotypes", "depths", "seeds", "epochs"),
    [(["DARTS_V2"], [10], 1, 1), (["DARTS_V2", "DARTS_PseudoInvBn", "pib-conv"], range(2, 12), 2, 40)],
)
def test_training_has_a_row_of_panels_for_each_genotype(genotypes, depths, seeds, epochs):
    runs = {
        f"{genotype}-{layers}-{seed}": history(epochs, ("train", "test"), seed)
        for genotype in genotypes
        for layers in depths
        for seed in range(seeds)
    }
    figure = training_figure(runs)
    assert_readable(figure)
    assert [axes.get_title("left") for axes in figure.axes[::2]] == genotypes
    assert legend_labels(figure) == [*(f"{layers} layers" for layers in depths), "test", "training"]
    assert all(len(axes.lines) == 2 * len(depths) * seeds for axes in figure.axes)
    brightness = [sum(handle.get_color()[:3]) for handle in figure.legends[0].get_lines()[: len(depths)]]
    assert brightness == sorted(set(brightness), reverse=True)  # the deeper the darker, all different
    rows = runs[f"{genotypes[0]}-{depths[0]}-0"]
    assert points(figure.axes[0].lines[1]) == [(row["epoch"], row["test_top1"]) for row in rows]
    assert points(figure.axes[1].lines[0]) == [(row["epoch"], row["train_loss"]) for row in rows]


@pytest.mark.parametrize("name", ["DARTS_V2", "DARTS_V2-10", "DARTS-V2-ten-0", "a-1-"])
def test_a_run_with_another_name_is_refused(name):
    with pytest.raises(ValueError, match="GENOTYPE-LAYERS-SEED"):
        training_figure({name: history(2, ("train", "test"))})


@pytest.mark.parametrize(
    "plot",
    [
        lambda path: plot_search({"darts": history(5, ("train", "valid"))}, path),
        lambda path: plot_training({"DARTS_V2-10-0": history(5, ("train", "test"))}, path),
    ],
)
def test_a_file_repeats_to_the_byte_and_names_no_version(plot, tmp_path):
    assert_nothing_but_a_picture(repeated_bytes(plot, tmp_path))
