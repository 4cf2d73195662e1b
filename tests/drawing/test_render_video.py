"""The annotated video: boxes where they belong, time and sound as they were."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest
from render_clips import timeline_of, two_people

from fastface.demo.compose import Encoding, compose_shots
from fastface.demo.scene import draw_shots
from fastface.drawing.colors import UNKNOWN, identity_color
from fastface.drawing.video import render
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.timeline import Timeline
from fastface.types import Faces


def frames_of(path, turn=False):
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def stamps_of(path):
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        return [f.pts * base for f in container.decode(video=0)]


def sound_of(path):
    with av.open(str(path)) as container:
        base = container.streams.audio[0].time_base
        return [(bytes(p), p.pts * base) for p in container.demux(audio=0) if p.size]


def colour_on_edges(pixels, box, inset=1):
    """[4, 3] mean colour along the left, top, right and bottom edge of a box, just inside."""
    x1, y1, x2, y2 = (2 * round(v / 2) for v in box)
    edges = [pixels[y1 + 6 : y2 - 6, x1 : x1 + 2], pixels[y1 : y1 + 2, x1 + 6 : x2 - 6],
             pixels[y1 + 6 : y2 - 6, x2 - 2 : x2], pixels[y2 - 2 : y2, x1 + 6 : x2 - 6]]  # fmt: skip
    return np.array([e.reshape(-1, 3).mean(0) for e in edges])


def assert_boxes(frames, truth, colour_of, tolerance=45):
    for pixels, faces in zip(frames, truth["frames"], strict=True):
        for face in faces:
            found = colour_on_edges(pixels, face["box"])
            assert np.abs(found - colour_of(face["name"])).max() < tolerance, (face, found)


def test_boxes_time_and_sound(clip, tmp_path):
    path, truth = clip
    timeline, out = timeline_of(truth, path), tmp_path / "out.mp4"
    calls = []
    result = render(path, timeline, out, progress=lambda done, total: calls.append((done, total)))
    assert (result.path, result.frames, result.notes) == (out, 40, ())
    assert calls == [(i, 40) for i in range(1, 41)]
    assert stamps_of(out) == stamps_of(path)
    assert sound_of(out) == sound_of(path)
    frames, colours = frames_of(out), {"ann": identity_color(0), "bob": identity_color(1)}
    assert_boxes(frames, truth, colours.__getitem__)
    # Far from boxes and labels nothing is changed, but for the encoding.
    for before, after in zip(frames_of(path), frames, strict=True):
        assert np.abs(before[-20:].astype(int) - after[-20:]).mean() < 2
    # The name's tag is above the box, in the person's colour.
    x1, y1, _, _ = truth["frames"][0][0]["box"]
    tag = frames[0][round(y1) - 16 : round(y1) - 4, round(x1) + 2 : round(x1) + 5]
    assert np.abs(tag.reshape(-1, 3).mean(0) - identity_color(0)).max() < 45


def test_boxes_are_not_drawn_where_nobody_is(clip, tmp_path):
    path, truth = clip
    timeline, out = timeline_of(truth, path), tmp_path / "out.mp4"
    render(path, timeline, out)
    (ann,), (bob,) = truth["frames"][0], truth["frames"][-1]
    frames = frames_of(out)
    assert np.abs(colour_on_edges(frames[-1], ann["box"]) - identity_color(0)).max() > 60
    assert np.abs(colour_on_edges(frames[0], bob["box"]) - identity_color(1)).max() > 60


def test_unknown_faces_get_a_thin_grey_line(clip, tmp_path):
    path, truth = clip
    render(path, timeline_of(truth, path, known=False), tmp_path / "out.mp4")
    frames = frames_of(tmp_path / "out.mp4")
    assert_boxes(frames[20:], {"frames": truth["frames"][20:]}, lambda name: UNKNOWN)
    x1, y1, x2, y2 = (2 * round(v / 2) for v in truth["frames"][30][0]["box"])
    inner = frames[30][y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].reshape(-1, 3).mean(0)
    assert np.abs(inner - 90).max() < 15


def test_variable_frame_rate_is_kept(tmp_path):
    pts = [500, 510, 530, 900, 905, 2000, 2040, 2041, 3000]
    path, out = tmp_path / "v.mp4", tmp_path / "out.mp4"
    truth = compose_shots(path, two_people(0.08), size=(320, 240), pts=pts, time_base=Fraction(1, 16000))
    render(path, timeline_of(truth, path), out)
    assert stamps_of(out) == stamps_of(path) == [Fraction(p, 16000) for p in pts]
    assert_boxes(frames_of(out), truth, lambda name: identity_color({"ann": 0, "bob": 1}[name]))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied_to_the_pixels(tmp_path, rotation):
    path, out = tmp_path / "r.mp4", tmp_path / "out.mp4"
    truth = compose_shots(
        path, two_people(0.3), size=(320, 240), fps=10, encoding=Encoding(rotation=rotation)
    )
    for told in ({}, {"rotation": rotation}):
        timeline = timeline_of(truth, path)
        timeline = dataclasses.replace(timeline, video={**timeline.video, **told})
        render(path, timeline, out)
        with av.open(str(out)) as container:
            frames = list(container.decode(video=0))
        assert all(f.rotation == 0 for f in frames)
        pixels = [f.to_ndarray(format="rgb24") for f in frames]
        assert pixels[0].shape == (240, 320, 3)
        # Below the boxes the picture is the one that was composed, the right way up.
        ((composed, _),) = draw_shots(two_people(0.3), [0.0], size=(320, 240))
        assert np.abs(composed[190:].astype(int) - pixels[0][190:]).mean() < 5
        assert_boxes(pixels, truth, lambda name: identity_color({"ann": 0, "bob": 1}[name]))


def test_every_nth_frame_is_interpolated_and_held(clip, tmp_path):
    path, truth = clip
    timeline, out = timeline_of(truth, path, every=7), tmp_path / "out.mp4"
    assert len(set(timeline.faces.frame.tolist())) == 6
    render(path, timeline, out)
    frames = frames_of(out)
    # From the first frame looked at in a track to its end; the drift is slow enough for the held boxes as
    # well.
    for i in [*range(20), *range(21, 36)]:
        (face,) = truth["frames"][i]
        colour = identity_color({"ann": 0, "bob": 1}[face["name"]])
        x1, y1, _, y2 = (int(v) for v in face["box"])
        row = frames[i][(y1 + y2) // 2, max(x1 - 12, 0) : x1 + 14].astype(int)
        assert np.abs(row - colour).sum(-1).min() < 90, i


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_colour_tags_are_kept(tmp_path, matrix, full):
    path, out = tmp_path / "c.mp4", tmp_path / "out.mp4"
    truth = compose_shots(
        path, two_people(0.2), size=(320, 240), fps=10, encoding=Encoding(matrix=matrix, full_range=full)
    )
    render(path, timeline_of(truth, path), out)
    tags = []
    for name in (path, out):
        with av.open(str(name)) as container:
            context = container.streams.video[0].codec_context
            next(container.decode(video=0))
            tags.append((context.colorspace, context.color_range, context.color_primaries, context.color_trc))
    assert tags[0] == tags[1]
    assert tags[0][:2] == ({"bt709": 1, "bt601": 6}[matrix], 2 if full else 1)
    before, after = frames_of(path)[0], frames_of(out)[0]
    assert np.abs(before[-20:].astype(int) - after[-20:]).mean() < 2


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("libx264", "yuv444p"), ("libx264", "yuv420p10le"), ("libx264rgb", "rgb24")]
)
def test_other_pixel_formats(tmp_path, codec, pixel_format):
    path, out = tmp_path / "f.mkv", tmp_path / "out.mp4"
    encoding = Encoding(codec=codec, pixel_format=pixel_format)
    truth = compose_shots(path, two_people(0.2), size=(320, 240), fps=10, encoding=encoding)
    render(path, timeline_of(truth, path), out)
    assert_boxes(frames_of(out), truth, lambda name: identity_color({"ann": 0, "bob": 1}[name]))
    assert np.abs(frames_of(path)[0][-20:].astype(int) - frames_of(out)[0][-20:]).mean() < 3


def test_odd_sizes_get_one_pixel_more(tmp_path):
    path, out = tmp_path / "o.mkv", tmp_path / "out.mp4"
    truth = compose_shots(
        path, two_people(0.2), size=(321, 241), fps=10, encoding=Encoding(pixel_format="yuv444p")
    )
    render(path, timeline_of(truth, path), out)
    frames = frames_of(out)
    assert frames[0].shape == (242, 322, 3)
    assert_boxes(frames, truth, lambda name: identity_color({"ann": 0, "bob": 1}[name]))


def test_sound_that_does_not_fit_is_encoded_anew_aloud(tmp_path):
    path, out = tmp_path / "s.mkv", tmp_path / "out.mp4"
    with av.open(str(path), "w") as container:
        video, audio = (
            container.add_stream("libx264", rate=10),
            container.add_stream("wavpack", rate=44100, layout="mono"),
        )
        video.width, video.height = 64, 64
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts = i
            container.mux(video.encode(frame))
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 44100, 2048 * i, Fraction(1, 44100)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    result = render(path, Timeline({"width": 64, "height": 64}, {}, (), (), Faces.empty()), out)
    assert result.frames == 10
    assert len(result.notes) == 1
    assert "wavpack" in result.notes[0]
    assert "AAC" in result.notes[0]
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = sum(f.samples for f in container.decode(audio=0))
    assert samples == pytest.approx(20480, abs=3000)


def test_boxes_beyond_the_picture(clip, tmp_path):
    path, truth = clip
    timeline = timeline_of(truth, path)
    box = timeline.faces.box.copy()
    box[0::4] = (-40.5, -30, 60, 70)
    box[1::4] = (290, 200, 400, 300)
    box[2::4] = (-100, -100, 500, 500)
    box[3::4] = (400, 300, 500, 400)
    faces = dataclasses.replace(timeline.faces, box=box)
    assert render(path, dataclasses.replace(timeline, faces=faces), tmp_path / "out.mp4").frames == 40


def test_names_in_any_script(clip, tmp_path):
    path, truth = clip
    timeline = timeline_of(truth, path)
    people = tuple(
        dataclasses.replace(p, name=n)
        for p, n in zip(timeline.identities, ["Zoë 王小明\n", "x" * 300], strict=True)
    )
    assert (
        render(
            path, dataclasses.replace(timeline, identities=people), tmp_path / "out.mp4", similarity=True
        ).frames
        == 40
    )


class TestRefusals:
    """Errors name what is wrong, and nothing half-written stays."""

    def check(self, tmp_path, kind, match, path, timeline, out):
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        with pytest.raises(kind, match=match):
            render(path, timeline, out)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

    def test_timeline_of_another_size(self, clip, tmp_path):
        path, truth = clip
        timeline = timeline_of({**truth, "size": [640, 480]}, path)
        self.check(tmp_path, InputValidationError, "640 x 480", path, timeline, tmp_path / "o.mp4")

    def test_timeline_of_a_longer_video(self, clip, tmp_path):
        path, truth = clip
        long = {**truth, "frames": truth["frames"] * 2, "times": [i / 20 for i in range(80)]}
        self.check(
            tmp_path, InputValidationError, "frame 79", path, timeline_of(long, path), tmp_path / "o.mp4"
        )

    def test_timeline_of_another_rate(self, clip, tmp_path):
        path, truth = clip
        slow = {**truth, "times": [i / 5 for i in range(40)]}
        self.check(
            tmp_path, InputValidationError, "not of", path, timeline_of(slow, path), tmp_path / "o.mp4"
        )

    def test_no_such_video(self, clip, tmp_path):
        path, truth = clip
        self.check(
            tmp_path,
            InputValidationError,
            "does not exist",
            tmp_path / "gone.mp4",
            timeline_of(truth, path),
            tmp_path / "o.mp4",
        )

    def test_not_a_video(self, clip, tmp_path):
        path, truth = clip
        (tmp_path / "text.mp4").write_text("hello " * 1000)
        self.check(
            tmp_path,
            InputValidationError,
            "is not a video",
            tmp_path / "text.mp4",
            timeline_of(truth, path),
            tmp_path / "o.mp4",
        )

    def test_output_names(self, clip, tmp_path):
        path, truth = clip
        timeline = timeline_of(truth, path)
        self.check(tmp_path, InputValidationError, "must end in", path, timeline, tmp_path / "o.avi")
        self.check(
            tmp_path, InputValidationError, "does not exist", path, timeline, tmp_path / "gone" / "o.mp4"
        )
        self.check(tmp_path, InputValidationError, "to be read", path, timeline, path)

    def test_damaged_beyond_use(self, clip, tmp_path):
        path, truth = clip
        raw = bytearray(path.read_bytes())
        start = raw.index(b"mdat") + 4
        raw[start : start + 100000] = b"\x00" * len(raw[start : start + 100000])
        moov = path.read_bytes().index(b"moov") - 4
        raw[moov:] = path.read_bytes()[moov:]
        (tmp_path / "bad.mp4").write_bytes(raw)
        self.check(
            tmp_path,
            VideoProcessingError,
            "no frame",
            tmp_path / "bad.mp4",
            timeline_of(truth, path),
            tmp_path / "o.mp4",
        )
