"""Published tables of NAS-Bench-201's space: rows of its paper arrive as they are, a mistake ends in one line."""

import sys
from pathlib import Path

import pytest

from nas.analysis.tables import read
from nas.analysis.truth import Truth, is_bench201, recipe_of, recipes
from nas.networks.bench201 import Bench201Network
from nas.networks.complexity import count
from nas.pipeline.errors import UserError
from nas.pipeline.records import Alias, GroundTruth
from nas.report.published import bench201 as published

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
FIRST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
SECOND = FIRST.replace("nor_conv_1x1", "nor_conv_3x3")
# Test accuracies on CIFAR-10 after 200 epochs, as the benchmark has them: what DARTS found in it (the mean of its
# trainings), the best, and the next.
ROWS = [
    (SKIPS, 777, 200, 54.30),
    *((FIRST, seed, 200, accuracy) for seed, accuracy in zip((777, 888, 999), (94.26, 94.68, 94.18), strict=True)),
    *((SECOND, seed, 200, accuracy) for seed, accuracy in zip((777, 888, 999), (94.34, 94.47, 94.28), strict=True)),
    (FIRST, 777, 12, 85.0),  # invented
]


def written(path: Path, rows=ROWS, header: str = "architecture,seed,epochs,accuracy") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_the_truth_of_a_published_table_is_its_papers(tmp_path: Path) -> None:
    table, aliases = read(written(tmp_path / "table.csv"))
    assert recipes(table) == ["200 epochs", "12 epochs"] == [recipe_of(200), recipe_of(12)]
    truth = Truth.of(table, aliases, recipe_of(published.EPOCHS))
    found = {row.algorithm: row.accuracy for row in published.FOUND}
    assert round(truth.best, 2) == published.BEST == 94.37
    assert round(truth.worth(SECOND).top1, 2) == found["drnas"] and truth.worth(SECOND).rank == 2
    assert truth.worth(SKIPS).top1 == found["darts"] and round(truth.worth(SKIPS).regret, 2) == 40.07
    assert Truth.of(table, aliases, "12 epochs").accuracies == {FIRST: 85.0}


def test_its_rows_are_those_of_the_stage_and_cost_what_the_networks_do(tmp_path: Path) -> None:
    table, aliases = read(written(tmp_path / "table.csv"))
    GroundTruth.write(tmp_path / "truth.csv", table)
    Alias.write(tmp_path / "aliases.csv", aliases)
    assert GroundTruth.read(tmp_path / "truth.csv").to_dict("records") == table
    assert [row["genotype"] for row in aliases] == [row["trained_as"] for row in aliases] == [SKIPS, FIRST, SECOND]
    for row in (table[0], table[1], table[4]):
        expected = count(Bench201Network(row["genotype"]), (3, 32, 32))
        assert (row["params"], row["macs"]) == (expected.params, expected.macs)
    assert table[0]["params"] == 73306  # the benchmark's own
    mixed = "|avg_pool_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|"
    (grey,), _ = read(written(tmp_path / "grey.csv", [(mixed, 0, 12, 50)]), shape=(1, 28, 28), num_classes=7)
    expected = count(Bench201Network(mixed, in_channels=1, num_classes=7), (1, 28, 28))
    assert (grey["params"], grey["macs"]) == (expected.params, expected.macs)


def test_columns_may_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    rows = [(54.30, "x", SKIPS, 200, 777)]
    table, _ = read(written(tmp_path / "table.csv", rows, "accuracy,note,architecture,epochs,seed"))
    assert [(row["genotype"], row["seed"], row["recipe"], row["top1"]) for row in table] == [
        (SKIPS, 777, "200 epochs", 54.30)
    ]


OURS = "genotype,recipe,seed,top1,params,macs"
ONE = "normal: skip_connect(0) + nor_conv_3x3(1); reduce: nor_conv_3x3(0) + skip_connect(1)"


