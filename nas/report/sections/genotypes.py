"""The drawings of all genotypes that are evaluated or were found."""

from nas.pipeline.names import genotype_file
from nas.report.contents import Report
from nas.report.render import render
from nas.space.genotypes import load


def section(report: Report) -> str:
    """Each genotype once; stage derive has drawn it."""
    evaluated = (genotype for genotype, _, _ in report.contents.networks)
    names = list(dict.fromkeys([*evaluated, *report.contents.searches]))
    cells = {name: list(load(genotype_file(name, report.results)).placed()) for name in names}
    return render("genotypes", genotypes=cells) if names else ""
