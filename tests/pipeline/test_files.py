"""A folder that is written is whole at every moment, and what kills leave is cleaned up."""

import os
import sys
import time
from pathlib import Path

import pytest

from nas.pipeline import files
from nas.pipeline.files import whole_folder


def write(path: Path, text: str) -> None:
    with whole_folder(path) as folder:
        (folder / text).touch()


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


@pytest.mark.parametrize("can_exchange", [True, False])
def test_nothing_of_the_earlier_folder_remains(can_exchange, tmp_path, monkeypatch) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    for text in ("a", "b"):
        write(tmp_path / "out", text)
        assert names(tmp_path / "out") == [text]
    assert names(tmp_path) == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_there_is_no_moment_without_a_folder(tmp_path, monkeypatch) -> None:
    write(tmp_path / "out", "a")

    def missing(*paths: Path) -> None:
        raise AssertionError("between two renames there would be none")

    monkeypatch.setattr(os, "replace", missing)
    write(tmp_path / "out", "b")
    assert names(tmp_path / "out") == ["b"] and names(tmp_path) == ["out"]


def test_an_error_leaves_the_earlier_folder(tmp_path) -> None:
    write(tmp_path / "out", "a")
    with pytest.raises(OSError, match="full"), whole_folder(tmp_path / "out") as folder:
        (folder / "b").touch()
        raise OSError("full")
    assert names(tmp_path / "out") == ["a"] and names(tmp_path) == ["out"]


def test_what_a_kill_left_is_deleted_after_a_day(tmp_path) -> None:
    day = 86_400
    for name, age in (
        (".out.1.tmp", 2 * day),
        (".out.2.old.tmp", 2 * day),
        (".out.3.tmp", 60),
        (".other.1.tmp", 2 * day),
    ):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write(tmp_path / "out", "a")
    assert names(tmp_path) == [".other.1.tmp", ".out.3.tmp", "out"]