def test_a_table_of_the_stage_truth_arrives_as_it_is(tmp_path: Path) -> None:
    path = written(
        tmp_path / "table.csv", [(ONE, "short", 0, 12.5, 100, 2000), (ONE, "long", 0, 25.0, 100, 2000)], OURS
    )
    table, aliases = read(path)
    assert GroundTruth.read(path).to_dict("records") == table and [row["recipe"] for row in table] == ["short", "long"]
    assert aliases == [{"genotype": ONE, "trained_as": ONE}]
    turned = ONE.replace("skip_connect(0) + nor_conv_3x3(1);", "nor_conv_3x3(1) + skip_connect(0);")
    assert read(written(tmp_path / "turned.csv", [(turned, "short", 0, 12.5, 1, 2)], OURS))[1] == aliases


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("normal", "short", 0, 12.5, 1, 2), "row 1: genotype: 'normal' is no genotype"),
        ((ONE, "short", 0, 12.5, -1, 2), "row 1: params: '-1' is not allowed: must be a whole number from 0"),
        ((ONE, "short", 0, 125, 1, 2), "row 1: top1: '125' is not allowed: must be a percentage"),
    ],
)
def test_what_is_wrong_in_a_row_of_ours_is_told(tmp_path: Path, row: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(written(tmp_path / "table.csv", [row], OURS))
    with pytest.raises(UserError, match="has no column macs: must have genotype, recipe, seed, top1, params, macs"):
        read(written(tmp_path / "table.csv", [row[:5]], OURS.removesuffix(",macs")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROWS[0], ROWS[0]], "row 2: seed 777, 200 epochs of .* is there twice"),
        ([(SKIPS.replace("skip_connect~1", "skip_conect~1"), 1, 200, 5)], "row 1: architecture: .*did you mean skip_c"),
        ([("", 1, 200, 5)], "row 1: architecture: '': unknown operation ''"),
        ([(SKIPS, "one", 200, 5)], "row 1: seed: 'one' is not allowed: must be a whole number from 0"),
        ([(SKIPS, 1, 0, 5)], "row 1: epochs: '0' is not allowed: must be a whole number from 1"),
        ([(SKIPS, 1, 200, 101)], "row 1: accuracy: '101' is not allowed: must be a percentage"),
        ([(SKIPS, 1, 200, "nan")], "row 1: accuracy: 'nan' is not allowed"),
        ([(SKIPS, 1, 200, "")], "row 1: accuracy: '' is not allowed"),
        ([], "has no rows"),
    ],
)
def test_what_is_wrong_in_a_row_is_told(tmp_path: Path, rows, message: str) -> None:
    path = written(tmp_path / "table.csv", rows)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no column epochs: must have architecture, seed, epochs, accuracy"):
        read(written(tmp_path / "table.csv", [(SKIPS, 1, 5)], "architecture,seed,accuracy"))
    with pytest.raises(UserError, match="missing.csv: cannot be read .No such file"):
        read(tmp_path / "missing.csv")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "torn.csv").write_bytes(b"\xff\xfe\x00architecture")
    for name in ("empty.csv", "torn.csv"):
        with pytest.raises(UserError, match=f"{name}: is no table"):
            read(tmp_path / name)
    for name in ("NAS-Bench-201-v1_1-096897.pth", "table.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
        with pytest.raises(UserError, match="is not allowed: must be a table in .csv or .parquet"):
            read(tmp_path / name)  # and is never unpickled


def test_parquet_is_read_where_pandas_can_or_says_what_is_missing(tmp_path: Path, monkeypatch) -> None:
    import pandas as pd

    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(UserError, match="table.parquet: pandas reads Parquet with pyarrow: pip install pyarrow"):
        read(tmp_path / "table.parquet")
    # As pyarrow gives it: numbers, not texts
    frame = pd.DataFrame(ROWS, columns=["architecture", "seed", "epochs", "accuracy"])
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    assert read(tmp_path / "table.parquet") == read(written(tmp_path / "table.csv"))


def test_a_text_that_begins_with_a_bar_is_the_benchmarks() -> None:
    assert is_bench201(SKIPS) and not is_bench201('{"normal": []}')
