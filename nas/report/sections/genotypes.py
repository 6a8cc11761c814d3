"""The drawings of all genotypes that are evaluated or were found."""

from nas.report.contents import Report
from nas.report.render import render


def section(report: Report) -> str:
    """Each genotype once; stage derive has drawn it."""
    evaluated = (genotype for genotype, _, _ in report.contents.networks)
    names = list(dict.fromkeys([*evaluated, *report.contents.searches]))
    return render("genotypes", names=names) if names else ""
