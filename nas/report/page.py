"""A Markdown text as one HTML file that needs no other."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from markdown import markdown

from nas.pipeline.errors import UserError

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
img { max-width: 100%; height: auto; display: block; margin: 1rem auto; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { background: #f6f6f6; text-align: left; vertical-align: bottom; white-space: normal; }
tr:hover td { background: #fafafa; }
td em { color: #777; font-style: normal; }
@media (min-width: 50rem) { p img:not(:only-child) { display: inline-block; width: 49%; } }
"""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def page(text: str, folders: Mapping[str, Path]) -> str:
    """The Markdown as one HTML file: style inline, pictures as data, tables that scroll sideways on a phone.

    `folders` tells where the pictures lie whose paths begin with a name of theirs.
    """

    def embedded(match: re.Match) -> str:
        folder, name = match[1].split("/")
        # An animation that has been shown to its end begins anew when its source is set.
        again = ' title="click to play again" onclick="this.src = this.src"' if name.endswith(".gif") else ""
        return f'src="{_data_uri(folders[folder] / name)}"{again}'

    body = markdown(text, extensions=["tables"])
    body = re.sub(r'src="([^"]+)"', embedded, body)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Report</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _data_uri(path: Path) -> str:
    try:
        return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `dvc repro` makes it anew") from None
