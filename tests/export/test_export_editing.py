"""Markers for editing programs: time code, EDL, OpenTimelineIO; opentimelineio reads what was written."""

from __future__ import annotations

import builtins
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pytest

from fastface.errors import InputValidationError
from fastface.export.timecode import RATES, Rate, rate_of
from fastface.timeline import Span
from timelines import HOSTILE, hostile_timeline, make_timeline, uneven

DROP = {"29.97": Fraction(30000, 1001), "59.94": Fraction(60000, 1001)}


class TestTimeCode:
    @pytest.mark.parametrize("rate", DROP)
    def test_drop_frame_is_opentimelineios(self, rate: str) -> None:
        """Every frame around each of the first 70 minutes, and others over a day."""
        exact, fps = Rate(DROP[rate]), float(DROP[rate])
        near = {round(m * 60 * fps) + k for m in range(71) for k in range(-5, 6)} | {*range(0, 2_500_000, 9973)}
        for frame in sorted(f for f in near if f >= 0):
            want = otio.opentime.RationalTime(frame, fps).to_timecode(fps, drop_frame=True)
            assert exact.time_code(frame) == want
            assert exact.parse(want) == frame

    @pytest.mark.parametrize("rate", DROP)
    def test_drop_frame_keeps_up_with_the_clock(self, rate: str) -> None:
        """After any number of hours time code differs from the clock by less than a tenth of a second."""
        exact = Rate(DROP[rate])
        for hours in range(1, 24):
            hour, minute, second, part = map(int, re.split("[:;]", exact.time_code(exact.frame(hours * 3600))))
            shown = hour * 3600 + minute * 60 + second + part / exact.base
            assert shown == pytest.approx(hours * 3600, abs=0.1)

    def test_numbers_that_drop_frame_leaves_out(self) -> None:
        exact = Rate(DROP["29.97"])
        assert [exact.time_code(f) for f in (1799, 1800, 17981, 17982, 107892)] == [
            "00:00:59;29", "00:01:00;02", "00:09:59;29", "00:10:00;00", "01:00:00;00"]  # fmt: skip
        assert Rate(DROP["59.94"]).time_code(3600) == "00:01:00;04"

    @pytest.mark.parametrize("exact", RATES, ids=lambda r: f"{float(r):.5g}")
    def test_each_rate_counts_as_it_should(self, exact: Fraction) -> None:
        rate = Rate(exact)
        assert rate.base == math.ceil(exact)
        assert (rate.dropped > 0) == (exact in DROP.values())
        assert (";" in rate.time_code(0)) == (rate.dropped > 0)
        step = 997
        codes = {rate.parse(rate.time_code(f)) for f in range(0, 500_000, step)}
        assert codes == set(range(0, 500_000, step))
        assert rate.time_code(rate.parse("23:59:59:00") + rate.base) == rate.time_code(0)

    @pytest.mark.parametrize("wrong", ["1:00:00:00", "01:00:00", "24:00:00:00", "01:60:00:00", "01:00:60:00",
                                       "01:00:00:30", "01:01:00:00", "01:01:00;01", "", None,
                                       "01:00:00:00\n"])  # fmt: skip
    def test_what_is_no_time_code(self, wrong: str) -> None:
        with pytest.raises(InputValidationError, match=r"start_timecode is .*29\.97 frames/s such as '01:00:00;00'"):
            Rate(DROP["29.97"]).parse(wrong)
        assert Rate(DROP["29.97"]).parse("01:10:00:00") == Rate(DROP["29.97"]).parse("01:10:00;00")

    @pytest.mark.parametrize(
        ("average", "nominal"),
        [(29.97, "30000/1001"), (30.0, "30"), (23.976, "24000/1001"), (24.0, "24"), (59.94006, "60000/1001"),
         (60.0, "60"), (29.87, "30000/1001"), (25.1, "25"), (119.88, "120000/1001"), (12.5, "16"), (1000.0, "120")],
    )  # fmt: skip
    def test_nearest_known_rate(self, average: float, nominal: str) -> None:
        assert rate_of(make_timeline([], rate=average), None).exact == Fraction(nominal)

    def test_rates_that_are_asked_for(self) -> None:
        timeline = make_timeline([], rate=25)
        assert rate_of(timeline, 29.97).exact == DROP["29.97"]
        assert rate_of(timeline, 24000 / 1001).exact == Fraction(24000, 1001)
        for wrong in (29.9, 0, -1, math.nan, "25"):
            with pytest.raises(InputValidationError, match=r"rate is .*, must be one of 16, 18, 23\.976, 24, 25, 29"):
                rate_of(timeline, wrong)
        with pytest.raises(InputValidationError, match="does not say its video's frame rate: give rate"):
            rate_of(make_timeline([], rate=None), None)

    def test_frames_come_from_seconds(self) -> None:
        rate = Rate(Fraction(25))
        assert rate.frames(Span(1.0, 2.0, 700, 701)) == (25, 50)
        assert rate.frames(Span(1.0, 1.001, 700, 701)) == (25, 26), "at least one"


