"""The dashboard for everybody: by keyboard, on narrow screens, light and dark, and what screen readers are told; with
the people of a real job, their clips and galleries."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from asking import wait_for
from browsing import Tabs, expect

if TYPE_CHECKING:
    from fastface.demo.scene import Photo

pytestmark = pytest.mark.browser

CONTRAST = """(selectors) => {
    const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
    const light = (c) => rgb(c).slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (e) => {
        const c = getComputedStyle(e).backgroundColor;
        return rgb(c)[3] === 0 ? (e.parentElement ? ground(e.parentElement) : "rgb(255, 255, 255)") : c;
    };
    const shown = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility());
    return selectors.flatMap((selector) => shown(selector).map((e) => {
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
        return [selector, (a + 0.05) / (b + 0.05)];
    }));
}"""
"""Of each element that is shown: what selected it, and the contrast of its text (WCAG 2)."""

NAMELESS = """[...document.querySelectorAll("button, a, input, select, [role=slider], [role=progressbar], img")]
    .filter((e) => e.checkVisibility({visibilityProperty: true}))
    .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.matches("img[alt]")))
    .map((e) => e.outerHTML)"""
"""What can be used or seen, and has no name."""

SMALL = """[...document.querySelectorAll("button, select, .button, input:not([type=range], .hidden, [type=radio])")]
    .filter((e) => e.checkVisibility()).map((e) => [e.outerHTML.slice(0, 120), e.getBoundingClientRect()])
    .filter(([, box]) => box.height < 36 || box.width < 36).map(([what]) => what)"""
"""What is too small for a finger."""


def opened(tabs: Tabs, url: str, film_job: dict[str, Any], **more: Any) -> Any:
    """The page of the film, with its people."""
    page = tabs.open(f"{url}/#/jobs/{film_job['id']}", **more)
    expect(page.locator(".lane").first).to_be_visible()
    return page


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()")


class TestKeyboard:
    def test_the_first_page(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = tabs.open(url)
        expect(page.locator(f"[data-job='{film_job['id']}']")).to_be_visible()
        page.keyboard.press("Tab")
        assert focused(page) == "To the content"
        assert page.locator("#skip").bounding_box()["y"] >= 0, "it is seen while it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        assert page.url.rstrip("/#") == url
        stops = []
        for _ in range(60):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
            if focused(page) == "film.mp4":
                break
        assert [s for s in stops if s in ("files", "state")] == ["files", "state"]
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("film.mp4")
        assert page.evaluate("document.activeElement.id") == "main", "the reader goes on in the new page"

    def test_focus_outlasts_what_is_new(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = tabs.open(url)
        row = page.locator(f"[data-job='{film_job['id']}']")
        row.get_by_role("button").focus()
        for _ in range(2):  # when the second list comes, the first was shown
            page.wait_for_event("response", lambda r: "/v1/jobs?" in r.url)
        assert focused(page) == "Remove film.mp4"

    def test_the_timeline(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = opened(tabs, url, film_job)
        people = httpx.get(f"{url}{film_job['people']}").json()
        duration = people["duration"]
        changes = sorted({0.0, duration, *(t for p in people["people"] for span in p["spans"] for t in span)})
        slider = page.get_by_role("slider", name="Time in the video")
        assert float(slider.get_attribute("aria-valuemax")) == pytest.approx(duration, abs=1e-3)
        slider.focus()

        def value() -> float:
            return float(slider.get_attribute("aria-valuenow"))

        for want in changes[1:4]:
            page.keyboard.press("PageDown")
            assert value() == pytest.approx(want, abs=1e-3)
        page.keyboard.press("PageUp")
        assert value() == pytest.approx(changes[2], abs=1e-3)
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        assert value() == pytest.approx(duration / 50, abs=1e-3)
        here = [p for p in people["people"] if any(a <= duration / 50 < b for a, b in p["spans"])]
        told = slider.get_attribute("aria-valuetext")
        assert told.startswith("0:00.1, ")
        assert told.count("person") == len(here) > 0
        assert page.locator(".tip").is_visible()
        page.keyboard.press("End")
        assert value() == pytest.approx(duration, abs=1e-3)
        page.keyboard.press("+")
        page.keyboard.press("+")
        wide, seen = (page.locator(what).evaluate("e => e.clientWidth") for what in (".canvas", ".scroll"))
        assert wide / seen == pytest.approx(2.25, abs=0.01)
        assert page.locator(".scroll").evaluate("e => e.scrollLeft + e.clientWidth >= e.scrollWidth - 1")
        page.keyboard.press("0")
        assert page.get_by_role("button", name="Zoom out", exact=True).is_disabled()
        page.keyboard.press("Escape")
        assert page.locator(".tip").is_hidden()

    def test_the_pointer_says_who_and_when(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = opened(tabs, url, film_job)
        first = httpx.get(f"{url}{film_job['people']}").json()["people"][0]
        span = page.locator(f".lane[data-person='{first['id']}'] i").first
        span.hover()
        start, end = first["spans"][0]
        told = f"person {first['id'] + 1}: 0:0{start:.1f} – 0:0{end:.1f}"
        expect(page.locator(".tip span")).to_have_text(re.compile(re.escape(told)))
        page.mouse.move(2, 2)
        assert page.locator(".tip").is_hidden()


class TestScreens:
    @pytest.mark.parametrize("width", [320, 360, 768])
    def test_narrow(self, url: str, tabs: Tabs, film_job: dict[str, Any], width: int) -> None:
        page = opened(tabs, url, film_job, width=width, height=740, has_touch=True, is_mobile=True)
        for where, ready in (("", ".chart"), (f"jobs/{film_job['id']}", ".person"), ("galleries", ".galleries")):
            page.goto(f"{url}/#/{where}")
            expect(page.locator(ready).first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") == width, where
            assert page.evaluate(SMALL) == [], where
        page.goto(f"{url}/#/jobs/{film_job['id']}")
        scroll = page.locator(".scroll")
        scroll.scroll_into_view_if_needed()
        box = scroll.bounding_box()
        assert box["width"] > 0.5 * width
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 50)
        expect(page.locator(".tip")).to_be_visible()
        tip = page.locator(".tip").bounding_box()
        assert tip["x"] >= 0
        assert tip["x"] + tip["width"] <= width

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, url: str, tabs: Tabs, film_job: dict[str, Any], scheme: str) -> None:
        page = opened(tabs, url, film_job, color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 600) == (scheme == "light")
        told = page.evaluate(CONTRAST, ["p", "h1", "h2", "button", ".pill", ".soft", "bdi", "label", "select", "a"])
        assert len(told) > 20
        page.goto(f"{url}/#/")
        expect(page.locator(".job").first).to_be_visible()
        expect(page.locator(".chart").first).to_be_visible()
        told += page.evaluate(CONTRAST, ["p", "h2", "h3", ".pill", ".soft", ".doing", ".figure", ".legend li"])
        poor = [(what, round(ratio, 2)) for what, ratio in told if ratio < 4.5]
        assert not poor

    def test_what_screen_readers_are_told(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = opened(tabs, url, film_job)
        assert page.evaluate(NAMELESS) == []
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("heading", level=2).all_inner_texts() == [
            "Timeline", "People", "Clips", "Take it with you"]  # fmt: skip
        for where in ("", "galleries"):
            page.goto(f"{url}/#/{where}")
            expect(page.get_by_role("heading", level=1)).to_have_text("Galleries" if where else "Jobs")
            assert page.evaluate(NAMELESS) == []
        assert page.locator("html").get_attribute("lang") == "en"


class TestPeople:
    def test_a_clip_is_cut_played_and_saved(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = opened(tabs, url, film_job)
        page.get_by_role("button", name="Clips of").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Seconds before and after").fill("0")
        dialog.get_by_role("button", name="Cut").click()
        clip = page.locator(".clip").first
        expect(clip).to_have_attribute("data-state", "done")
        clip.get_by_role("button", name="Play").click()
        id = clip.get_attribute("data-clip")
        assert clip.locator("video").get_attribute("src") == f"/v1/jobs/{id}/clip"
        with page.expect_download() as saved:
            clip.get_by_role("button", name="Save").click()
        assert saved.value.suggested_filename.endswith(".mp4")
        content = Path(saved.value.path()).read_bytes()
        assert content[4:8] == b"ftyp"
        assert content == httpx.get(f"{url}/v1/jobs/{id}/clip").content
        clip.get_by_role("button", name="Remove").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator(".clip")).to_have_count(0)

    def test_galleries(self, url: str, tabs: Tabs, film_job: dict[str, Any], photos: dict[str, list[Photo]]) -> None:
        page = tabs.open(f"{url}/#/galleries")
        expect(page.locator(".empty")).to_be_visible()
        tabs.allowed = ("422",)
        page.get_by_label("Name of a new gallery").fill("stage & screen")
        page.get_by_role("button", name="Make it").click()
        expect(page.locator(".toast.bad")).to_have_text(re.compile("the gallery's name is"))
        page.get_by_label("Name of a new gallery").fill("stage")
        page.keyboard.press("Enter")
        expect(page.locator("[data-gallery=stage]")).to_have_text(re.compile("0 people"))

        page.goto(f"{url}/#/jobs/{film_job['id']}")
        page.get_by_label("A name is for").select_option("stage")
        field = page.get_by_label("Name of").first
        field.fill("Ann Example")
        field.press("Enter")
        expect(page.locator(".person .told").first).to_have_text("kept, and remembered in stage")
        (known,) = httpx.get(f"{url}/v1/galleries/stage").json()["people"]
        assert (known["name"], known["vectors"]) == ("Ann Example", 1)

        page.get_by_role("link", name="Galleries").click()
        page.get_by_role("link", name="stage").click()
        name = page.get_by_label("Name of Ann Example")
        expect(name).to_have_value("Ann Example")
        name.fill("Ann Other")
        name.press("Enter")
        expect(page.get_by_label("Name of Ann Other")).to_have_value("Ann Other")
        photo = max(photos["Mindy Kaling"], key=lambda p: p.box[3] - p.box[1])
        file = io.BytesIO()
        photo.pixels().convert("RGB").save(file, "JPEG")
        sent = {"name": "m.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
        adding = page.get_by_role("region", name="Add a person")
        adding.get_by_label("Their name").fill("Mindy")
        adding.get_by_label("A photograph with one face").set_input_files([sent])
        adding.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_label("Name of Mindy")).to_have_value("Mindy")
        asking = page.get_by_role("region", name="Who is this?")
        asking.get_by_label("A photograph with one face").set_input_files([sent])
        asking.get_by_role("button", name="Search").click()
        expect(page.locator(".matches li").first).to_have_text(re.compile(r"^Mindysimilarity (1\.00|0\.9\d)$"))
        page.get_by_role("button", name="Remove Ann Other").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator(".known li")).to_have_count(1)
        wait_for(lambda: [p["name"] for p in httpx.get(f"{url}/v1/galleries/stage").json()["people"]] == ["Mindy"])
        page.get_by_role("link", name="All galleries").click()
        page.get_by_role("button", name="Remove stage").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator(".empty")).to_be_visible()
