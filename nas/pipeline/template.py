"""What of a checkout a project begins with. Imports nothing of ours: a build of the package reads it too."""

import shutil
from pathlib import Path

FILES = (
    "dvc.yaml",
    ".gitignore",
    ".dvcignore",
    ".dvc/config",
    ".dvc/plots/dots.json",
    ".dvc/plots/overlay.json",
    ".dvc/plots/page.html",
    "data/raw/.gitignore",
    "genotypes/README.md",
    "results/evaluate/.gitkeep",  # what the report depends on is there before anything has run
    "results/export/.gitkeep",
    "results/gradcam/.gitkeep",
    "results/search/.gitkeep",
    "results/select/.gitkeep",
    "results/slim/.gitkeep",
    "results/truth/.gitkeep",
    "tables/README.md",
)
FOLDERS = ("presets", "stages")


def copy(source: Path, target: Path) -> None:
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    for name in FOLDERS:
        shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
