"""A genotype selected by perturbation, from the list in params.yaml to its line in the report."""

import json
import shutil
import sys
from collections.abc import Callable

import pytest
from conftest import TINY, Project
from test_pipeline import SUMMARIES, accuracies, hashes, kill_after_a_checkpoint

from nas.pipeline.records import Choice

Copy = Callable[[Project], Project]
KEY = "darts-darts-0"


@pytest.mark.slow
def test_a_selected_genotype_is_evaluated_and_shown_by_its_name(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(
        select={"searches": [KEY], "tune_epochs": 1},
        evaluate={"genotypes": [*TINY["evaluate"]["genotypes"], "darts_perturbed"]},
    )
    ran = project.repro()
    assert set(ran) == {"code", f"select@{KEY}", "evaluate@darts_perturbed-2-0", *SUMMARIES}
    selected = json.loads((project.folder / f"results/select/{KEY}/genotype.json").read_text())
    assert selected == json.loads((project.folder / "results/genotypes/darts_perturbed.json").read_text())
    choices = Choice.read(project.folder / f"results/select/{KEY}/choice.csv")
    chosen = choices[choices["chosen"] == 1]
    for cell in ("normal", "reduce"):
        rows = chosen[chosen["cell"] == cell].sort_values("edge")
        pairs = zip(rows["operation"], rows["edge"].str[0].astype(int), strict=True)
        assert [list(pair) for pair in pairs] == selected[cell]
    assert "none" not in set(choices["operation"]) and len(choices) == 2 * 2 * 7
    assert "| darts_perturbed | 2 | " in accuracies(project.folder)
    assert project.repro() == []
    project.run("dvc", "metrics", "show")
    assert "errors" not in json.loads(project.run("dvc", "plots", "show", "--json").stdout)
    project.set(select={"tune_epochs": 0})
    assert project.changed() == {f"select@{KEY}", "report"}  # which shows all parameters


@pytest.mark.slow
def test_a_selection_that_is_killed_twice_ends_in_the_same_bits(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.set(search={"nodes": 2}, select={"searches": [KEY], "tune_epochs": 2})
    project.run(sys.executable, "-m", "stages.search", "darts", "darts", "0")
    command = [sys.executable, "-m", "stages.select", KEY]
    results = project.folder / "results/select"
    project.run(*command)
    undisturbed = hashes(results)
    assert len(undisturbed) == 4 + 1  # .gitkeep
    shutil.rmtree(project.folder / "checkpoints" / f"select@{KEY}")
    shutil.rmtree(results / KEY)
    for _ in range(2):
        kill_after_a_checkpoint(project, "select", KEY, epochs=2)
    last = project.run(*command).stdout
    assert "resumed after epoch" in last and "epoch 1/6" not in last
    assert hashes(results) == undisturbed
    shutil.rmtree(project.folder / "checkpoints")  # as in a clone: the search is made again
    shutil.rmtree(results / KEY)
    project.run(*command)
    assert hashes(results) == undisturbed


def test_what_is_no_search_is_told_in_one_line(finished: Project, copy_of: Copy) -> None:
    done = copy_of(finished).run(sys.executable, "-m", "stages.select", "darts-0", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: select: search: darts-0 is not allowed: must be SPACE-ALGORITHM-SEED")
    assert done.stderr.count("\n") == 1
