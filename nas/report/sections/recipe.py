"""The parameters that produced the results."""

from nas.report.contents import Report
from nas.report.render import render


def section(report: Report) -> str:
    """A table for each heading."""
    recipes = {
        title: [(name, _plain(value)) for name, value in recipe.items()]
        for title, recipe in report.contents.recipes.items()
    }
    return render("recipe", recipes=recipes)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
