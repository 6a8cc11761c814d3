"""For the site: what pages link to outside docs/ comes along, so that a link holds in the checkout and on the site.

Pictures and kept reports become files of the site, below checkout/. A folder or a source file, which the site does not
show, is named without a link.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS, OUTSIDE = "docs", "checkout"
SHOWN = (".md", ".png", ".gif")
LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def in_checkout(uri: str) -> str:
    """Where the checkout has a file of the site."""
    return uri.removeprefix(f"{OUTSIDE}/") if uri.startswith(f"{OUTSIDE}/") else f"{DOCS}/{uri}"


def site_uri(path: str) -> str | None:
    """Where the site has a file or folder of the checkout; None if it does not show it."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{OUTSIDE}/{path}" if path.endswith(SHOWN) and (ROOT / path).is_file() else None


def target(uri: str, link: str) -> str:
    """What in the checkout a link of the page `uri` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(in_checkout(uri)), link))


def linked(uri: str) -> Iterator[str]:
    """What outside docs/ the page `uri` links to and the site shows, as files of the site."""
    text = (ROOT / in_checkout(uri)).read_text(encoding="utf-8")
    for _, _, link, _ in LINK.findall(text):
        found = site_uri(target(uri, link))
        if found and found.startswith(OUTSIDE):
            yield found


def on_files(files: Files, config: MkDocsConfig) -> None:
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        for uri in linked(waiting.pop()):
            if not files.get_file_from_path(uri):
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / in_checkout(uri))))
                waiting += [uri] if uri.endswith(".md") else []


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    uri = page.file.src_uri
    if uri.startswith(OUTSIDE):
        page.meta["search"] = {"exclude": True}  # tables of numbers

    def led(match: re.Match) -> str:
        picture, text, link, anchor = match.groups(default="")
        found = site_uri(target(uri, link))
        if not found:
            return text
        return f"{picture}[{text}]({posixpath.relpath(found, posixpath.dirname(uri) or '.')}{anchor})"

    return LINK.sub(led, markdown)
