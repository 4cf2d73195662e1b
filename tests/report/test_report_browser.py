"""The page in a browser: it works, by pointer and by keyboard, wide and narrow, light and dark, and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastface
from timelines import HOSTILE, make_timeline

pytestmark = pytest.mark.browser

DURATION = 5.0

IN_SIGHT = """(() => {
    const [scroll, canvas] = ["#scroll", "#canvas"].map((id) => document.querySelector(id));
    return [scroll.scrollLeft / canvas.clientWidth, (scroll.scrollLeft + scroll.clientWidth) / canvas.clientWidth];
})()"""
"""From where to where of the whole."""


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Callable[..., Any]]:
    """opened(width=..., **settings of the context): the page; what it complains of or asks for fails the test."""
    contexts, wrong = [], []

    def open_page(width: int = 1200, height: int = 900, file: Path = page_file, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def value(page: Any) -> float:
    return float(page.get_attribute("#scroll", "aria-valuenow"))


def zoom(page: Any) -> float:
    return float(page.inner_text("#zoom").rstrip("×"))


def wait_for_zoom(page: Any, shown: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#zoom")).to_have_text(shown)


def point(page: Any, seconds: float) -> None:
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * seconds / DURATION, box["y"] + 60)


def test_the_hostile_names_are_text(opened) -> None:
    page = opened()
    assert page.title() == "<b>film<b>.mp4"
    shown = page.locator(".card h3").all_inner_texts()
    assert [" ".join(s.replace("\x07", "").split()) for s in shown] == [
        " ".join(name.replace("\x07", "").split()) for name in HOSTILE
    ]
    assert page.locator(".card img, .card script, .warnings script").count() == 0
    point(page, 3.0)
    assert page.locator("#who *").count() == 0
    assert page.evaluate("document.querySelector('#who').textContent") == ", ".join(HOSTILE[:2])
    assert page.title() == "<b>film<b>.mp4"


def test_pointing_shows_the_frame_and_who_is_there(opened) -> None:
    page = opened()
    page.locator("#scroll").scroll_into_view_if_needed()
    assert page.locator("#preview").is_hidden()
    for seconds, people, ground in ((1.0, HOSTILE[:1], 120), (3.0, HOSTILE[:2], 30), (4.5, ("nobody",), 240)):
        point(page, seconds)
        assert page.locator("#preview").is_visible()
        assert page.inner_text("#when") == f"0:0{seconds:.1f}"
        assert page.evaluate("document.querySelector('#who').textContent") == ", ".join(people)
        assert float(page.get_attribute("#frame", "data-time")) == pytest.approx(seconds, abs=0.15)
        corner = page.evaluate("""async () => {
            const image = document.querySelector("#frame");
            await image.decode();
            const canvas = document.createElement("canvas");
            const pen = canvas.getContext("2d");
            pen.drawImage(image, 0, 0);
            return pen.getImageData(2, 110, 1, 1).data[0];
        }""")
        assert abs(corner - ground) < 12
    page.mouse.move(2, 2)
    assert page.locator("#preview").is_hidden()


def test_keyboard_alone(opened) -> None:
    page = opened()
    stops = []
    for _ in range(20):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if stops[-1] == "scroll":
            break
    assert stops == ["SUMMARY"] * 3 + ["in", "all", "scroll"], "out of use: zooming out of the whole"
    slider = page.get_by_role("slider", name="Time in the video")
    assert slider.evaluate("e => e === document.activeElement")
    assert page.locator("#preview").is_visible(), "focus shows the frame as well"
    page.keyboard.press("ArrowRight")
    assert value(page) == pytest.approx(DURATION / 50)
    page.keyboard.press("Shift+ArrowRight")
    assert value(page) == pytest.approx(DURATION / 50 * 1.1)
    page.keyboard.press("PageDown")
    assert value(page) == 2.0
    assert page.get_attribute("#scroll", "aria-valuetext") == "0:02.0, " + ", ".join(HOSTILE[:2])
    page.keyboard.press("PageDown")
    assert value(page) == 4.0
    assert page.get_attribute("#scroll", "aria-valuetext") == "0:04.0, nobody"
    page.keyboard.press("PageUp")
    assert value(page) == 2.0
    for key, want in (("End", DURATION), ("Home", 0.0), ("ArrowLeft", 0.0)):
        page.keyboard.press(key)
        assert value(page) == want
    page.keyboard.press("Escape")
    assert page.locator("#preview").is_hidden()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert zoom(page) == pytest.approx(2.25, abs=0.06)
    page.keyboard.press("End")
    assert page.evaluate(IN_SIGHT)[1] == pytest.approx(1, abs=0.002)
    page.keyboard.press("-")
    assert zoom(page) == 1.5
    page.keyboard.press("0")
    assert zoom(page) == 1
    page.keyboard.press("Tab")
    assert page.locator("#preview").is_hidden()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Table of seconds"


def test_buttons_zoom_around_the_middle(opened) -> None:
    page = opened()
    assert page.get_by_role("button", name="Zoom out").is_disabled()
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    assert zoom(page) == pytest.approx(3.4)
    assert sum(page.evaluate(IN_SIGHT)) == pytest.approx(1, abs=0.01)
    labels = page.locator("#ruler span").all_inner_texts()
    assert all(re.fullmatch(r"0:0\d\.\d|", label) for label in labels)
    assert len(labels) > 3
    for _ in range(20):
        if page.get_by_role("button", name="Zoom in").is_enabled():
            page.get_by_role("button", name="Zoom in").click()
    assert zoom(page) == 10, "half a second in sight"
    page.get_by_role("button", name="Zoom out").click()
    assert zoom(page) < 10
    page.get_by_role("button", name="All").click()
    assert zoom(page) == 1


def test_the_wheel_is_the_pages_until_a_click(opened) -> None:
    page = opened(height=400)
    page.locator("#scroll").scroll_into_view_if_needed()
    point(page, 4.0)
    before = page.evaluate("scrollY")
    assert before > 0
    page.mouse.wheel(0, -60)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") < before
    assert zoom(page) == 1
    page.locator("#scroll").scroll_into_view_if_needed()
    point(page, 4.0)
    page.mouse.down()
    page.mouse.up()
    before, time = page.evaluate("scrollY"), value(page)
    page.mouse.wheel(0, -100)
    wait_for_zoom(page, "1.4×")
    page.mouse.wheel(0, -100)
    wait_for_zoom(page, "1.9×")
    assert page.evaluate("scrollY") == before
    assert value(page) == pytest.approx(time, abs=0.02), "what is under the pointer stays there"


def test_the_wheel_with_ctrl(opened) -> None:
    page = opened()
    page.locator("#scroll").scroll_into_view_if_needed()
    point(page, 4.0)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    wait_for_zoom(page, "1.4×")


@pytest.mark.parametrize("width", [320, 360, 768])
def test_narrow_screens_need_no_sideways_scrolling(opened, width: int) -> None:
    page = opened(width, 740, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("#scroll").scroll_into_view_if_needed()
    box = page.locator("#scroll").bounding_box()
    assert box["width"] > 0.5 * width
    page.touchscreen.tap(box["x"] + box["width"] * 0.6, box["y"] + 60)
    assert value(page) == pytest.approx(3.0, abs=0.1)
    assert page.locator("#preview").is_visible(), "until one taps elsewhere"
    for name in ("in", "out", "all"):
        size = page.locator(f"#{name}").bounding_box()
        assert size["width"] >= 36
        assert size["height"] >= 36
    for key in ("Home", "End"):
        page.locator("#scroll").press(key)
        preview = page.locator("#preview").bounding_box()
        assert preview["x"] >= 0
        assert preview["x"] + preview["width"] <= width


def test_a_crowd_on_a_narrow_screen(opened, drawn, tmp_path: Path) -> None:
    """Twenty people of long names: what is wide scrolls by itself, and by keyboard."""
    video, _ = drawn
    spans = [[(i, i + 40), (60 + i // 2, 90)] for i in range(20)]
    names = [f"Somebody of the rather long name {i}" if i % 2 else "Unbreakable" * 9 + str(i) for i in range(20)]
    times = [i / 20 for i in range(101)]
    crowd = make_timeline(list(zip(names, spans, strict=True)), times=times, size=(320, 240), rate=20)
    fastface.report(video, crowd, tmp_path / "crowd.html")
    page = opened(360, 740, file=tmp_path / "crowd.html")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    table = page.get_by_role("region", name="Table of seconds")
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    table.press("ArrowRight")
    page.wait_for_timeout(300)
    assert table.evaluate("e => e.scrollLeft") > 0


def test_light_and_dark(opened) -> None:
    def colours(scheme: str) -> tuple[float, float]:
        page = opened(color_scheme=scheme)
        paper, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        return tuple(sum(map(int, re.findall(r"\d+", c)[:3])) / 3 for c in (paper, ink))

    paper, ink = colours("light")
    assert paper > 240
    assert ink < 50
    paper, ink = colours("dark")
    assert paper < 50
    assert ink > 200


def test_what_assistive_technology_is_told(opened) -> None:
    page = opened()
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("heading", level=2).all_inner_texts() == [
        "People", "Timeline", "Who appears with whom", "How it was found"]  # fmt: skip
    assert page.get_by_role("group", name="Zoom").count() == 1
    assert page.get_by_role("columnheader").count() == page.get_by_role("rowheader").count() == 3
    slider = page.get_by_role("slider")
    assert slider.get_attribute("aria-valuemax") == "5.000000"
    assert page.evaluate("document.querySelector('#keys').textContent").startswith("Point at the timeline")
    assert slider.get_attribute("aria-describedby") == "keys"
    assert page.evaluate("[...document.images].every(i => i.hasAttribute('alt'))")
    page.locator("summary").first.press("Enter")
    assert page.locator(".card ol").first.inner_text() == "0:00.0 – 0:04.0"


def test_without_javascript_the_rest_is_there(opened) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator(".lane i").count() == 2
    assert page.locator(".lane i").first.bounding_box()["width"] > 500
