"""The documentation's site builds without a warning, and asks no other machine for anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT

LOADED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"|<link\b(?![^>]*rel="(?:next|prev|canonical)")[^>]*\bhref="([^"]+)"'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="`make docs` installs it")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = ENVIRONMENT | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        text = (site / page.relative_to(ROOT / "docs").with_suffix(".html")).read_text(encoding="utf-8")
        loaded = [one or other for one, other in LOADED.findall(text)]
        assert len(loaded) > 4
        assert not [link for link in loaded if re.match(r"(\w+:)?//", link)], page
        assert 'class="mermaid"' not in text, page  # whose script would come from elsewhere
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import) *[\"']?(\w+:)?//", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
def test_what_pages_show_from_outside_the_folder_is_there(site: Path) -> None:
    assert (site / "checkout/studies/pibconv_claim/results/report.html").is_file()
    assert (site / "checkout/results/figures/accuracy.png").read_bytes() == (
        ROOT / "results/figures/accuracy.png"
    ).read_bytes()
