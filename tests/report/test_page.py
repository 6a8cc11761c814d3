"""The default report in a real headless Chromium, at the width of a desk and of a phone, light and dark."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from conftest import ROOT

from nas.pipeline.params import load
from nas.report.page import write
from stages.report import contents

DESK, PHONE = 1280, 390
LARGEST = 3_000_000  # bytes
NEWS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
PREPARED = {
    "name": "digits",
    "classes": [str(i) for i in range(10)],
    "shape": [1, 8, 8],
    "train": 1437,
    "test": 360,
    "train_per_class": [143] * 10,
    "test_per_class": [36] * 10,
    "passed_over": {},
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the results in this checkout."""
    results = tmp_path_factory.mktemp("page") / "results"
    shutil.copytree(ROOT / "results", results, ignore=shutil.ignore_patterns("figures", "code", "*.html"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        params = load()
    p = params.evaluate
    networks = [(genotype, layers, p.seeds) for genotype in p.genotypes for layers in p.layers]
    write(results, contents(params, networks, PREPARED))
    return results / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.slow
def test_the_page_is_small_enough_to_send(page: Path) -> None:
    assert page.stat().st_size < LARGEST


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_the_page_fits_the_window_complains_of_nothing_and_asks_nobody(page, browser, width, dark) -> None:
    browser.open(page, width=width, dark=dark)
    browser.evaluate("scrollTo(0, 3000)")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate("innerWidth") == width
    assert [event["params"] for event in browser.events if event["method"] in NEWS] == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:image/")] == [page.as_uri()]
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")
    # The contents stay in view: beside the text on a desk, a closed box above it on a phone.
    tops = "[...document.querySelectorAll('.contents')].map((e) => e.checkVisibility() && e.getBoundingClientRect().y)"
    assert browser.evaluate(tops) == ([False, 0] if width == DESK else [0, False])
    assert not browser.evaluate("document.querySelector('details.contents').open")


def test_pictures_are_told_in_words_and_shown_large_enough_to_read(page, browser) -> None:
    for width in (DESK, PHONE):
        browser.open(page, width=width)
        shown = browser.evaluate(
            "[...document.images].map((i) => [i.alt, i.naturalWidth, i.width, i.checkVisibility(), i.complete])"
        )
        assert len(shown) > 25
        for alt, pixels, size, visible, complete in shown:
            assert len(alt) > 10 and complete
            # Drawn with letters of 9 points and more at 150 dots an inch: a third of that would be 6 pixels high.
            assert not visible or size >= 0.45 * pixels, alt


def test_every_heading_has_an_anchor_and_a_place_in_the_contents(page, browser) -> None:
    browser.open(page, width=DESK)
    headings = browser.evaluate("[...document.querySelectorAll('main :is(h2, h3)')].map((h) => h.id)")
    assert len(set(headings)) == len(headings) > 15
    anchors = browser.evaluate("[...document.querySelectorAll('.anchor')].map((a) => decodeURIComponent(a.hash))")
    assert anchors[1:] == [f"#{name}" for name in headings]  # the first is the title's
    for box in ("nav.contents", "details.contents"):
        links = browser.evaluate(
            f"[...document.querySelectorAll('{box} a')].map((a) => decodeURIComponent(a.hash).slice(1))"
        )
        assert links == headings


def test_tables_scroll_in_their_box_and_sort_by_the_keyboard(page, browser) -> None:
    browser.open(page, width=PHONE)
    boxes = browser.evaluate(
        "[...document.querySelectorAll('table')].map((t) => [t.parentElement.clientWidth, t.parentElement.tabIndex,"
        " t.offsetWidth])"
    )
    assert any(wide > box for box, _, wide in boxes)
    assert all(box <= PHONE and tab == (0 if wide > box else -1) for box, tab, wide in boxes)

    browser.open(page, width=DESK)
    dash = "[...t.tBodies[0].rows].some((row) => row.cells[4]?.textContent === '–')"
    lacking = f"[...document.querySelectorAll('table')].findIndex((t) => {dash})"
    for table, column in ((0, 2), (0, 5), (browser.evaluate(lacking), 4)):
        where = f"document.querySelectorAll('table')[{table}]"
        cells = f"[...{where}.tBodies[0].rows].map((row) => row.cells[{column}].textContent)"
        header = f"{where}.tHead.rows[0].cells[{column}]"
        given = browser.evaluate(cells)
        known = sorted((cell for cell in given if cell != "–"), key=lambda cell: float(cell.split(" ")[0]))
        unknown = ["–"] * given.count("–")  # stay at the end
        assert len(known) > 3 and known != given and bool(unknown) is (table > 0)
        browser.evaluate(f"{header}.querySelector('button').focus()")
        orders = (("ascending", known + unknown), ("descending", known[::-1] + unknown), (None, given))
        for expected, order in orders:
            browser.press("Enter", 13)
            assert browser.evaluate(f"{header}.getAttribute('aria-sort')") == expected
            assert browser.evaluate(cells) == order


ANIMATIONS = "[...document.querySelectorAll('img[data-moving]')]"
PLAYING = f"{ANIMATIONS}.map((i) => i.src.split('#')[0] === i.dataset.moving)"


def test_an_animation_plays_when_it_is_seen_and_again_by_its_button(page, browser) -> None:
    browser.open(page, width=DESK)
    assert len(browser.evaluate(PLAYING)) >= 4 and not any(browser.evaluate(PLAYING))
    browser.evaluate(f"{ANIMATIONS}[0].scrollIntoView({{block: 'center', behavior: 'instant'}})")
    wait_for(browser, f"{PLAYING}[0]")
    assert not browser.evaluate(f"{PLAYING}.at(-1)")
    source = browser.evaluate(f"{ANIMATIONS}[0].src")
    browser.evaluate(f"{ANIMATIONS}[0].closest('.picture').querySelector('button').focus()")
    browser.press("Enter", 13)
    assert browser.evaluate(f"{ANIMATIONS}[0].src") != source and browser.evaluate(f"{PLAYING}[0]")


def test_nothing_moves_by_itself_where_less_motion_is_asked_for(page, browser) -> None:
    browser.open(page, width=DESK, still=True)
    browser.evaluate(f"{ANIMATIONS}[0].scrollIntoView({{block: 'center', behavior: 'instant'}})")
    time.sleep(0.3)
    assert not any(browser.evaluate(PLAYING))
    browser.evaluate(f"{ANIMATIONS}[0].closest('.picture').querySelector('button').click()")
    assert browser.evaluate(f"{PLAYING}[0]")


def test_charts_answer_to_the_mouse(page, browser) -> None:
    browser.open(page, width=DESK)
    names = browser.evaluate("[...document.querySelectorAll('[data-chart]')].map((p) => p.dataset.chart)")
    assert names == ["accuracy", "training", "search"]
    for name in names:
        marks = f"[...document.querySelectorAll('[data-chart={name}] .mark-symbol.role-mark path')]"
        assert len(browser.evaluate(f"{marks}.map(() => 0)")) >= 10
        browser.evaluate(f"{marks}[0].scrollIntoView({{block: 'center', behavior: 'instant'}})")
        place = browser.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({marks}[0].getBoundingClientRect())"
        )
        for _ in range(2):  # the first move tells a curve what is near, the second what to tell of it
            browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
        wait_for(browser, "document.querySelector('#vg-tooltip-element.visible')?.textContent ?? ''")
        told = browser.evaluate("document.querySelector('#vg-tooltip-element').textContent")
        assert "DARTS_V2" in told or name == "search" and "darts" in told


def test_no_script_but_its_own_runs_and_nothing_can_be_asked_for(page, browser) -> None:
    browser.open(page, width=DESK)
    browser.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert browser.evaluate("window.ran === undefined")
    assert browser.evaluate("fetch('data:text/plain,a').then(() => false, () => true)")
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<b tabindex=0 onfocus=\"window.ran = 2\">x</b>')")
    browser.evaluate("document.querySelector('b').focus()")
    assert browser.evaluate("document.activeElement.tagName === 'B' && window.ran === undefined")


def wait_for(browser: Browser, expression: str) -> None:
    until = time.monotonic() + 10
    while not browser.evaluate(expression):
        assert time.monotonic() < until, expression
        time.sleep(0.05)
