"""A project of one's own: what the pipeline needs besides the library, copied into a new folder.

The library stays where it is installed. So the stage `code`, which cannot depend on a folder outside the project, runs
with every `dvc repro` (half a second), and what its fingerprints say decides what else runs.
"""

import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from nas.pipeline.errors import UserError
from nas.pipeline.files import whole_folder, write_text
from nas.pipeline.params import preset
from nas.pipeline.template import copy
from nas.pipeline.version import VERSION

CHECKOUT = Path(__file__).parents[2]
INSTALLED = CHECKOUT / "nas_project"  # where a wheel has it: see setup.py
VEGA = Path(".dvc/plots/vega.js")
IN_CHECKOUT = "    deps: [genotypes, nas, stages, tables]\n"
ELSEWHERE = (
    "    deps: [genotypes, stages, tables]\n    always_changed: true # it looks at the library, wherever that is\n"
)


README = """# A project of neural architecture search

Made by `nas new` of nas-studies {version}.

    pip install -r requirements.txt    # the library, as it was when this project began
    nas check                          # params.yaml: what is in it, and whether that is allowed
    dvc repro                          # what a change of it touches runs, and nothing else
    nas preset NAME                    # the parameters of a study, from presets/

The report lies in results/report.html.
"""


def create(folder: Path, name: str = "default") -> None:
    """Make `folder` a project with the parameters of the preset `name`, in a git and a DVC repository.

    Raises
    ------
    UserError
        If the folder holds something, there is no such preset, or git is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; name a new folder")
    if not shutil.which("git"):
        raise UserError("git is not installed; a project is a git repository")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as made:
        _run(made, "git", "init", "--quiet", "--initial-branch=main")
        _run(made, sys.executable, "-m", "dvc", "init", "--quiet")
        copy(INSTALLED if INSTALLED.is_dir() else CHECKOUT, made)
        _look_at_the_library(made / "dvc.yaml")
        write_vega(made / VEGA)
        write_text(made / "README.md", README.format(version=VERSION))
        write_text(made / "requirements.txt", f"nas-studies[pipeline]=={VERSION}\n")
        with chdir(made):
            preset(name)
        _run(made, "git", "add", "--all")


def write_vega(path: Path = VEGA) -> None:
    """Vega in one script, for pages of `dvc plots` that need no network."""
    from vl_convert import javascript_bundle

    write_text(path, javascript_bundle("window.vegaEmbed = vegaEmbed", vl_version="5.20"))


def _look_at_the_library(pipeline: Path) -> None:
    """Let the stage `code` run always, in the place of a dependency on sources that are not in the project."""
    text = pipeline.read_text(encoding="utf-8")
    if text.count(IN_CHECKOUT) != 1:
        raise UserError(f"{pipeline.name}: its stage code must have the line {IN_CHECKOUT.strip()!r}")
    write_text(pipeline, text.replace(IN_CHECKOUT, ELSEWHERE))


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(command)}: {' '.join(done.stderr.split())}")