def events_of(text: str) -> list[tuple[str, str, int, str, int]]:
    """Time code in and out, number, name and frames of each marker."""
    found = re.findall(
        r"^(\d{3,})  001      V     C        (\S+) (\S+) \2 \3 *\n \|C:ResolveColor(\w+) \|M:([^|\n]*) \|D:(\d+)$",
        text, re.MULTILINE,
    )  # fmt: skip
    return [(start, end, int(number), name, int(frames)) for number, start, end, _, name, frames in found]


class TestEdl:
    def test_markers(self, tmp_path: Path) -> None:
        hostile_timeline(path='/x/my\nfilm "1".mp4').export(tmp_path / "a.edl")
        text = (tmp_path / "a.edl").read_text("utf-8")
        assert text.splitlines()[:3] == ['TITLE: my film "1".mp4', "FCM: DROP FRAME", ""]
        events = events_of(text)
        assert text.count("|C:") == text.count("|M:") == text.count("|D:") == len(events) == 6
        assert len(text.splitlines()) == 2 + 3 * 6
        times, rate = uneven(60), Rate(DROP["29.97"])
        frames = [(0, 20), (10, 15), (25, 28), (30, 50), (40, 50), (52, 60)]
        for number, ((a, b), (start, end, told, _, length)) in enumerate(zip(frames, events, strict=True), 1):
            assert told == number
            first = rate.parse(start) - rate.parse("01:00:00;00")
            assert first == round(times[a] * rate.exact)
            assert rate.parse(end) == rate.parse(start) + 1
            assert length == round(times[b] * rate.exact) - first
        assert any(round(times[a] * rate.exact) != a for a, _ in frames), "else it does not show that time counts"
        first, second, third = (" ".join(re.sub(r"[\x00-\x1f\u2028]", " ", name).split()) for name in HOSTILE)
        want = [first, second, third.replace("|", "/"), first, second, "person 4"]
        assert [name for _, _, _, name, _ in events] == want

    @pytest.mark.parametrize(("rate", "mode"), [(29.97, "DROP FRAME"), (59.94, "DROP FRAME"), (30, "NON-DROP FRAME"),
                                                (23.976, "NON-DROP FRAME"), (119.88, "NON-DROP FRAME")])  # fmt: skip
    def test_mode(self, rate: float, mode: str, tmp_path: Path) -> None:
        hostile_timeline().export(tmp_path / "a.edl", rate=rate, start_timecode="10:00:00:00")
        text = (tmp_path / "a.edl").read_text("utf-8")
        assert f"\nFCM: {mode}\n" in text
        assert re.search(r"C {8}10:00:00[:;]00? ?0?", text)
        assert (";" in text.split("|C:")[0]) == (mode == "DROP FRAME")

    def test_a_frame_holds_one_marker(self, tmp_path: Path) -> None:
        """Else Resolve would keep one of them."""
        people = [("Ann", [(5, 20)]), ("Bob", [(5, 20), (21, 22)]), ("Cem", [(6, 7)]), ("Dee", [(30, 40)])]
        make_timeline(people, rate=25).export(tmp_path / "a.edl", start_timecode="00:00:00:00")
        told = [(start[-5:], name, n) for start, _, _, name, n in events_of((tmp_path / "a.edl").read_text())]
        assert told == [("00:05", "Ann", 15), ("00:06", "Bob", 14), ("00:07", "Cem", 1), ("00:21", "Bob", 1),
                        ("01:05", "Dee", 10)]  # fmt: skip

    def test_an_hour_into_the_film(self, tmp_path: Path) -> None:
        """At 29.97 one hour of the clock is one hour of drop-frame time code, 3.6 s less of the other kind."""
        times = [0.0, 3600.0, 3601.0]
        for rate, start in ((29.97, "02:00:00;00"), (23.976, "01:59:56:10")):
            make_timeline([("Ann", [(1, 2)])], times=times, rate=rate).export(tmp_path / "a.edl")
            assert events_of((tmp_path / "a.edl").read_text())[0][0] == start

    def test_opentimelineios_cmx_reader_takes_it(self, tmp_path: Path) -> None:
        """It knows no markers of Resolve, but it checks events and time code. It allows no overlaps."""
        timeline = make_timeline([("Ann", [(0, 20), (30, 50)]), ("Bob", [(52, 60)])])
        timeline.export(tmp_path / "a.edl")
        read = otio.adapters.read_from_file(str(tmp_path / "a.edl"), rate=30000 / 1001)
        clips = list(read.find_clips())
        assert len(clips) == 3
        frames = [c.source_range.start_time.value_rescaled_to(30000 / 1001) for c in clips]
        np.testing.assert_allclose(np.array(frames) - 107892, [0, 30, 52], atol=0.2)


