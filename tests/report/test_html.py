"""The Markdown as a page: what of it is markup, what a picture becomes, and which scripts may run."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from nas.pipeline.errors import UserError
from nas.report.html import page

EVIL = "</script><script>alert(1)</script> [x] *y* &amp; \\ `z`"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frames = [np.random.default_rng(i).integers(256, size=(20, 30, 3), dtype=np.uint8) for i in range(3)]
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(tmp_path / "a.png")
    pictures[0].save(tmp_path / "b.gif", save_all=True, append_images=pictures[1:], duration=[100, 200, 300])
    return tmp_path


def decoded(uri: str, expected: str = "webp") -> Image.Image:
    kind, data = uri.split(";base64,")
    assert kind == f"data:image/{expected}"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_is_embedded_without_loss_at_the_width_it_was_drawn_for(folder: Path) -> None:
    html = page("![what it shows](figures/a.png)", {"figures": folder})
    alt, source, width = re.search(r'<img alt="([^"]+)" src="([^"]+)" style="--own: (\d+)px">', html).groups()
    assert (alt, width) == ("what it shows", "19")  # 30 pixels of 150 an inch, where a page has 96
    assert np.array_equal(np.asarray(decoded(source).convert("RGB")), np.asarray(Image.open(folder / "a.png")))


def test_a_picture_that_webp_has_no_room_for_is_embedded_as_png(folder: Path) -> None:
    Image.new("L", (4, 16384), 7).save(folder / "tall.png")
    (source,) = re.findall(r'src="([^"]+)"', page("![a row for each network](figures/tall.png)", {"figures": folder}))
    assert np.array_equal(np.asarray(decoded(source, "png").convert("L")), np.full((16384, 4), 7))


def test_an_animation_is_its_last_frame_until_it_plays(folder: Path) -> None:
    html = page("![what moves](figures/b.gif)", {"figures": folder})
    still, moving = re.search(r'src="([^"]+)" data-moving="([^"]+)"', html).groups()
    with Image.open(folder / "b.gif") as gif:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
    assert np.array_equal(np.asarray(decoded(still).convert("RGB")), frames[-1])
    with decoded(moving) as played:
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(played)]
        assert played.info["loop"] == 1
    assert len(shown) == 3 and all(map(np.array_equal, shown, frames))


def test_a_picture_that_is_none_is_named(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a.png: is no picture \(.*\); `dvc repro` makes it anew"):
        page("![a](figures/a.png)", {"figures": folder})
    with pytest.raises(UserError, match="c.png: No such file or directory; `dvc repro` makes it anew"):
        page("![c](figures/c.png)", {"figures": folder})


def test_what_a_user_named_is_text_wherever_it_stands(folder: Path) -> None:
    chart = {"data": {"values": [{"genotype": EVIL}]}}
    html = page("# R\n\n![a](figures/a.png)", {"figures": folder}, title=EVIL, charts={"a": chart}, parameters=EVIL)
    escaped = EVIL.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<title>{escaped}</title>" in html and f'<pre tabindex="0">{escaped}</pre>' in html
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html)[1]
    assert json.loads(data)["charts"] == {"a": chart}
    assert html.count("alert(1)") == 3 and "<script>alert" not in html


def test_the_policy_names_the_scripts_by_their_hashes_and_vega_is_there_for_charts_alone(folder: Path) -> None:
    text = "![a](figures/a.png)"
    for charts, count in (({}, 1), ({"a": {}}, 2), ({"of a figure that is not there": {}}, 1)):
        html = page(text, {"figures": folder}, charts=charts)
        scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
        allowed = re.search(r"script-src ([^;]+);", policy)[1].split()
        assert len(scripts) == count and sorted(allowed) == sorted(f"'sha256-{digest}'" for digest in hashes)
        assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_same_page_twice_is_the_same_bytes(folder: Path) -> None:
    text = "# R\n\n## One\n\n![a](figures/a.png) ![b](figures/b.gif)\n\n## One\n"
    first, second = (page(text, {"figures": folder}, charts={"a": {}}) for _ in range(2))
    assert first == second
    assert re.findall(r'<h2 id="([^"]+)"', first) == ["one", "one_1"]
