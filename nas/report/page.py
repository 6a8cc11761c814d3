"""The report: its sections in their order, as report.md for a code host and as report.html for anywhere else."""

import hashlib
from pathlib import Path

from nas.pipeline.files import sha256, whole_folder, write_text
from nas.pipeline.names import RESULTS
from nas.report.contents import Contents, Report, evaluated
from nas.report.html import page
from nas.report.sections import (
    accuracy,
    algorithms,
    baselines,
    complexity,
    data,
    deploy,
    dnal,
    genotypes,
    gradcam,
    preference,
    recipe,
    roadmap,
    search,
    truth,
)
from nas.report.summary import read_by

SECTIONS = (
    accuracy.summary,
    accuracy.section,
    roadmap.section,
    truth.section,
    algorithms.section,
    baselines.found_or_random,
    baselines.single_blocks,
    preference.section,
    search.section,
    genotypes.section,
    complexity.networks,
    complexity.blocks,
    gradcam.section,
    dnal.section,
    deploy.exports,
    deploy.latency,
    data.section,
    recipe.section,
)


def write(results: Path, contents: Contents) -> None:
    """Draw the figures into ``results/figures``, write ``results/report.md`` and ``results/report.html``.

    Raises
    ------
    UserError
        If a result that `contents` names is missing or damaged.
    """
    rows = evaluated(results, contents.networks, contents.test_images)
    with whole_folder(results / "figures") as folder:
        report = Report(results, contents, rows, folder)
        text = "\n\n".join(part for part in (section(report) for section in SECTIONS) if part) + "\n"
        html = page(
            text,
            {"figures": folder, "cells": results / "cells"},
            title=f"Report: {contents.data}",
            charts=report.charts,
            parameters=contents.parameters,
            checksum=checksum(results, contents),
        )
    write_text(results / "report.md", text)
    write_text(results / "report.html", html)


def checksum(results: Path, contents: Contents) -> str:
    """SHA-256, in hexadecimal digits, of the names and bytes of all files in `results` that show in the report."""
    digest = hashlib.sha256()
    for named in read_by(contents, results):
        path = results / named.relative_to(RESULTS)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.relative_to(results).as_posix()}\0".encode())
                digest.update(bytes.fromhex(sha256(file)))
    return digest.hexdigest()
