"""nas.pipeline.records: what is written can be read, and what cannot be read is told in a line."""

import csv
import io
import json
import subprocess
import sys
from typing import ClassVar

import pytest
from conftest import ENVIRONMENT, ROOT
from pydantic import ValidationError

from nas.pipeline.errors import UserError
from nas.pipeline.records import Evaluation, Row, Slimming


class Sample(Row):
    epoch: int
    name: str
    loss: float


class Open(Sample):
    may_be_empty: ClassVar = True


class Void(Row):
    epoch: int
    note: None


ROWS = [
    {"epoch": 0, "name": "a,\"b'", "loss": 0.1 + 0.2},
    {"epoch": 2**40, "name": "NA", "loss": 1e-300},
    {"epoch": -1, "name": "1.0", "loss": 3.0},
    {"epoch": 3, "name": "ü", "loss": -123456789.123456789e20},
]


def test_a_table_is_what_pythons_own_writer_makes_of_it(tmp_path):
    Sample.write(tmp_path / "new" / "t.csv", ROWS)
    expected = io.StringIO()
    writer = csv.DictWriter(expected, ["epoch", "name", "loss"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(ROWS)
    assert (tmp_path / "new/t.csv").read_bytes() == expected.getvalue().encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.csv"]


def test_a_table_is_read_as_it_was_written(tmp_path):
    Sample.write(tmp_path / "t.csv", ROWS)
    read = Sample.read(tmp_path / "t.csv").to_dict("records")
    assert read == ROWS
    assert [type(value) for value in read[0].values()] == [int, str, float]


def test_columns_stand_in_the_records_order_whatever_the_rows_are(tmp_path):
    Sample.write(tmp_path / "t.csv", [Sample(loss=1.5, name="x", epoch=1), dict(reversed(ROWS[2].items()))])
    assert (tmp_path / "t.csv").read_text() == "epoch,name,loss\n1,x,1.5\n-1,1.0,3.0\n"


def test_a_table_may_have_no_rows_and_empty_cells_where_the_record_says_so(tmp_path):
    path = tmp_path / "t.csv"
    Open.write(path, [])
    assert path.read_text() == "epoch,name,loss\n"
    assert Open.read(path).to_dict("records") == []
    Void.write(path, [{"epoch": 1, "note": None}])
    assert path.read_text() == "epoch,note\n1,\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no rows"),
        ("epoch,name,loss\n", "it has no rows"),
        ("epoch,name,loss\n1,a,0.5", "it ends within a line"),
        ("epoch,name\n1,a\n", "not every row has the columns epoch, name, loss"),
        ("epoch,name,loss\n1,a,0.5\n2,b\n", "not every row has the columns epoch, name, loss"),
        ("epoch,name,loss\n1,,0.5\n", "not every row has the columns epoch, name, loss"),
        ("epoch,name,loss\n1,a,high\n", "could not convert string to float: 'high'"),
        ("epoch,name,loss\n1.5,a,1\n", "invalid literal for int() with base 10: '1.5'"),
        ("epoch,name,loss\n1,a,1\n1,a,1,1\n", "Error tokenizing data"),
    ],
)
def test_a_table_that_cannot_be_read(text, why, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text)
    for remedy in ("`dvc repro` makes it anew", "search again"):
        with pytest.raises(UserError) as caught:
            Sample.read(path, remedy) if remedy == "search again" else Sample.read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: is missing or damaged ({why}")
        assert message.endswith(f"); {remedy}")
        assert "\n" not in message


def test_columns_and_keys_that_are_more_than_the_record_has_are_passed_over(tmp_path):
    (tmp_path / "t.csv").write_text("more,loss,epoch,name\n,0.5,1,a\n")
    assert Sample.read(tmp_path / "t.csv").to_dict("records") == [{"epoch": 1, "name": "a", "loss": 0.5}]
    (tmp_path / "m.json").write_text('{"top1": 1, "top5": 2.5, "loss": 0, "device": "cpu", "gmac": 1}')
    assert Evaluation.read(tmp_path / "m.json") == Evaluation(top1=1.0, top5=2.5, loss=0.0, device="cpu")


@pytest.mark.parametrize(
    "wrong", [{"loss": "low"}, {"loss": True}, {"loss": None}, {"epoch": 1.5}, {"name": 1}, {"other": 1}]
)
def test_a_row_that_is_none_is_not_written(wrong, tmp_path):
    with pytest.raises(ValidationError):
        Sample.write(tmp_path / "t.csv", [ROWS[0], ROWS[1] | wrong])
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_read_as_they_were_written(tmp_path):
    cost = {"params": 3, "conv_macs": 7, "params_ratio": 1.5, "conv_macs_ratio": 2.5}
    papers = {"paper_params": 2, "paper_macs": 5, "paper_params_ratio": 1.75, "paper_macs_ratio": 3.5}
    told = Slimming(top1=99.5, top5=100.0, loss=0.1, device="cpu", **cost, **papers)
    told.write(tmp_path / "metrics.json")
    assert Slimming.read(tmp_path / "metrics.json") == told
    assert json.loads((tmp_path / "metrics.json").read_text()) == told.model_dump(exclude_none=True)
    with pytest.raises(ValidationError):
        Evaluation(top1=1.0, top5=1.0, loss=1.0, device="cpu", params=1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ('{"top1": 1', "Expecting"),
        ("{}", "it lacks top1"),
        ("[]", "it lacks top1"),
        ("5", "it lacks top1"),
        ('{"top1": 1, "top5": "high", "loss": 0, "device": "cpu"}', "it lacks top5"),
        ('{"top1": 1, "top5": 1, "loss": 0}', "it lacks device"),
        ('{"top1": 1, "top5": 1, "loss": 0, "device": null}', "it lacks device"),
        ('{"top1": true, "top5": 1, "loss": 0, "device": "cpu"}', "it lacks top1"),
    ],
)
def test_metrics_that_cannot_be_read(text, why, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        Evaluation.read(path)
    assert str(caught.value).startswith(f"{path}: is missing or damaged ({why}")
    assert str(caught.value).endswith("); `dvc repro` makes it anew")


@pytest.mark.parametrize("record", [Sample, Evaluation])
def test_a_file_that_is_not_there_or_no_text(record, tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        record.read(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match="'utf-8' codec can't decode"):
        record.read(tmp_path / "file")


def test_records_import_pandas_only_for_a_table():
    program = "import nas.pipeline.records, sys; assert not {'pandas', 'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT | {"PYTHONPATH": "."}, check=True)
