"""What the modules of pictures load."""

import pkgutil
import subprocess
import sys

from nas.report import figures
from nas.report.figures import style


def loaded(imports: str, shown: str) -> str:
    code = f"import sys, {imports}; print(sorted(name for name in sys.modules if {shown}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_neither_pyplot_nor_torch_is_imported():
    modules = [f"nas.report.figures.{module.name}" for module in pkgutil.iter_modules(figures.__path__)]
    assert len(modules) > 5
    assert loaded(", ".join(modules), "name in ('torch', 'matplotlib.pyplot')") == "[]\n"


def test_the_drawing_of_a_cell_loads_no_other_picture():
    names = ["nas.report", "nas.report.figures", "nas.report.figures.cells", "nas.report.figures.style"]
    assert loaded("nas.report.figures.cells", "name.startswith('nas.report')") == f"{names}\n"


def test_characters_that_no_font_has_are_told_once_in_one_line(tmp_path, monkeypatch, caplog, recwarn) -> None:
    monkeypatch.setitem(style.STYLE, "font.family", ["DejaVu Sans"])
    style._tell_of_fonts.cache_clear()
    with caplog.at_level("WARNING", "nas"):
        for name in ("a", "b"):
            figure = style.new_figure(2, 1)
            figure.text(0.1, 0.5, "猫 犬")
            style.save(figure, tmp_path / f"{name}.png")
            assert style.text_width("猫 犬", 11) > 0
    assert [record.getMessage() for record in caplog.records] == [
        "figures: no font here has some of the characters in names; Noto Sans CJK has those of East Asia"
    ]
    assert [str(warning.message) for warning in recwarn] == []
