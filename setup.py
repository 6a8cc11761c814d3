"""What pyproject.toml cannot say: a wheel carries what `nas new` copies into a project of one's own."""

from pathlib import Path
from runpy import run_path
from shutil import rmtree

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class WithProject(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # then the checkout itself is there
            target = Path(self.build_lib) / "nas_project"
            rmtree(target, ignore_errors=True)
            run_path(str(HERE / "nas/pipeline/template.py"))["copy"](HERE, target)


setup(cmdclass={"build_py": WithProject})
