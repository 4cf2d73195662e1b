"""The page as a file: what is in it, what is not, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastface
from fastface.cli import main
from fastface.drawing.thumbnails import Strip, jpeg
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.reporting import page
from timelines import HOSTILE, make_timeline


class Elements(html.parser.HTMLParser):
    """The elements with their attributes, and the text outside of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self.raw: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.raw = tag if tag in self.inside else None

    def handle_endtag(self, tag: str) -> None:
        self.raw = None

    def handle_data(self, data: str) -> None:
        (self.inside[self.raw] if self.raw else self.text).append(data)


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text("utf-8")


@pytest.fixture(scope="module")
def elements(text: str) -> Elements:
    return Elements(text)


class TestSafety:
    def test_no_string_of_the_document_is_a_tag(self, elements: Elements) -> None:
        known = re.findall(
            r"\w+",
            "html head meta title link style body header h1 bdi p main section h2 ul li span div h3 details summary ol "
            "button output i img b noscript table thead tbody tr td th dl dt dd footer script",
        )
        assert {tag for tag, _ in elements.elements} == set(known)
        assert [attrs for tag, attrs in elements.elements if tag == "img"] == [{"id": "frame", "alt": ""}]
        assert sum(tag == "b" for tag, _ in elements.elements) == 1
        assert sum(tag == "i" for tag, _ in elements.elements) == 2, "the bars"
        assert sum(tag == "script" for tag, _ in elements.elements) == 2
        assert not [a for _, attrs in elements.elements for a in attrs if a.startswith("on")]

    def test_every_string_is_there_as_text(self, elements: Elements) -> None:
        joined = "".join(elements.text)
        for name in (*HOSTILE, "<b>film<b>.mp4", "<i>cpu</i>", "<script>document.title='pwned'</script> & \"more\""):
            assert name.replace("\r\n", "\n").replace("\r", "\n") in joined.replace("\r\n", "\n").replace("\r", "\n")

    def test_data_is_json_and_ends_no_element(self, text: str) -> None:
        (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
        assert "<" not in data
        assert data.isascii()
        assert [p["label"] for p in json.loads(data)["people"]] == list(HOSTILE)

    def test_templates_are_filled_once(self, text: str) -> None:
        """A name with the template's sign in it stays as it is."""
        assert "$people" in text
        assert "{{data}}" in text
        assert text.count('<ul class="people">') == 1
        assert not re.search(r"\$(title|style|script|data|facts|lanes|together|names)\b", text)

    def test_nothing_is_loaded(self, elements: Elements, text: str) -> None:
        for tag, attrs in elements.elements:
            for name in ("src", "href", "srcset", "action", "data", "poster"):
                assert attrs.get(name) in (None, "data:,"), (tag, attrs)
        style = "".join(elements.inside["style"])
        assert "@import" not in style
        assert set(re.findall(r"url\((.{11})", style)) == {"data:image/"}
        assert not re.search(r"https?:|//[a-z]", text.replace(HOSTILE[1], ""))

    def test_the_policy_names_this_very_script(self, elements: Elements) -> None:
        (policy,) = (a["content"] for t, a in elements.elements if a.get("http-equiv") == "Content-Security-Policy")
        (script,) = [s for s in elements.inside["script"] if not s.startswith("{")]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'; img-src data:;")


class TestContent:
    def test_people(self, elements: Elements) -> None:
        joined = "".join(elements.text)
        assert "5.0 s · 3 people · 120 faces" in joined
        assert "4.0 s · 80%" in joined
        assert "2.0 s · 40%" in joined
        assert "0.0 s · 0%" in joined
        assert "0:02.0 – 0:04.0" in joined
        assert "similarity 0.51 ≥ 0.25" in joined

    def test_who_appears_with_whom(self, text: str) -> None:
        cells = re.findall(r"<td[^>]*>([\d.]+)</td>", text)
        assert cells == ["4.0", "2.0", "0", "2.0", "2.0", "0", "0", "0", "0"]

    def test_facts(self, elements: Elements) -> None:
        joined = "|".join(t.strip() for t in elements.text)
        for key, value in (("device", "<i>cpu</i>"), ("name", "libav"), ("name", "mtcnn"), ("name", "facenet"),
                           ("thresholds", "0.6, 0.7, 0.7"), ("far", "0.001"), ("frames decoded", "100"),
                           ("duration", "5.0 s"), ("tracks", "2")):  # fmt: skip
            assert f"|{key}|{value}|" in joined
        first = HOSTILE[0].replace("\r\n", "\n")
        assert f"|nearest to its threshold|{first}: 0.50 ≥ 0.25|" in joined
        assert "|Warnings|" in joined

    def test_small_frames_show_their_moment(self, text: str) -> None:
        (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
        frames = json.loads(data)["frames"]
        assert (frames["width"], frames["height"]) == (160, 120)
        assert len(frames["times"]) == len(frames["pictures"]) == 20
        assert frames["times"] == sorted(frames["times"])
        for time, picture in zip(frames["times"], frames["pictures"], strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
            assert pixels.shape == (120, 160, 3)
            ground = 120 if time < 2 else 30 if time < 4 else 240
            assert abs(int(np.median(pixels[-8:])) - ground) < 12

    def test_nobody(self, drawn, tmp_path: Path) -> None:
        video, timeline = drawn
        nobody = replace(timeline, identities=(), tracks=(), faces=timeline.faces[:0])
        fastface.report(video, nobody, tmp_path / "a.html")
        text = (tmp_path / "a.html").read_text()
        assert "Nobody was found." in text
        assert "there must be two people" in text


class TestSize:
    def test_frames_are_thinned_until_they_fit(self) -> None:
        strip = Strip(160, 90, [float(i) for i in range(480)], [bytes(7000)] * 480)
        thin = strip.within(page.FRAMES_BYTES)
        assert thin.times == [float(i) for i in range(0, 480, 2)]
        assert len(thin.pictures) == 240
        assert strip.within(10**9).times == strip.times
        assert strip.within(0).times == [0.0]

    def test_a_page_of_two_hours_and_many_people(self, rng: np.random.Generator) -> None:
        """With the worst pictures that there are, noise, and as many as there may be."""
        times = [i * 6.0 for i in range(1201)]
        spans = [[(int(a), int(a) + 1) for a in np.sort(rng.choice(1200, 40, replace=False))] for _ in range(100)]
        timeline = make_timeline([(f"Name {i}", s) for i, s in enumerate(spans)], times=times)
        noise = [jpeg(Image.fromarray(rng.integers(0, 256, (90, 160, 3), np.uint8))) for _ in range(8)]
        strip = Strip(160, 90, [i * 15.0 for i in range(480)], [noise[i % 8] for i in range(480)])
        face = Image.fromarray(rng.integers(0, 256, (page.FACE_SIZE, page.FACE_SIZE, 3), np.uint8))
        faces = {i: face for i in range(page.MOST_FACES)}
        people = list(timeline.identities)
        text = page._page(timeline, people, 7200.0, faces, strip.within(page.FRAMES_BYTES))
        assert 1_000_000 < len(text) < 4_000_000
        assert text.count('class="lane ') == 100
        assert '<span class="face p99" aria-hidden="true">N</span>' in text, "no picture: the initial"
        assert "The 24 people with the most screen time of 100." in text


class TestWriting:
    def test_replaces_only_when_all_is_written(self, drawn, tmp_path: Path) -> None:
        video, timeline = drawn
        target = tmp_path / "a.html"
        target.write_text("before")
        wrong = replace(timeline, video={**timeline.video, "width": 640})
        with pytest.raises(InputValidationError, match=r"is of a video of 640 x 240 pixels.*shows 320 x 240"):
            fastface.report(video, wrong, target)
        with pytest.raises(InputValidationError, match=r"gone\.mp4' does not exist"):
            fastface.report(tmp_path / "gone.mp4", timeline, target)
        assert target.read_text() == "before"
        fastface.report(video, timeline, target)
        assert target.read_text("utf-8").startswith("<!doctype html>")
        assert [p.name for p in tmp_path.iterdir()] == ["a.html"]

    def test_names_of_pages(self, drawn, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match=r"a\.pdf'.*must end in \.html"):
            fastface.report(*drawn, tmp_path / "a.pdf")

    def test_paths_that_are_no_utf_8(self, drawn, tmp_path: Path) -> None:
        import os

        video, timeline = drawn
        odd = replace(timeline, video={**timeline.video, "path": os.fsdecode(b"/x/\xff.mp4")})
        fastface.report(video, odd, tmp_path / "a.html")
        assert "<title>?.mp4</title>" in (tmp_path / "a.html").read_text("utf-8")

    def test_command(self, drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        video, timeline = drawn
        timeline.to_json(tmp_path / "t.json")
        assert main(["report", str(video), str(tmp_path / "t.json"), "-o", str(tmp_path / "a.html")]) == 0
        assert capsys.readouterr().out == f"written: {tmp_path / 'a.html'}\n"
        assert (tmp_path / "a.html").stat().st_size > 20_000
        assert main(["report", str(video), str(tmp_path / "t.json"), "-o", str(tmp_path / "a.txt")]) == 3
        assert "must end in .html" in capsys.readouterr().err


def test_broken_video(drawn, tmp_path: Path) -> None:
    """What is damaged is left out; what cannot be shown at all is said."""
    video, timeline = drawn
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 4
    torn = content.copy()
    middle = start + (len(content) - start) // 3
    torn[middle : middle + 2000] = bytes(2000)
    (tmp_path / "torn.mp4").write_bytes(torn)
    fastface.report(tmp_path / "torn.mp4", timeline, tmp_path / "a.html")
    assert (tmp_path / "a.html").is_file()
    content[start : start + 60_000] = bytes(len(content[start : start + 60_000]))
    (tmp_path / "gone.mp4").write_bytes(content)
    with pytest.raises((VideoProcessingError, InputValidationError)):
        fastface.report(tmp_path / "gone.mp4", timeline, tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()
