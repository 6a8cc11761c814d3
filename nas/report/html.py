"""The report as one HTML file that needs no other: style, scripts, pictures and charts inline."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

from markdown import Markdown
from markdown.extensions.toc import TocExtension, slugify_unicode
from markupsafe import Markup
from PIL import Image, ImageSequence

from nas.pipeline.errors import UserError
from nas.report.figures.style import COLOURS, DPI, tint
from nas.report.render import PAGES

# Where nas.report.revision puts what it says, and a link to it
REVISION, LINK = Markup("<!-- revision -->"), Markup("<!-- link to the revision -->")
CSS_DPI = 96
WEBP_LARGEST = 16383  # pixels of a side


def page(
    text: str,
    folders: Mapping[str, Path],
    *,
    title: str = "Report",
    charts: Mapping[str, Mapping] | None = None,
    parameters: str = "",
    checksum: str = "",
) -> str:
    """The Markdown `text` as a page with contents, anchors, tables that sort and scroll, in a light and a dark look.

    Parameters
    ----------
    folders : where the pictures lie whose paths begin with a name of theirs.
    charts : a Vega-Lite specification for each figure that is one on the page, by the name of its file.
    parameters : what stands in the box for params.yaml; "" for no box.
    checksum : of the results that the page is made from.
    """
    toc = TocExtension(
        toc_depth="2-3",
        slugify=slugify_unicode,
        permalink="#",
        permalink_class="anchor",
        permalink_title="Link to this section",
    )
    markdown = Markdown(extensions=["tables", toc])
    body = markdown.convert(text)
    shown = {name: chart for name, chart in (charts or {}).items() if f"figures/{name}.png" in text}
    body = re.sub(r"<p>((?:\s*<img [^>]*>)+)</p>", partial(_pictures, folders=folders, charts=shown), body)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    head, heading, rest = body.partition("<h2")
    scripts = {"script": PAGES.get_template("page.js").render(), "vega": vega() if shown else ""}
    values = {
        "title": title,
        "contents": [_entry(token) for token in markdown.toc_tokens],
        "head": Markup(head),
        "revision": REVISION,
        "link": LINK,
        "body": Markup(heading + rest),
        "parameters": parameters,
        "checksum": checksum,
        "charts": Markup(_data(shown)) if shown else "",
        "hashes": Markup(" ".join(_hash(script) for script in scripts.values() if script)),
        **{name: Markup(script) for name, script in scripts.items()},
    }
    return PAGES.get_template("page.html.j2").render(values) + "\n"


def _entry(token: Mapping) -> dict:
    """A line of the contents; its label is HTML already."""
    children = [_entry(child) for child in token["children"]]
    return {"id": token["id"], "label": Markup(token["name"]), "children": children}


def _pictures(match: re.Match, folders: Mapping[str, Path], charts: Mapping[str, Mapping]) -> str:
    """The pictures of a paragraph, each in a box of its own."""
    boxes = []
    for alt, source in re.findall(r'<img alt="([^"]*)" src="([^"]+)" />', match[1]):
        folder, name = source.split("/")
        path = folders[folder] / name
        still, moving, width = _encoded(path)
        chart = f' data-chart="{path.stem}"' if path.stem in charts else ""
        data = f' data-moving="{moving}"' if moving else ""
        image = f'<img alt="{alt}" src="{still}"{data} style="--own: {width}px">'
        boxes.append(f'<div class="picture"{chart}><div class="scroll">{image}</div></div>')
    return f'<div class="pictures">{"".join(boxes)}</div>'


def _encoded(path: Path) -> tuple[str, str, int]:
    """A picture as data, an animation too, and the width in CSS pixels at which it was drawn to be read.

    Of an animation the picture is the last frame. Lossless WebP has a third of a PNG's bytes, half of a GIF's.
    """
    try:
        with Image.open(path) as image:
            frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
            duration = image.info.get("duration", 0)
    except OSError as error:
        if error.strerror is None:
            raise UserError(f"{path}: is no picture ({error}); `dvc repro` makes it anew") from None
        raise UserError(f"{path}: {error.strerror}; `dvc repro` makes it anew") from None
    still, width = _image(frames[-1:]), round(frames[0].width * CSS_DPI / DPI)
    return still, _image(frames, duration=duration, loop=1) if len(frames) > 1 else "", width


def _image(frames: list[Image.Image], **timing: int) -> str:
    """Lossless; in PNG what is too large for WebP."""
    kind = "webp" if max(frames[0].size) <= WEBP_LARGEST else "png"
    written = io.BytesIO()
    lossless = {"lossless": True, "quality": 80, "method": 1} if kind == "webp" else {}  # of the effort
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(written, kind, **lossless, **more, **timing)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"


def _data(charts: Mapping[str, Mapping]) -> str:
    """JSON that may stand in a script element."""
    light = list(COLOURS[:10])
    colours = {"light": light, "dark": [tint(colour, 0.6) for colour in light]}
    return json.dumps({"charts": charts, "colours": colours}, ensure_ascii=False).replace("<", "\\u003c")


def _hash(script: str) -> str:
    """By which the page's policy knows a script: no other runs, whatever a name of the user's may say."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script; takes seconds, once a process."""
    from vl_convert import javascript_bundle

    return javascript_bundle("window.vegaEmbed = vegaEmbed")
