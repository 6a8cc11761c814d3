"""What a found genotype is worth: beside random ones of its space, and beside its cells with a single operation."""

from collections.abc import Mapping
from statistics import mean, stdev

from nas.pipeline.names import Label
from nas.pipeline.params import selected_from
from nas.report.contents import Report
from nas.report.intervals import told_apart
from nas.report.render import accuracy, interval, render


def found_or_random(report: Report) -> str:
    """Every found genotype beside those drawn from its space, with the same layers, epochs and seeds."""
    rows, verdicts = [], []
    for row in report.evaluated:
        searched = report.contents.trained.get(selected_from(row["genotype"]))
        others = report.drawn(searched.space, row["layers"]) if searched else []
        if not searched or not others:
            continue
        drawn = [other["accuracy"] for other in others]
        spread = f" ± {stdev(drawn):.2f}" if len(drawn) > 1 else ""
        theirs = (len(drawn), f"{mean(drawn):.2f}{spread}", f"{max(drawn):.2f}")
        rows.append((row["genotype"], searched.algorithm, row["layers"], accuracy(row), *theirs))
        beaten = sum(row["accuracy"] > other for other in drawn)
        told = sum(told_apart(row, other) for other in others)
        verdict = "does not beat" if beaten < len(drawn) else "beats" if told == len(drawn) else "does not clearly beat"
        lead = row["accuracy"] - mean(drawn)
        verdicts.append(
            {"row": row, "drawn": len(drawn), "beaten": beaten, "verdict": verdict, "lead": lead, "told": told}
        )
    if not rows:
        return ""
    return render(
        "found_or_random",
        rows=rows,
        verdicts=verdicts,
        evidence=report.contents.evidence(report.evaluated),
        recipe=report.contents.evaluation(report.evaluated),
    )


def single_blocks(report: Report) -> str:
    """Every genotype beside its own cells with one operation on all edges, with the same layers, epochs and seeds."""
    rows, verdicts = [], []
    for row in report.evaluated:
        alike = _alike(report, row, row["genotype"], "all")
        if not alike:
            continue
        ranked = sorted([row, *alike], key=lambda one: -one["accuracy"])
        rows += [
            (
                *(one["genotype"], one["layers"], accuracy(one), interval(one["interval"])),
                *(f"{one['params']:.4g}", f"{one['gmac']:.4g}"),
            )
            for one in ranked
        ]
        best = max(alike, key=lambda one: one["accuracy"])
        verdicts.append(
            {
                "row": row,
                "tried": len(alike),
                "best": Label.of(best["genotype"]).argument,
                "lead": best["accuracy"] - row["accuracy"],
                "rank": ranked.index(row) + 1,
                "ties": not told_apart(best, row),
            }
        )
    if not rows:
        return ""
    return render(
        "single_blocks",
        rows=rows,
        verdicts=verdicts,
        evidence=report.contents.evidence(report.evaluated),
        recipe=report.contents.evaluation(report.evaluated),
        trained_once=all(len(row["seeds"]) == 1 for row in report.evaluated),
    )


def _alike(report: Report, row: Mapping, base: str, kind: str) -> list[Mapping]:
    """The networks of genotypes of that `kind`, made from `base`, with as many layers as `row`."""
    return [
        other
        for other in report.evaluated
        if other["layers"] == row["layers"] and Label.of(other["genotype"])[:2] == (base, kind)
    ]
