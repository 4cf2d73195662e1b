"""The dashboard in a browser, before a real service with a real worker on the CPU."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import SETTINGS, wait_for
from browsing import PATIENCE, Tabs, expect, over, serving

from fastface.service.app import ServiceSettings

pytestmark = pytest.mark.browser

HURTS = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'<script>.mp4"
WHO = "<img src=x onerror=\"document.title='pwned'\"> & 'co' {{data}} $people =1+1"


def send(page: Any, *files: Any) -> None:
    """As somebody who chose the settings of these tests and files."""
    page.get_by_text("Settings, or a video").click()
    page.get_by_label("Look for faces in every").fill(str(SETTINGS["every"]))
    page.get_by_label("Smallest face").fill(str(SETTINGS["min_face_size"]))
    page.locator("#files").set_input_files(list(files))


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text.split(" of ")[0]) or 0)


class TestJobs:
    def test_a_video_is_sent_processed_and_its_people_named(self, url: str, tabs: Tabs, root: Path) -> None:
        page = tabs.open(url)
        expect(page.locator("#link-text")).to_have_text("live")
        content = (root / "film.mp4").read_bytes()
        send(page, {"name": "mine.mp4", "mimeType": "video/mp4", "buffer": content})
        row = page.locator(".job", has_text="mine.mp4")
        expect(row).to_have_attribute("data-state", re.compile("queued|running|done"))
        id = row.get_attribute("data-job")
        row.get_by_role("link", name="mine.mp4").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("mine.mp4")
        expect(page.locator(".about")).to_have_attribute("data-state", "done")
        expect(page.locator(".lane").first).to_be_visible()
        people = httpx.get(f"{url}/v1/jobs/{id}/people").json()["people"]
        assert page.locator(".lane").count() == len(people) >= 3
        assert page.locator(".lane i").count() == sum(len(p["spans"]) for p in people)
        portrait = page.locator(".person .face img").first
        expect(portrait).to_be_visible()
        assert portrait.evaluate("async (i) => (await i.decode(), i.naturalWidth)") >= 32

        field = page.get_by_label("Name of").first
        field.fill("Ann")
        field.press("Enter")
        expect(page.locator(".heads bdi").first).to_have_text("Ann")
        page.get_by_role("heading", name="Timeline").click()
        field.click()
        page.keyboard.type(WHO)  # over the whole of the name before
        page.keyboard.press("Enter")
        expect(page.locator(".heads bdi").first).to_have_text(WHO)
        expect(page.locator(".person .told").first).to_have_text("kept")
        document = httpx.get(f"{url}/v1/jobs/{id}/timeline").json()
        assert WHO in [identity["name"] for identity in document["identities"]]
        assert page.locator("main img[src=x], main script").count() == 0
        page.locator(".lane i").first.hover()
        assert WHO in page.locator(".tip").text_content()
        assert page.title() == "mine.mp4 – fastface"

        page.reload()
        expect(page.get_by_label("Name of").first).to_have_value(WHO)
        second = page.get_by_label("Name of").nth(1)
        tabs.allowed = ("409",)
        second.fill(WHO)
        second.press("Enter")
        expect(page.locator(".person .told").nth(1)).to_have_text(re.compile("is called"))
        second.fill("nobody keeps this")
        second.press("Escape")
        expect(second).to_have_value("")
        field = page.get_by_label("Name of").first
        field.fill("")
        field.press("Enter")
        expect(page.locator(".heads bdi").first).to_have_text(re.compile(r"person \d+"))
        document = httpx.get(f"{url}/v1/jobs/{id}/timeline").json()
        assert [identity["name"] for identity in document["identities"]] == [None] * len(people)

    def test_progress_moves_in_the_list_and_on_its_own_page(self, url: str, tabs: Tabs) -> None:
        page = tabs.open(url)
        page.get_by_text("Settings, or a video").click()
        page.get_by_label("Video under the service's root").fill("long.mp4")
        page.get_by_role("button", name="Begin").click()
        row = page.locator(".job", has_text="long.mp4").first
        bar = row.get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-valuetext", re.compile("frames"))
        expect(row.locator(".pill")).to_have_text("running")
        first = number(row.locator(".doing").inner_text())
        wait_for(lambda: number(row.locator(".doing").inner_text()) > first, PATIENCE / 1000)
        row.get_by_role("link").click()
        doing = page.locator(".about .doing")
        expect(doing).to_have_text(re.compile(r"of \d,\d{3} frames"))
        second = number(doing.inner_text())
        wait_for(lambda: number(doing.inner_text()) > second, PATIENCE / 1000)
        assert float(page.locator(".about .progress i").evaluate("e => parseFloat(e.style.width)")) > 0
        page.get_by_role("button", name="Cancel long.mp4").click()
        expect(page.locator(".about .pill")).to_have_text("cancelled")
        page.get_by_role("button", name="Remove long.mp4").click()
        page.get_by_role("button", name="Keep").click()
        page.get_by_role("button", name="Remove long.mp4").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_role("heading", name="Machine")).to_be_visible()
        expect(page.locator(".job", has_text="long.mp4")).to_have_count(0)
        assert not [j for j in httpx.get(f"{url}/v1/jobs").json()["jobs"] if j["name"] == "long.mp4"]

    def test_sending_shows_how_far_it_is_and_can_be_stopped(
        self, url: str, tabs: Tabs, live: ServiceSettings, root: Path
    ) -> None:
        page = tabs.open(url)
        expect(page.locator("#link-text")).to_have_text("live")
        slow = page.context.new_cdp_session(page)
        slow.send("Network.enable")
        rates = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 8_000}
        slow.send("Network.emulateNetworkConditions", rates)
        content = (root / "long.mp4").read_bytes()[:2_000_000]
        send(page, {"name": "slow.mp4", "mimeType": "video/mp4", "buffer": content})
        bar = page.get_by_role("progressbar", name="Sending slow.mp4")
        expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
        expect(page.locator(".uploads .soft")).to_have_text(re.compile(r"of 2\.0 MB"))
        page.get_by_role("link", name="Galleries").click()
        page.get_by_role("link", name="Jobs", exact=True).click()
        expect(bar).to_be_visible()  # it went on meanwhile
        page.get_by_role("button", name="Stop sending slow.mp4").click()
        expect(page.locator(".uploads li")).to_have_count(0)
        wait_for(lambda: not list((Path(live.folder) / "uploads").glob("*.part*")))
        assert page.locator(".job", has_text="slow.mp4").count() == 0

    def test_a_file_that_is_dropped_and_refused(self, url: str, tabs: Tabs) -> None:
        tabs.allowed = ("422",)
        page = tabs.open(url)
        expect(page.locator("#link-text")).to_have_text("live")
        files = page.evaluate_handle(
            """(name) => {
                const data = new DataTransfer();
                data.items.add(new File(["<!doctype html><html><p>no video</p></html>"], name, {type: "video/mp4"}));
                return data;
            }""",
            HURTS,
        )
        page.dispatch_event(".drop", "dragenter", {"dataTransfer": files})
        expect(page.locator(".drop")).to_have_class(re.compile("over"))
        page.dispatch_event(".drop", "drop", {"dataTransfer": files})
        expect(page.locator(".drop")).not_to_have_class(re.compile("over"))
        failed = page.locator(".uploads [data-state=failed]")
        expect(failed.locator(".name")).to_have_text(HURTS)
        assert len(failed.locator(".soft").inner_text()) > 10
        assert page.locator(".uploads img, .uploads script").count() == 0
        assert page.title() == "fastface"
        failed.get_by_role("button").click()
        expect(page.locator(".uploads li")).to_have_count(0)

    def test_names_and_errors_are_text_in_the_list(self, url: str, tabs: Tabs, root: Path) -> None:
        content = (root / "sub" / "tiny.mp4").read_bytes()
        answer = httpx.post(f"{url}/v1/jobs", params={"name": HURTS, "settings": json.dumps(SETTINGS)}, content=content,
                            headers={"content-type": "video/mp4"})  # fmt: skip
        job = over(url, answer.json()["jobs"][0]["id"])
        tabs.allowed = ("requires 'TrustedHTML'",)
        page = tabs.open(url)
        row = page.locator(f"[data-job='{job['id']}']")
        expect(row.locator(".name")).to_have_text(HURTS)
        assert page.locator("main img, main script").count() == 0
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(HURTS)
        assert page.locator("main img[src=x], main script").count() == 0
        assert page.title() == f"{HURTS} – fastface"
        refused = page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>'; } catch (e) { return e.name; } }")
        assert refused == "TypeError", "no script may make HTML of text, whatever it does"

    def test_filter_and_nothing_there(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = tabs.open(url)
        expect(page.locator(f"[data-job='{film_job['id']}']")).to_be_visible()
        page.get_by_label("Show", exact=True).select_option("failed")
        expect(page.locator(f"[data-job='{film_job['id']}']")).to_have_count(0)
        page.get_by_label("Show", exact=True).select_option("done")
        expect(page.locator(f"[data-job='{film_job['id']}']")).to_be_visible()
        assert set(page.locator(".job .pill").all_inner_texts()) == {"done"}

    def test_a_job_that_is_not_there(self, url: str, tabs: Tabs) -> None:
        tabs.allowed = ("404",)
        page = tabs.open(f"{url}/#/jobs/{'0' * 32}")
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no such job")
        page.get_by_role("main").get_by_role("link", name="All jobs").click()
        expect(page.get_by_role("heading", name="Machine")).to_be_visible()

    def test_exports_are_downloaded(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        page = tabs.open(f"{url}/#/jobs/{film_job['id']}")
        page.get_by_label("The timeline as").select_option("csv-spans")
        with page.expect_download() as saved:
            page.get_by_role("button", name="Download").click()
        assert saved.value.suggested_filename == f"{film_job['id']}.spans.csv"
        wanted = httpx.get(f"{url}{film_job['timeline']}?format=csv-spans").content
        assert Path(saved.value.path()).read_bytes() == wanted


class TestMachine:
    def test_figures_and_an_earlier_moment(self, url: str, tabs: Tabs) -> None:
        samples = wait_for(lambda: len(httpx.get(f"{url}/v1/system").json()["samples"]) > 2)
        assert samples
        page = tabs.open(url)
        cpu = page.locator("[data-chart=cpu]")
        expect(cpu.locator(".figure")).to_have_text(re.compile(r"^\d+%$"))
        assert cpu.get_by_role("img").get_attribute("aria-label").startswith("CPU: ")
        assert page.locator("[data-chart]").evaluate_all("all => all.map((e) => e.dataset.chart)") in (
            ["cpu", "memory", "fps", "queue", "done"],
            ["gpu", "nvdec", "gpu-memory", "cpu", "memory", "fps", "queue", "done"],
        )
        expect(page.locator(".when")).to_have_text(re.compile("^1 worker, "))
        cpu.locator(".plot").hover(position={"x": 5, "y": 10})
        expect(page.locator(".when")).to_have_text(re.compile(r"^at \d\d:\d\d:\d\d, .+ ago$"))
        assert page.locator(".plot .cursor:visible").count() == page.locator(".plot").count(), "in all charts at once"
        page.mouse.move(2, 2)
        expect(page.locator(".when")).to_have_text(re.compile("^1 worker, "))
        page.get_by_role("radio", name="5 min", exact=True).check()
        expect(cpu.locator(".ends")).to_have_text("−5 minnow")
        slider = page.get_by_role("slider", name="Moment that the charts show")
        slider.focus()
        slider.press("Home")
        expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^at .* ago: .*CPU \d+%, Memory [\d.]+ [GM]B"))
        page.get_by_role("link", name="Galleries").focus()
        expect(page.locator(".when")).to_have_text(re.compile("^1 worker, "))

    def test_gpus(self, tabs: Tabs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        from test_monitor import FakeNVML

        monkeypatch.setitem(sys.modules, "pynvml", FakeNVML())
        with serving(ServiceSettings(tmp_path / "s", require_keys=False)) as url:
            page = tabs.open(url)
            expect(page.locator("[data-chart=nvdec] .legend")).to_have_text("GPU 0 91%GPU 1 0%")
            expect(page.locator("[data-chart=gpu] .legend")).to_have_text("GPU 0 37%GPU 1 100%")
            expect(page.locator("[data-chart=gpu-memory] .now")).to_have_text("3.2 GB of 172 GB")
            expect(page.locator(".when")).to_have_text("2 × NVIDIA Drawn 0, NVIDIA Drawn 1")
            expect(page.locator(".empty")).to_have_text(re.compile("There are no jobs yet"))


class TestAccess:
    def test_a_key_is_asked_for_and_stays_in_the_tab(self, tabs: Tabs, tmp_path: Path) -> None:
        from fastface.service.keys import Keys

        tabs.allowed = ("401",)
        with serving(ServiceSettings(tmp_path / "s", require_keys=True)) as url:
            key = Keys(tmp_path / "s" / "keys.json").add("ann")
            page = tabs.open(url)
            expect(page.locator("#banner")).to_have_text("This service asks for a key.")
            field = page.get_by_label("Key of this service")
            expect(field).to_be_focused()
            field.fill("ff_wrong")
            field.press("Enter")
            expect(page.locator("#banner")).to_have_text("The service does not know this key.")
            field.fill(key)
            page.get_by_role("button", name="Use it").click()
            expect(page.locator(".empty")).to_have_text(re.compile("There are no jobs yet"))
            expect(page.locator("#link-text")).to_have_text("live")
            assert page.locator("#banner").is_hidden()
            assert page.evaluate("Object.values(sessionStorage)") == [key]
            assert page.evaluate("localStorage.length + document.cookie.length") == 0
            assert key not in page.content()
            page.reload()
            expect(page.locator(".empty")).to_be_visible()
            expect(tabs.open(url).locator("#banner")).to_be_visible()
            page.get_by_role("button", name="Key", exact=True).click()
            page.get_by_role("button", name="Forget it").click()
            expect(page.locator("#banner")).to_have_text("This service asks for a key.")
            assert page.evaluate("sessionStorage.length") == 0

    def test_with_a_key_everything_is_shown(self, tabs: Tabs, live: ServiceSettings, film_job: dict[str, Any]) -> None:
        """The same folder, asked with a key: pictures, events and downloads need it, too."""
        from dataclasses import replace

        from fastface.service.keys import Keys

        tabs.allowed = ("401",)
        keys = Keys(Path(live.folder) / "keys.json")
        key = keys.add("local")
        try:
            with serving(replace(live, require_keys=True, devices=())) as url:
                page = tabs.open(f"{url}/#/jobs/{film_job['id']}")
                page.get_by_label("Key of this service").fill(key)
                page.get_by_role("button", name="Use it").click()
                expect(page.locator(".person .face img").first).to_be_visible()
                with page.expect_download() as saved:
                    page.get_by_role("button", name="Download").click()
                assert json.loads(Path(saved.value.path()).read_bytes())["schema"] == "fastface.timeline/1"
        finally:
            keys.remove("local")

    def test_a_service_that_does_not_answer(self, url: str, tabs: Tabs, film_job: dict[str, Any]) -> None:
        tabs.allowed = ("ERR_INTERNET_DISCONNECTED",)
        page = tabs.open(url)
        row = page.locator(f"[data-job='{film_job['id']}']")
        expect(row).to_be_visible()
        page.context.set_offline(True)
        expect(page.locator("#link-text")).to_have_text("no answer")
        expect(page.locator("#banner")).to_have_text(re.compile("^The service does not answer."))
        assert row.is_visible(), "what was known last stays"
        page.context.set_offline(False)
        expect(page.locator("#link-text")).to_have_text("live")
        expect(page.locator("#banner")).to_be_hidden()
