"""What a found genotype is worth: beside random ones of its space, and beside its cells with a single operation."""

from collections.abc import Mapping
from statistics import mean, stdev

from nas.pipeline.names import Label
from nas.report.contents import Report
from nas.report.render import accuracy, render


def found_or_random(report: Report) -> str:
    """Every found genotype beside those drawn from its space, with the same layers, epochs and seeds."""
    if report.contents.algorithm == "random":
        return ""
    rows, verdicts = [], []
    for row in report.evaluated:
        label = Label.of(row["genotype"])
        drawn = [other["accuracy"] for other in _alike(report, row, label.base, "random")]
        if label.kind not in ("", "seed") or not drawn:
            continue
        spread = f" ± {stdev(drawn):.2f}" if len(drawn) > 1 else ""
        theirs = (len(drawn), f"{mean(drawn):.2f}{spread}", f"{max(drawn):.2f}")
        rows.append((row["genotype"], row["layers"], accuracy(row), *theirs))
        beaten = sum(row["accuracy"] > other for other in drawn)
        verdict = "beats" if beaten == len(drawn) else "does not beat"
        lead = row["accuracy"] - mean(drawn)
        verdicts.append({"row": row, "drawn": len(drawn), "beaten": beaten, "verdict": verdict, "lead": lead})
    if not rows:
        return ""
    return render(
        "found_or_random",
        algorithm=report.contents.algorithm,
        rows=rows,
        verdicts=verdicts,
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
            (one["genotype"], one["layers"], accuracy(one), f"{one['params']:.4g}", f"{one['gmac']:.4g}")
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
            }
        )
    if not rows:
        return ""
    return render(
        "single_blocks",
        rows=rows,
        verdicts=verdicts,
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
