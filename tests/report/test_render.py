"""Templates: what they may leave to the renderer, and that nothing is left out silently."""

import pytest
from jinja2 import DictLoader, UndefinedError
from markupsafe import Markup

from nas.report.published import pibconv
from nas.report.render import TEMPLATES, render, table


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch):
    """Fill in a template that consists of a text."""

    def filled(text: str, **values: object) -> str:
        monkeypatch.setattr(TEMPLATES, "loader", DictLoader({"own.md.j2": text}))
        monkeypatch.setattr(TEMPLATES, "cache", None)
        return render("own", **values)

    return filled


def test_a_paragraph_and_an_item_become_one_line_and_a_part_left_out_leaves_no_gap(template) -> None:
    text = (
        "## A\n\nOne\ntwo.\n{% if no %}\nNever.\n{% endif %}\nThree.\n\n{% if no %}\nNever.\n\n{% endif %}\n"
        "- four\n  five\n- six\n\n{{ rows }}\n\n![a](b)\n"
    )
    rows = table("x | y", [(1, ""), ("-", 2)])
    expected = f"## A\n\nOne two. Three.\n\n- four five\n- six\n\n{rows}\n\n![a](b)"
    assert template(text, no=False, rows=rows) == expected


def test_a_template_without_its_value_is_an_error(template) -> None:
    with pytest.raises(UndefinedError, match="'recipe' is undefined"):
        template("Ours: {{ recipe }}.")
    with pytest.raises(UndefinedError, match="recipe"):
        template("{% if recipe %}{% endif %}")


def test_a_table_aligns_all_columns_but_the_first_to_the_right() -> None:
    assert table("a | b | c", [(1, 2.5, "–")]) == "| a | b | c |\n| --- | ---: | ---: |\n| 1 | 2.5 | – |"
    assert table("a", []) == "| a |\n| --- |"


def test_a_value_stands_as_it_is_whatever_markdown_or_html_would_make_of_it() -> None:
    source = pibconv.PIBCONV_SOURCE + " <&> [a](b) *c*\n| d"
    shown = pibconv.PIBCONV_SOURCE + r" &lt;&amp;&gt; \[a\](b) \*c\* \| d"
    assert shown in render("complexity", rows=[], channels=36, source=source)
    assert table("a | b", [("<i>", Markup("**1**"))]).endswith("| &lt;i&gt; | **1** |")
