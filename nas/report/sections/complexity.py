"""What the PIBConv paper's networks and blocks cost, counted here and in the paper."""

from nas.pipeline.records import BlockCost
from nas.report.contents import Report, network_costs
from nas.report.published import pibconv as published
from nas.report.render import italic, render


def networks(report: Report) -> str:
    """Every network of the paper's Table 1."""
    if not report.contents.pibconv:
        return ""
    papers, rows = published.PIBCONV_TABLE_1, []
    costs = network_costs(report.results, "pibconv_table_1", [(row.genotype, row.layers) for row in papers])
    for row, ours in zip(papers, costs, strict=True):
        params, gmac, conv_gmac = ours.params / 1e6, ours.macs / 1e9, ours.conv_macs / 1e9
        differences = [f"{100 * (a / b - 1):+.1f} %" for a, b in ((params, row.params), (gmac, row.gmac))]
        pairs = (f"{params:.4f}", italic(f"{row.params:g}"), f"{gmac:.4f}", italic(f"{row.gmac:.3f}"))
        rows.append((row.genotype, row.layers, *pairs, *differences, f"{conv_gmac:.4f}"))
    return render("complexity", rows=rows, channels=published.PIBCONV_CHANNELS, source=published.PIBCONV_SOURCE)


def blocks(report: Report) -> str:
    """The weights of each block, beside what the paper's equations say."""
    if not report.contents.pibconv:
        return ""
    counted = BlockCost.read(report.results / "complexity" / "blocks.csv").to_dict("records")
    convnext = {row["kernel"]: row["weights"] for row in counted if row["operation"].startswith("convnext")}
    rows = [
        (
            row["operation"],
            f"{row['expansion']:g}",
            row["kernel"],
            row["weights"],
            italic(f"{row['equation']:.0f}"),
            f"{row['weights'] - row['equation']:+.0f}",
            f"{row['weights'] / convnext[row['kernel']]:.2f}",
        )
        for row in counted
    ]
    return render("blocks", rows=rows, channels=counted[0]["channels"])
