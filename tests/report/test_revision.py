"""The report with its git revision: which commit, what is not committed, and what changed since another."""

import re
import shutil
import sys
from collections.abc import Callable

from conftest import Project

Copy = Callable[[Project], Project]
WRITE = "import sys; from nas.report.revision import write_with_revision as write; print(write(*sys.argv[1:]))"


def written(project: Project, *since: str) -> str:
    assert project.run(sys.executable, "-c", WRITE, *since).stdout == "report.html\n"
    return (project.folder / "report.html").read_text(encoding="utf-8")


def refused(project: Project, *since: str) -> str:
    program = f"import sys\nfrom nas.pipeline.errors import UserError\ntry: exec({WRITE!r})\n"
    done = project.run(
        sys.executable, "-c", f"{program}except UserError as mistake: sys.exit(str(mistake))", *since, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    return done.stderr.strip()


def cells(page: str) -> list[list[str]]:
    block = page.split('<section class="revision"')[1].split("</section>")[0]
    return [re.findall(r"<td>(.*?)</td>", line) for line in block.splitlines() if line.startswith("<tr><td>")]


def test_the_copy_names_the_commit_and_the_output_stays_as_it_was(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    output = (project.folder / "results/report.html").read_bytes()
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    page = written(project)
    assert f"<code>{commit[:12]}</code>" in page and "branch main: results" in page
    assert page.count('<a href="#revision">') == 2
    assert "has the same dvc.lock" in page and "not committed" not in page and cells(page) == []
    assert written(project) == page  # of the same commit the same bytes
    assert (project.folder / "results/report.html").read_bytes() == output
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_branch_tells_what_changed_since_main(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    project.run("git", "checkout", "-q", "-b", "a<b")
    project.set(slim={"penalties": [0.0, 1.0]})
    project.repro()
    page = written(project)
    assert "With changes that are not committed: dvc.lock, params.yaml" in page
    project.commit("other <penalty>")
    page = written(project)
    assert "not committed" not in page and "branch a&lt;b: other &lt;penalty&gt;" in page
    rows = {row[0]: row[1:] for row in cells(page)}
    assert rows["slim.penalties"] == ["[0.0, 0.01]", "[0.0, 1.0]", "–"]
    old, new, difference = rows["slimmed.vgg16_cifar-1.0.params"]
    assert old == "–" and int(new) > 0 and difference == "–"
    assert not any(name.startswith("networks") for name in rows)
    main = project.run("git", "rev-parse", "main").stdout.strip()
    assert f"<code>{main[:12]}</code>" in page


def test_what_cannot_be_told_ends_in_one_line(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    assert refused(project, "nowhere").startswith("nowhere: git knows no such revision")
    assert refused(project, "--output=x").startswith("--output=x: git knows no such revision")
    page = project.folder / "results/report.html"
    page.write_text(page.read_text() + "\n")
    assert refused(project).startswith("results/report.html: is not what dvc.lock says that report left")
    page.unlink()
    assert "`dvc repro`" in refused(project)
    (project.folder / "dvc.lock").unlink()
    assert refused(project).startswith("dvc.lock: is not there")


def test_without_git_it_ends_in_one_line(finished: Project, copy_of: Copy) -> None:
    project = copy_of(finished)
    shutil.rmtree(project.folder / ".git")
    assert "git knows no such revision" in refused(project)
