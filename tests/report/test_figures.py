"""What the modules of pictures load."""

import pkgutil
import subprocess
import sys

from nas.report import figures


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