class TestOtio:
    def test_what_opentimelineio_reads(self, tmp_path: Path) -> None:
        timeline = hostile_timeline(path='/films/a b#1/my "film" %.mp4')
        timeline.export(tmp_path / "a.otio")
        read = otio.adapters.read_from_file(str(tmp_path / "a.otio"))
        assert isinstance(read, otio.schema.Timeline)
        assert read.name == 'my "film" %.mp4'
        assert read.global_start_time is None
        (clip,) = read.find_clips()
        assert clip.media_reference.target_url == "file:///films/a%20b%231/my%20%22film%22%20%25.mp4"
        assert otio.url_utils.filepath_from_url(clip.media_reference.target_url) == '/films/a b#1/my "film" %.mp4'
        assert clip.source_range == clip.media_reference.available_range == read.tracks[0].available_range()
        assert clip.duration().to_seconds() == pytest.approx(uneven(60)[60], abs=0.02)
        spans = sorted((s.start, p.id, s.end, p.name, p.label) for p in timeline.identities for s in p.instances)
        assert [(m.metadata["fastface"]["identity"], m.name) for m in clip.markers] == [(s[1], s[4]) for s in spans]
        for marker, (start, _, end, name, _) in zip(clip.markers, spans, strict=True):
            told = marker.marked_range
            assert told.start_time.rate == pytest.approx(30000 / 1001)
            assert told.start_time.value == round(told.start_time.value)
            assert told.start_time.to_seconds() == pytest.approx(start, abs=0.017)
            assert told.end_time_exclusive().to_seconds() == pytest.approx(end, abs=0.017)
            assert told.duration.value >= 1
            exact = (marker.metadata["fastface"]["start"], marker.metadata["fastface"]["end"])
            assert exact == pytest.approx((start, end), abs=1e-12)
            assert marker.metadata["fastface"]["name"] == name

    def test_start_and_rate(self, tmp_path: Path) -> None:
        hostile_timeline().export(tmp_path / "a.otio", rate=25, start_timecode="10:00:00:05")
        read = otio.adapters.read_from_file(str(tmp_path / "a.otio"))
        assert read.global_start_time == otio.opentime.RationalTime(10 * 3600 * 25 + 5, 25)
        assert read.global_start_time.to_timecode() == "10:00:00:05"

    def test_relative_paths_and_those_that_are_no_utf_8(self, tmp_path: Path) -> None:
        import os

        for path, url in (("a b.mp4", "a%20b.mp4"), (os.fsdecode(b"\xff.mp4"), "%FF.mp4"), ("\ud800", "%3F")):
            hostile_timeline(path=path).export(tmp_path / "a.otio")
            (clip,) = otio.adapters.read_from_file(str(tmp_path / "a.otio")).find_clips()
            assert clip.media_reference.target_url == url

    def test_other_endings(self, tmp_path: Path) -> None:
        hostile_timeline().export(tmp_path / "a.json", "otio")
        assert otio.adapters.read_from_file(str(tmp_path / "a.json"), adapter_name="otio_json").name == "video.mp4"

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = builtins.__import__

        def without(name, *args, **kwargs):
            if name.startswith("opentimelineio"):
                raise ImportError(name)
            return given(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(InputValidationError, match=r"pip install 'fastface-gpu\[export\]'"):
            hostile_timeline().export(tmp_path / "a.otio")
        assert not list(tmp_path.iterdir())
