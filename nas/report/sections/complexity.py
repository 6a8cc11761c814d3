"""What the PIBConv paper's networks and blocks cost, counted here and in the paper."""

from nas.pipeline.records import damaged, read_json, read_rows
from nas.report.contents import Report
from nas.report.published import pibconv as published
from nas.report.render import render

BLOCKS = ("operation", "expansion", "kernel", "channels", "weights", "equation")


def networks(report: Report) -> str:
    """Every network of the paper's Table 1."""
    if not report.contents.pibconv:
        return ""
    path = report.results / "complexity" / "metrics.json"
    counted = read_json(path)
    rows = []
    for row in published.PIBCONV_TABLE_1:
        try:
            ours = counted["pibconv_table_1"][f"{row.genotype}-{row.layers}"]
            params, gmac, conv_gmac = ours["params"] / 1e6, ours["macs"] / 1e9, ours["conv_macs"] / 1e9
        except (KeyError, TypeError):
            raise damaged(path, ValueError(f"it lacks {row.genotype}-{row.layers}")) from None
        differences = [f"{100 * (a / b - 1):+.1f} %" for a, b in ((params, row.params), (gmac, row.gmac))]
        pairs = (f"{params:.4f}", f"*{row.params:g}*", f"{gmac:.4f}", f"*{row.gmac:.3f}*")
        rows.append((row.genotype, row.layers, *pairs, *differences, f"{conv_gmac:.4f}"))
    return render("complexity", rows=rows, channels=published.PIBCONV_CHANNELS, source=published.PIBCONV_SOURCE)


def blocks(report: Report) -> str:
    """The weights of each block, beside what the paper's equations say."""
    if not report.contents.pibconv:
        return ""
    counted = read_rows(report.results / "complexity" / "blocks.csv", BLOCKS)
    convnext = {row["kernel"]: row["weights"] for row in counted if row["operation"].startswith("convnext")}
    rows = [
        (
            row["operation"],
            f"{row['expansion']:g}",
            f"{row['kernel']:g}",
            f"{row['weights']:.0f}",
            f"*{row['equation']:.0f}*",
            f"{row['weights'] - row['equation']:+.0f}",
            f"{row['weights'] / convnext[row['kernel']]:.2f}",
        )
        for row in counted
    ]
    return render("blocks", rows=rows, channels=counted[0]["channels"])
