"""Clips of videos of many kinds; the files, their names and what is refused."""

from __future__ import annotations

import dataclasses
import threading
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from coded import SIZE, Coded, assert_in_step, make_coded, ntsc, read_pictures, timeline_of, uneven

import fastface
from fastface.cli import main
from fastface.clip.source import open_source
from fastface.errors import InputValidationError
from fastface.timeline import Timeline

SPANS = [(1.0, 2.5), (4.0, 5.0)]
X265 = {
    "preset": "ultrafast",
    "x265-params": "log-level=error:open-gop=0:bframes=0:scenecut=0:keyint=15:min-keyint=15:pools=1:frame-threads=1",
}
BETWEEN = [(1.2, 2.9), (4.1, 4.4)]  # key pictures are at whole halves of a second, about


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    return make_coded(tmp_path_factory.mktemp("coded") / "v.mp4", *ntsc(8), gop=15)


@pytest.fixture(scope="module")
def timeline(coded):
    return timeline_of(coded, {"Ann": SPANS, "Bob": [(2.0, 4.5)]})


@pytest.fixture
def small_split(monkeypatch):
    """Split screens that take less time."""
    monkeypatch.setattr("fastface.clip.clips.SPLIT_SIZE", (192, 96))


class TestKinds:
    """Each is cut exactly, with the sound in step."""

    def check(self, tmp_path, path, stamps=None, **settings):
        coded = make_coded(path, *(stamps or ntsc(8)), gop=15, **settings)
        timeline = timeline_of(coded, {"Ann": SPANS})
        clips = timeline.clips(path, "Ann", folder=tmp_path / "out", join=True)
        for clip in clips:
            assert clip.notes == ()
            assert assert_in_step(coded, clip) < 0.002
        return coded, timeline

    @pytest.mark.parametrize(
        ("suffix", "codec", "sound", "options"),
        [
            ("mp4", "libx264", "aac", {"bf": "0"}),
            ("mp4", "libx264", "aac", {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}),
            ("mp4", "libx264", "aac", {"x264-params": "intra-refresh=1:scenecut=0", "bf": "0"}),
            ("mp4", "libx265", "aac", {"x265-params": "log-level=error:open-gop=1", "preset": "ultrafast"}),
            ("mov", "mpeg4", "pcm_s16le", {"qscale": "2"}),
            ("mp4", "libx264", "mp3", {}),
        ],
    )
    def test_codecs(self, tmp_path, suffix, codec, sound, options):
        self.check(tmp_path, tmp_path / f"v.{suffix}", codec=codec, sound=sound, options=options)

    def test_transport_stream(self, tmp_path):
        stamps = [900900 + 3003 * i for i in range(240)]
        self.check(tmp_path, tmp_path / "v.ts", (stamps, Fraction(1, 90000), 900900 + 3003 * 240), sound="mp2")

    @pytest.mark.parametrize(("rate", "layout"), [(44100, "mono"), (48000, "stereo"), (22050, "mono")])
    def test_rates_and_channels(self, tmp_path, rate, layout):
        self.check(tmp_path, tmp_path / "v.mp4", sound="flac", rate=rate, layout=layout)
        with av.open(str(next((tmp_path / "out").iterdir()))) as container:
            audio = container.streams.audio[0].codec_context
            assert (audio.sample_rate, audio.layout.name) == (rate, layout)

    def test_a_late_beginning(self, tmp_path):
        stamps, base, end = uneven(8)
        late = 5 * 90000
        self.check(tmp_path, tmp_path / "v.mkv", ([(p + late) // 90 for p in stamps], base * 90, (end + late) // 90),
                   sound="flac")  # fmt: skip

    def test_without_sound(self, tmp_path):
        coded = make_coded(tmp_path / "v.mp4", *ntsc(3), sound=None)
        (clip,) = timeline_of(coded, {"Ann": [(1, 2)]}).clips(coded.path, "Ann", folder=tmp_path / "out")
        with av.open(str(clip.path)) as container:
            assert not container.streams.audio
        assert read_pictures(clip.path)[0] == list(range(30, 60))

    def test_sound_that_ends_early_is_silence_after_that(self, tmp_path, coded):
        path = tmp_path / "short.mp4"
        with av.open(str(coded.path)) as source, av.open(str(path), "w") as out:
            streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None and not (
                    packet.stream.type == "audio" and packet.pts * packet.time_base > 1.8
                ):
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
        timeline = timeline_of(coded, {"Ann": [(1.5, 2.5)]})
        (clip,) = timeline.clips(path, "Ann", folder=tmp_path / "out")
        with av.open(str(clip.path)) as container:
            sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)
        assert abs(sound.shape[1] - 48000) < 1700

    def test_rotation(self, tmp_path):
        """Turned pictures are cut as they are shown."""
        from fastface.demo.compose import Encoding, compose_shots
        from fastface.demo.scene import Shot

        truth = compose_shots(tmp_path / "r.mp4", [Shot(2.0)], size=(320, 240), fps=10, encoding=Encoding(rotation=90))
        turned = Coded(tmp_path / "r.mp4", [Fraction(t) for t in truth["times"]], Fraction(2), Fraction(0))
        timeline = timeline_of(turned, {"Ann": [(0.5, 1.5)]}, size=(320, 240))
        for follow in (None, (120, 120)):
            (clip,) = timeline.clips(tmp_path / "r.mp4", "Ann", folder=tmp_path / "out", follow=follow)
            with av.open(str(clip.path)) as container:
                frames = list(container.decode(video=0))
            assert {(f.width, f.height, f.rotation) for f in frames} == {(*(follow or (320, 240)), 0)}
            assert len(frames) == 10
        (clip,) = timeline.clips(tmp_path / "r.mp4", "Ann", folder=tmp_path / "out", fast=True)
        assert "turned by 90 degrees" in clip.notes[0]


class TestFast:
    """What is copied, and what that is told about."""

    def test_only_the_ends_are_encoded(self, coded, tmp_path):
        clips = timeline_of(coded, {"Ann": BETWEEN}).clips(coded.path, "Ann", folder=tmp_path, fast=True)
        assert [(c.frames, c.copied) for c in clips] == [(51, 30), (9, 0)]
        for clip in clips:
            assert assert_in_step(coded, clip) < 0.002

    def test_it_can_be_sought(self, coded, tmp_path):
        """Both kinds of parameter sets are in the header: decoding may begin in either part."""
        (clip,) = timeline_of(coded, {"Ann": [(0.2, 3.4)]}).clips(coded.path, "Ann", folder=tmp_path, fast=True)
        with av.open(str(clip.path)) as container:
            stream = container.streams.video[0]
            assert bytes(stream.codec_context.extradata)[5] & 31 == 2, "two sequence parameter sets"
            for second in (2.9, 0.0, 1.5, 3.1):
                container.seek(int(second / stream.time_base), stream=stream)
                frame = next(container.decode(stream))
                assert frame.key_frame
                assert frame.time <= second + 1e-6
                number = 6 + round(float(frame.time) * 30000 / 1001)
                assert round((int(np.frombuffer(frame.planes[2], np.uint8)[200]) - 32) / 13) == number % 16

    def test_all_of_it(self, coded, tmp_path):
        (clip,) = timeline_of(coded, {"Ann": [(0, 9)]}).clips(coded.path, "Ann", folder=tmp_path, fast=True)
        assert clip.copied == clip.frames == len(coded.times)
        assert_in_step(coded, clip)

    @pytest.mark.parametrize(
        ("codec", "options", "spans", "copied", "note"),
        [
            ("libx265", X265, BETWEEN, False, "pictures of hevc can be copied only where"),
            ("libx265", X265, [(0.0, 9.0)], True, None),
            ("mpeg4", {}, [(0.0, 9.0)], False, "mpeg4 cannot be copied"),
            ("libx264", {"x264-params": "scenecut=0", "g": "9999"}, BETWEEN, False, "no cut holds a whole group"),
        ],
    )  # fmt: skip
    def test_other_codecs(self, tmp_path, codec, options, spans, copied, note):
        coded = make_coded(tmp_path / "v.mp4", *ntsc(8), codec=codec, options=options, gop=15)
        for clip in timeline_of(coded, {"Ann": spans}).clips(coded.path, "Ann", folder=tmp_path / "out", fast=True):
            assert (clip.copied > 0) == copied
            assert (note in clip.notes[0]) if note else not clip.notes
            assert_in_step(coded, clip)


class TestFiles:
    def test_names_and_numbers(self, coded, timeline, tmp_path, small_split):
        odd = timeline.rename("Ann", "../Ann: 1/2").rename("Bob", "Bob")
        clips = odd.clips(coded.path, 0, folder=tmp_path / "new" / "folder")
        assert [c.path.name for c in clips] == ["Ann_ 1_2-0-001.mp4", "Ann_ 1_2-0-002.mp4"]
        assert sorted((tmp_path / "new" / "folder").iterdir()) == [c.path for c in clips]
        (clip,) = timeline.clips(coded.path, folder=tmp_path, condense=0.5)
        assert clip.path.name == "v-condensed.mp4"
        assert [(s.start_frame, s.end_frame) for s in clip.spans] == [(30, 150)]
        (clip,) = timeline.clips(coded.path, split=("Ann", "Bob"), folder=tmp_path)
        assert clip.path.name == "Ann+Bob-001.mp4"

    def test_what_a_clip_says(self, coded, timeline, tmp_path):
        calls = []
        clips = timeline.clips(coded.path, "Ann", folder=tmp_path, progress=lambda *a: calls.append(a))
        assert [(c.frames, c.copied, c.notes) for c in clips] == [(45, 0, ()), (30, 0, ())]
        assert [c.spans[0] for c in clips] == [
            fastface.Span(*(float(coded.times[i]) for i in (a, b)), a, b) for a, b in ((30, 75), (120, 150))
        ]
        assert clips[0].duration == pytest.approx(45 * 1001 / 30000)
        assert calls[-1] == (75, 75)

    def test_many_workers_give_what_one_gives(self, coded, timeline, tmp_path, monkeypatch):
        from fastface.clip import plan

        monkeypatch.setattr(plan, "_PART_SECONDS", 0.6)
        wide = timeline_of(coded, {"Ann": [(0.5, 7.5)]})
        for workers in (1, 5, 40):  # the last are more than there are parts
            (clip,) = wide.clips(coded.path, "Ann", folder=tmp_path / str(workers), workers=workers)
            assert_in_step(coded, clip)
        one, many, idle = ((tmp_path / w / "Ann-001.mp4").read_bytes() for w in ("1", "5", "40"))
        assert one == many == idle

    @pytest.mark.media
    def test_real_pictures_give_the_same_bytes_each_time(self, media, tmp_path):
        """libx264's own noise, where it has any, shows with these and not with made ones."""
        path = media / "people.mp4"
        source = open_source(path)
        whole = SimpleNamespace(path=path, times=source.times, end=source.info.duration)
        wide = timeline_of(whole, {"Ann": [(18.0, 30.0)]}, size=(source.info.width, source.info.height))
        made = []
        for workers in (1, 2, 1):
            (clip,) = wide.clips(path, "Ann", folder=tmp_path / "out", workers=workers, follow=(608, 1080))
            made.append(clip.path.read_bytes())
        assert made[0] == made[1] == made[2]

    def test_no_more_parts_are_on_their_way_than_fit(self, coded, tmp_path, monkeypatch):
        """Memory: with parts of 16 pictures, no part is begun before the fourth before it was written."""
        from fastface.clip import plan, pool

        monkeypatch.setattr(plan, "_PART_SECONDS", 0.1)
        begun, encode = [], pool.encode_part

        def slow(source, part, *rest):
            begun.append(part.cut.first)
            return encode(source, part, *rest)

        monkeypatch.setattr(pool, "encode_part", slow)
        source_timeline = timeline_of(coded, {"Ann": [(0, 9)]})
        ahead = []
        from fastface.clip import join

        stamp = join.durations
        monkeypatch.setattr(join, "durations", lambda *a: ahead.append(len(begun)) or stamp(*a))
        source_timeline.clips(coded.path, "Ann", folder=tmp_path, workers=2)
        assert len(begun) == len(ahead) > 8
        assert all(b - k <= 5 for k, b in enumerate(ahead))

    def test_a_failure_leaves_what_was_there(self, coded, timeline, tmp_path, monkeypatch):
        """The first file is whole, the second is the old one, nothing else is there, and all threads are gone."""
        from fastface.clip import pool
        from fastface.errors import VideoProcessingError

        (tmp_path / "Ann-002.mp4").write_text("old")
        encode = pool.encode_part

        def broken(source, part, *rest):
            if part.cut.first >= 120:
                raise VideoProcessingError("broken")
            return encode(source, part, *rest)

        monkeypatch.setattr(pool, "encode_part", broken)
        with pytest.raises(VideoProcessingError, match="broken"):
            timeline.clips(coded.path, "Ann", folder=tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["Ann-001.mp4", "Ann-002.mp4"]
        assert (tmp_path / "Ann-002.mp4").read_text() == "old"
        assert not [t for t in threading.enumerate() if t.name.startswith("fastface-clip")]

    def test_nothing_can_be_decoded(self, coded, timeline, tmp_path, monkeypatch):
        from fastface.clip.cut import Encoded
        from fastface.errors import VideoProcessingError

        monkeypatch.setattr("fastface.clip.pool.encode_part", lambda *arguments: Encoded([], 45))
        with pytest.raises(VideoProcessingError, match=r"not one picture for .*Ann-001"):
            timeline.clips(coded.path, "Ann", folder=tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []

    def test_damage(self, coded, timeline, tmp_path):
        """Pictures that cannot be decoded are counted; the others are where they belong."""
        raw = bytearray(coded.path.read_bytes())
        with av.open(str(coded.path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        for packet in packets[40:44]:
            raw[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
        (tmp_path / "bad.mp4").write_bytes(raw)
        (clip, _) = timeline.clips(tmp_path / "bad.mp4", "Ann", folder=tmp_path)
        assert clip.notes == (f"4 packets of {str(tmp_path / 'bad.mp4')!r} are damaged and were left out",)
        numbers, times = read_pictures(clip.path)
        left = [i for i in range(30, 75) if i not in (40, 41, 42, 44)]
        assert times == [coded.times[i] - coded.times[30] for i in left]
        whole = [k for k, i in enumerate(left) if i < 39 or i > 45]  # those between build on what is lost
        assert [numbers[k] for k in whole] == [left[k] for k in whole]


class TestRefusals:
    @pytest.mark.parametrize(
        ("person", "settings", "message"),
        [
            ("Cem", {}, "no person 'Cem'"),
            (None, {}, "person is None, must be"),
            (None, {"follow": (96, 96), "condense": 1}, "follow needs a person"),
            ("Ann", {"max_gap": -1}, "max_gap is -1, must be"),
            ("Ann", {"pad": float("nan")}, "pad is nan, must be"),
            ("Ann", {"segment": 0}, "segment is 0, must be"),
            ("Ann", {"segment": 1, "join": True}, "give one of them"),
            ("Ann", {"follow": (96, 95)}, r"follow is \(96, 95\), must be"),
            ("Ann", {"follow": (96, 96), "fast": True}, "not both"),
            ("Ann", {"split": ("Ann", "Bob")}, "must be two people, and None"),
            (None, {"split": ("Ann", "Ann")}, "two different people"),
            (None, {"split": ("Ann", "Bob"), "follow": (96, 96)}, "give one of them"),
            ("Ann", {"workers": 0}, "workers is 0, must be"),
        ],
    )
    def test_arguments(self, coded, timeline, tmp_path, person, settings, message):
        with pytest.raises(InputValidationError, match=message):
            timeline.clips(coded.path, person, folder=tmp_path / "out", **settings)
        assert not (tmp_path / "out").exists()

    def test_nothing_to_cut(self, coded, tmp_path):
        nobody = timeline_of(coded, {"Ann": []})
        with pytest.raises(InputValidationError, match=r"nothing to cut: no picture of .* shows Ann"):
            nobody.clips(coded.path, "Ann", folder=tmp_path)
        with pytest.raises(InputValidationError, match="shows anybody"):
            nobody.clips(coded.path, folder=tmp_path, condense=3)

    def test_another_video(self, coded, timeline, tmp_path):
        for video, message in (({"width": 640}, "640 x 180 pixels"), ({"duration": 20.0}, "of a video of 20.000 s")):
            other = dataclasses.replace(timeline, video={**timeline.video, **video})
            with pytest.raises(InputValidationError, match=message):
                other.clips(coded.path, "Ann", folder=tmp_path / "out")

    def test_files(self, coded, timeline, tmp_path):
        for path, message in ((tmp_path / "gone.mp4", "does not exist"), (__file__, "not a video")):
            with pytest.raises(InputValidationError, match=message):
                timeline.clips(path, "Ann", folder=tmp_path / "out")
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputValidationError, match="cannot write to the folder"):
            timeline.clips(coded.path, "Ann", folder=tmp_path / "file")

    def test_the_video_itself(self, coded, timeline, tmp_path):
        path = tmp_path / "Ann-002.mp4"
        path.write_bytes(coded.path.read_bytes())
        with pytest.raises(InputValidationError, match="the video that is to be read"):
            timeline.clips(path, "Ann", folder=tmp_path)
        assert path.read_bytes() == coded.path.read_bytes()
        assert len(list(tmp_path.iterdir())) == 1

    def test_without_time_stamps(self, timeline, tmp_path):
        with av.open(str(tmp_path / "v.h264"), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height = SIZE
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame(*SIZE, "yuv420p")))
            container.mux(stream.encode(None))
        with pytest.raises(InputValidationError, match="no time stamps"):
            timeline.clips(tmp_path / "v.h264", "Ann", folder=tmp_path)


class TestCommandLine:
    def test_clip(self, coded, timeline, tmp_path, capsys, small_split):
        timeline.to_json(tmp_path / "t.json")
        command = ["clip", str(coded.path), str(tmp_path / "t.json"), "-o", str(tmp_path / "out")]
        for who in ("Ann", "0"):
            assert main([*command, "--person", who, "--join", "--pad", "0.2", "--max-gap", "1"]) == 0
            assert capsys.readouterr().out == f"{tmp_path / 'out' / 'Ann.mp4'}  3.24 s\n"
        timeline.rename("Ann", None).to_json(tmp_path / "t.json")
        assert main([*command, "--person", "person 1", "--join"]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'out' / 'person 1.mp4'}  2.50 s\n"
        (tmp_path / "out" / "person 1.mp4").unlink()
        timeline.to_json(tmp_path / "t.json")
        assert main([*command, "--condense", "0.5", "--fast"]) == 0
        assert main([*command, "--person", "Ann", "--follow", "96x96", "--segment", "1", "--workers", "1"]) == 0
        assert main([*command, "--split", "Ann", "1"]) == 0
        names = {p.name for p in (tmp_path / "out").iterdir()}
        assert names == {"Ann.mp4", "Ann-001.mp4", "Ann-002.mp4", "Ann-003.mp4", "Ann+Bob-001.mp4", "v-condensed.mp4"}

    def test_errors(self, coded, timeline, tmp_path, capsys):
        timeline.to_json(tmp_path / "t.json")
        command = ["clip", str(coded.path), str(tmp_path / "t.json"), "-o", str(tmp_path / "out")]
        assert main([*command, "--person", "7"]) == 3
        assert "no person 7 in this timeline; there is Ann, Bob" in capsys.readouterr().err
        timeline.rename("Ann", None).to_json(tmp_path / "t.json")
        assert main([*command, "--person", "Ann"]) == 3
        assert "no person 'Ann' in this timeline; there is person 1, Bob" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*command, "--person", "Ann", "--follow", "square"])
        assert "'square' is not a size" in capsys.readouterr().err


def test_a_timeline_that_was_read_back(coded, timeline, tmp_path):
    """Times in a document are rounded; cuts are the same."""
    again = Timeline.from_json(timeline.to_json())
    (a, _), (b, _) = (t.clips(coded.path, "Ann", folder=tmp_path) for t in (timeline, again))
    assert a == b
