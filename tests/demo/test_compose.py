"""Composed videos: what is in the frames is what the truth says."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fastface.demo.compose import Encoding, compose_shots
from fastface.demo.scene import Actor, Photo, Shot, draw_shots
from fastface.demo.script import compose, random_shots
from fastface.errors import InputValidationError, VideoProcessingError

GREEN, RED = (20, 200, 40), (220, 30, 30)


def photo(colour=GREEN, size=(80, 100), box=(20, 20, 50, 60), ground=(30, 60, 220)):
    """A photograph whose face is a rectangle of one colour."""
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:] = ground
    pixels[box[1] : box[3], box[0] : box[2]] = colour
    return Photo(pixels, box)


def extent(pixels, colour, tolerance=60):
    """xyxy of the pixels of about this colour."""
    ys, xs = np.nonzero(np.abs(pixels.astype(int) - colour).sum(-1) < tolerance)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("rotation", [0.0, 7.0, -30.0])
def test_drawn_face_is_where_the_truth_says(rotation):
    actor = Actor(photo(), "ann", (120.3, 110.7), (180.9, 140.2), 100, 150, rotation)
    shot = Shot(1.0, [actor], (10, 10, 10))
    for pixels, truth in draw_shots([shot], np.linspace(0, 1, 7).tolist(), size=(320, 240)):
        assert [t["name"] for t in truth] == ["ann"]
        x1, y1, x2, y2 = truth[0]["box"]
        # The truth is upright, of the face's own size; a turned rectangle reaches further.
        assert (x2 - x1) / (y2 - y1) == pytest.approx(30 / 40, abs=0.01)
        cos, sin = math.cos(math.radians(rotation)), abs(math.sin(math.radians(rotation)))
        half = np.array([(x2 - x1) * cos + (y2 - y1) * sin, (x2 - x1) * sin + (y2 - y1) * cos]) / 2
        centre = np.array([x1 + x2, y1 + y2]) / 2
        np.testing.assert_allclose(extent(pixels, GREEN), [*(centre - half), *(centre + half)], atol=2.5)


def test_motion_is_finer_than_a_pixel():
    """A face that moves a quarter of a pixel a frame has a centre of mass that does, not one that jumps."""
    shot = Shot(1.0, [Actor(photo(), "ann", (100.0, 100.0), (105.0, 100.0), 120)], (0, 0, 0))
    centres = []
    for pixels, _ in draw_shots([shot], [i / 20 for i in range(21)], size=(240, 200)):
        weight = np.clip(pixels[..., 1].astype(float) - pixels[..., 2], 0, None)
        centres.append((weight.sum(0) * np.arange(240)).sum() / weight.sum())
    np.testing.assert_allclose(np.diff(centres), 0.25, atol=0.05)


def test_video_shows_the_truth(tmp_path):
    shots = [
        Shot(0.5, [Actor(photo(), "ann", (80, 100), (100, 110), 120, 130),
                   Actor(photo(RED), "bob", (230, 120), None, 140)], (10, 10, 10)),
        Shot(0.3, [], photo()),
        Shot(0.4, [Actor(photo(RED), "bob", (90, 100), None, 120)], (90, 90, 90)),
    ]  # fmt: skip
    truth = compose_shots(tmp_path / "a.mp4", shots, size=(320, 240), fps=20)
    frames = decoded(tmp_path / "a.mp4")
    assert len(frames) == len(truth["frames"]) == 24
    assert [len(f) for f in truth["frames"]] == [2] * 10 + [0] * 6 + [1] * 8
    for pixels, here in zip(frames, truth["frames"], strict=True):
        for face in here:
            colour = {"ann": GREEN, "bob": RED}[face["name"]]
            np.testing.assert_allclose(extent(pixels, colour, 90), face["box"], atol=4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert float(
            container.streams.audio[0].duration * container.streams.audio[0].time_base
        ) == pytest.approx(1.2, abs=0.1)


def test_face_outside_the_picture_is_not_in_the_truth():
    shot = Shot(1.0, [Actor(photo(), "ann", (100, 100), (-200, 100), 100)], (0, 0, 0))
    present = [bool(truth) for _, truth in draw_shots([shot], [0.0, 0.2, 0.8, 1.0], size=(320, 240))]
    assert present == [True, True, False, False]


def test_time_stamps_are_those_asked_for(tmp_path):
    pts = [900, 1000, 1500, 1510, 4000]
    truth = compose_shots(tmp_path / "v.mp4", [Shot(0.02, [Actor(photo(), "ann", (80, 80))], RED), Shot(1.0)],
                          size=(160, 120), pts=pts, time_base=Fraction(1, 15000), audio=False)  # fmt: skip
    with av.open(str(tmp_path / "v.mp4")) as container:
        base = container.streams.video[0].time_base
        times = [frame.pts * base for frame in container.decode(video=0)]
    assert times == [Fraction(p, 15000) for p in pts]
    assert truth["times"] == pytest.approx([0, 100 / 15000, 600 / 15000, 610 / 15000, 3100 / 15000])
    assert [bool(f) for f in truth["frames"]] == [True, True, False, False, False]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_turns_back_to_what_was_composed(tmp_path, rotation):
    actor = Actor(photo(), "ann", (60, 50), None, 80)
    shots = [Shot(0.2, [actor], (0, 0, 0))]
    truth = compose_shots(tmp_path / "r.mp4", shots, size=(192, 128), fps=10, audio=False,
                          encoding=Encoding(rotation=rotation))  # fmt: skip
    with av.open(str(tmp_path / "r.mp4")) as container:
        frame = next(container.decode(video=0))
    assert -frame.rotation % 360 == rotation
    shown = np.rot90(frame.to_ndarray(format="rgb24"), -rotation // 90)
    assert shown.shape[:2] == (128, 192)
    np.testing.assert_allclose(extent(shown, GREEN, 90), truth["frames"][0][0]["box"], atol=4)


@pytest.mark.parametrize(
    ("matrix", "full", "expected"),
    [("bt709", False, (63, 102, 240)), ("bt601", False, (81, 90, 240)), ("bt601", True, (76, 85, 255))],
)
def test_colours_are_coded_as_tagged(tmp_path, matrix, full, expected):
    """Pure red in YUV, from the definitions of BT.601 and BT.709."""
    compose_shots(tmp_path / "c.mp4", [Shot(0.2, [], (255, 0, 0))], size=(64, 64), fps=10, audio=False,
                  encoding=Encoding(matrix=matrix, full_range=full, options={"crf": "1"}))  # fmt: skip
    with av.open(str(tmp_path / "c.mp4")) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (
            {"bt709": 1, "bt601": 6}[matrix],
            2 if full else 1,
        )
        levels = [
            np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, : p.width].mean() for p in frame.planes
        ]
    np.testing.assert_allclose(levels, expected, atol=2)


def test_encoder_settings_arrive(tmp_path):
    shots = [Shot(2.0, [Actor(photo(), "ann", (80, 60), (90, 60))], (0, 0, 0))]
    compose_shots(
        tmp_path / "g.mp4", shots, size=(160, 120), fps=10, audio=False, encoding=Encoding(gop=4, b_frames=0)
    )
    with av.open(str(tmp_path / "g.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert [i for i, p in enumerate(packets) if p.is_keyframe] == [0, 4, 8, 12, 16]
    assert all(p.pts == p.dts for p in packets)
    compose_shots(tmp_path / "h.mkv", shots, size=(160, 120), fps=10,
                  encoding=Encoding(codec="libx265", pixel_format="yuv420p10le"))  # fmt: skip
    with av.open(str(tmp_path / "h.mkv")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


def test_random_script_is_repeatable_and_shows_everybody(tmp_path):
    people = {name: [photo(), photo(RED)] for name in ("ann", "bob", "cid")}
    settings = {"seconds": 24.0, "size": (640, 360), "shots": 12}
    first = random_shots(people, seed=3, **settings)
    assert [s.actors for s in first] != [s.actors for s in random_shots(people, seed=4, **settings)]
    again = random_shots(people, seed=3, **settings)
    assert [[(a.name, a.start, a.height) for a in s.actors] for s in first] == [
        [(a.name, a.start, a.height) for a in s.actors] for s in again
    ]
    assert sum(s.seconds for s in first) == pytest.approx(24.0)
    assert {a.name for s in first for a in s.actors} == set(people)
    assert {len(s.actors) for s in first} <= {0, 1, 2, 3}
    for shot in first:
        names = [a.name for a in shot.actors]
        assert len(set(names)) == len(names)
        for u in (0.0, 1.0):
            ((_, truth),) = draw_shots([shot], [u * shot.seconds * 0.999], size=(640, 360))
            boxes = np.array([t["box"] for t in truth]).reshape(-1, 4)
            assert len(boxes) == len(names), "a face left the picture"
            assert (boxes[:, :2] >= 0).all()
            assert (boxes[:, 2:] <= (640, 360)).all()


def test_next_person_takes_the_same_place():
    people = {
        name: [photo(), photo(RED, size=(120, 90), box=(60, 20, 80, 50))] for name in ("ann", "bob", "cid")
    }
    shots = random_shots(people, seed=1, seconds=100.0, size=(640, 360), shots=50)
    places = 0
    for before, after in itertools.pairwise(shots):
        if len(before.actors) == len(after.actors) == 1 and before.actors[0].name != after.actors[0].name:
            ((_, old),) = draw_shots([before], [before.seconds * 0.9999], size=(640, 360))
            ((_, new),) = draw_shots([after], [0.0], size=(640, 360))
            a, b = np.array(old[0]["box"]), np.array(new[0]["box"])
            places += bool(np.abs((a[:2] + a[2:] - b[:2] - b[2:]) / 2).max() < 1.0)
    assert places >= 3


def test_nothing_is_left_when_it_fails(tmp_path):
    shot = Shot(0.2, [], RED)
    with pytest.raises(InputValidationError, match="no-such-codec"):
        compose_shots(tmp_path / "a.mp4", [shot], size=(64, 64), encoding=Encoding(codec="no-such-codec"))
    with pytest.raises(VideoProcessingError):
        compose_shots(tmp_path / "a.mp4", [shot], size=(65, 63), audio=False)
    with pytest.raises(InputValidationError, match=r"gone\.jpg"):
        compose_shots(
            tmp_path / "a.mp4", [Shot(1, [], Photo(tmp_path / "gone.jpg", (0, 0, 9, 9)))], size=(64, 64)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: compose_shots(p, []), "at least one Shot"),
        (lambda p: compose_shots(p, [Shot(1)], fps=0), "fps must be > 0, is 0"),
        (lambda p: compose_shots(p, [Shot(1)], pts=[0, 2, 2]), "strictly ascending"),
        (lambda p: compose(p, {"ann": []}, seed=0, seconds=1), "ann"),
        (lambda p: Photo(np.zeros((9, 9, 3), np.uint8), (5, 5, 5, 9)), "x1 < x2"),
        (lambda p: Encoding(rotation=45), "is 45"),
        (lambda p: Shot(0), "is 0"),
    ],
)
def test_errors_say_what_is_wrong(tmp_path, call, message):
    with pytest.raises(InputValidationError, match=message):
        call(Path(tmp_path / "x.mp4"))


def test_transparent_and_grey_photographs(tmp_path):
    from PIL import Image

    from fastface.demo.scene import load_rgb

    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    assert load_rgb(tmp_path / "clear.png").getpixel((4, 4)) == (255, 255, 255)
    assert load_rgb(tmp_path / "grey.png").getpixel((4, 4)) == (77, 77, 77)
