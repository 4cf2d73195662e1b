"""The picture of a timeline: bars in the right colour, at the right place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from render_clips import timeline_of

from fastface.drawing.colors import identity_color
from fastface.drawing.picture import MOST_PEOPLE, timeline_picture
from fastface.errors import InputValidationError
from fastface.timeline import Identity, Span, Timeline
from fastface.types import Faces

LEFT, RIGHT = 316, 1552  # where time begins and ends, at the default width


def read(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def columns_of(pixels, colour):
    """x of the columns in which at least 15 pixels right of the names have exactly this colour."""
    hits = (np.abs(pixels - np.array(colour)).sum(-1) < 12).sum(0)
    hits[:LEFT] = 0
    return np.flatnonzero(hits >= 15)


def test_bars_are_where_the_spans_are(clip, tmp_path):
    path, truth = clip
    timeline = timeline_of(truth, path)
    assert timeline_picture(timeline, path, tmp_path / "p.png") == tmp_path / "p.png"
    pixels = read(tmp_path / "p.png")
    assert pixels.shape[1] == 1600
    for person in timeline.identities:
        (span,) = person.instances
        found = columns_of(pixels, identity_color(person.id))
        expected = [LEFT + (RIGHT - LEFT) * t / 2.0 for t in (span.start, span.end)]
        assert found.min() == pytest.approx(expected[0], abs=3)
        assert found.max() == pytest.approx(expected[1], abs=3)


def test_face_is_the_one_of_the_person(clip, tmp_path):
    """The photographs' faces are of two greys, and so are the avatars."""
    path, truth = clip
    timeline = timeline_of(truth, path)
    timeline_picture(timeline, path, tmp_path / "p.png")
    pixels = read(tmp_path / "p.png")
    for person, grey in zip(timeline.identities, (150, 90), strict=True):
        ring = np.argwhere(np.abs(pixels[:, :140] - identity_color(person.id)).sum(-1) < 12)
        y, x = (ring.min(0) + ring.max(0)) // 2
        assert np.abs(pixels[y - 5 : y + 5, x - 5 : x + 5] - grey).mean() < 12


def test_strip_shows_the_video(clip, tmp_path):
    path, truth = clip
    timeline_picture(timeline_of(truth, path), path, tmp_path / "p.png")
    strip = read(tmp_path / "p.png")[155:200, LEFT + 5 : RIGHT - 5]
    assert np.mean(np.abs(strip - 255).sum(-1) < 10) < 0.1, "the strip of frames has holes"


def test_nobody_and_very_many(clip, tmp_path):
    path, truth = clip
    nobody = dataclasses.replace(timeline_of(truth, path), identities=(), tracks=(), faces=Faces.empty())
    timeline_picture(nobody, path, tmp_path / "0.png")
    crowd = tuple(
        Identity(
            i, None, None, None, 100.0 - i, (Span(i * 200.0, i * 200.0 + 100 - i, i * 5000, i * 5000 + 2500),)
        )
        for i in range(MOST_PEOPLE + 20)
    )
    long = Timeline(
        {"path": "x.mp4", "width": 320, "height": 240, "duration": 3 * 3600.0}, {}, crowd, (), Faces.empty()
    )
    timeline_picture(long, path, tmp_path / "40.png")
    none, many = read(tmp_path / "0.png"), read(tmp_path / "40.png")
    assert many.shape[0] > none.shape[0] + 1000
    # The person with the least screen time that is shown has a bar; at three hours 2.5 pixels are all there
    # is.
    last = many[-64 - 60 : -64]
    hits = (
        np.flatnonzero(
            (np.abs(last - np.array(identity_color(MOST_PEOPLE - 1))).sum(-1) < 12)[:, LEFT:].sum(0) > 10
        )
        + LEFT
    )
    assert hits.min() == pytest.approx(LEFT + (RIGHT - LEFT) * (MOST_PEOPLE - 1) * 200 / 10800, abs=3)


@pytest.mark.parametrize("width", [800, 2400])
def test_width(clip, tmp_path, width):
    path, truth = clip
    timeline_picture(timeline_of(truth, path), path, tmp_path / "p.png", width=width)
    assert read(tmp_path / "p.png").shape[1] == width


def test_refusals_leave_nothing(clip, tmp_path):
    path, truth = clip
    timeline, before = timeline_of(truth, path), sorted(tmp_path.iterdir())
    for arguments, message in [
        ((timeline, path, tmp_path / "p.jpg"), "must end in .png"),
        ((timeline, tmp_path / "gone.mp4", tmp_path / "p.png"), "does not exist"),
        ((timeline, path, tmp_path / "gone" / "p.png"), "does not exist"),
    ]:
        with pytest.raises(InputValidationError, match=message):
            timeline_picture(*arguments)
    with pytest.raises(InputValidationError, match="is 10"):
        timeline_picture(timeline, path, tmp_path / "p.png", width=10)
    assert sorted(tmp_path.iterdir()) == before
