"""Timeline.thumbnails: the right face, whole, in the size that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_clips import GREEN, RED

from fastface.errors import InputValidationError
from timelines import make_timeline


def middle(picture: np.ndarray) -> np.ndarray:
    side = len(picture)
    return np.median(picture[side * 2 // 5 : side * 3 // 5, side * 2 // 5 : side * 3 // 5].reshape(-1, 3), axis=0)


@pytest.mark.parametrize("size", [16, 96, 301])
def test_faces(drawn, size: int) -> None:
    video, timeline = drawn
    thumbnails = timeline.thumbnails(video, size=size)
    assert set(thumbnails) == {0, 1}, "the third has no face"
    for who, colour in ((0, RED), (1, GREEN)):
        assert thumbnails[who].shape == (size, size, 3)
        assert thumbnails[who].dtype == np.uint8
        np.testing.assert_allclose(middle(thumbnails[who]), colour, atol=14)


def test_the_best_face_counts(drawn) -> None:
    """The largest and surest that is wholly in the picture: here the one of the dark ground."""
    video, timeline = drawn
    score = np.where(timeline.faces.frame < 40, 0.5, 0.99).astype(np.float32)
    dark = replace(timeline, faces=replace(timeline.faces, score=score)).thumbnails(video)
    light = replace(timeline, faces=replace(timeline.faces, score=1.49 - score)).thumbnails(video)
    assert dark[0][:4].mean() < light[0][:4].mean()


def test_by_default(drawn) -> None:
    video, timeline = drawn
    assert timeline.thumbnails(str(video))[0].shape == (96, 96, 3)


def test_a_stream_without_time_stamps(drawn, tmp_path: Path) -> None:
    """Its frames come at the average rate, as the decoder has them, and it cannot be sought in."""
    import av

    from fastface.decode import LibavDecoder

    video, timeline = drawn
    with av.open(str(video)) as source, av.open(str(tmp_path / "film.h264"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with LibavDecoder(tmp_path / "film.h264") as decoder:
        times = np.concatenate([batch.time for batch in decoder])
        assert any("without a time stamp" in warning for warning in decoder.stats.warnings)
    raw = replace(timeline, faces=replace(timeline.faces, time=times[timeline.faces.frame]))
    thumbnails = raw.thumbnails(tmp_path / "film.h264")
    for who, colour in ((0, RED), (1, GREEN)):
        np.testing.assert_allclose(middle(thumbnails[who]), colour, atol=14)


def test_refusals(drawn, tmp_path: Path) -> None:
    video, timeline = drawn
    for size in (15, 1025):
        with pytest.raises(InputValidationError, match=rf"size is {size}, must be in \[16, 1024\]"):
            timeline.thumbnails(video, size=size)
    with pytest.raises(InputValidationError, match="does not exist"):
        timeline.thumbnails(tmp_path / "gone.mp4")
    with pytest.raises(InputValidationError, match="shows 320 x 240"):
        replace(timeline, video={**timeline.video, "height": 360}).thumbnails(video)
    nobody = replace(timeline, identities=(), tracks=(), faces=timeline.faces[:0])
    assert nobody.thumbnails(video) == {}
    with pytest.raises(InputValidationError, match="shows 320 x 240"):
        replace(nobody, video={**timeline.video, "height": 360}).thumbnails(video)


def test_times_beyond_the_video(drawn) -> None:
    """Documents may hold any time; a face whose frame is not there has no picture."""
    video, timeline = drawn
    for seconds in (100.0, 1e29):
        late = replace(timeline.faces, time=timeline.faces.time + np.where(timeline.faces.identity == 1, seconds, 0))
        order = np.argsort(late.time, kind="stable")
        late = replace(late, time=late.time)[order]
        assert set(replace(timeline, faces=late).thumbnails(video)) == {0}


def test_a_picture_that_changes_size(tmp_path: Path) -> None:
    """It is scaled back, as the decoder does, because boxes are in the first size."""
    import av

    parts = []
    for width, ground in ((320, RED), (160, GREEN)):
        with av.open(str(tmp_path / "part.h264"), "w", format="h264") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, width * 3 // 4, "yuv420p"
            pixels = np.full((width * 3 // 4, width, 3), ground, np.uint8)
            pixels[width // 2 :] = 128
            for _ in range(10):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            out.mux(stream.encode(None))
        parts.append((tmp_path / "part.h264").read_bytes())
    (tmp_path / "both.h264").write_bytes(b"".join(parts))
    timeline = make_timeline([("Ann", [(0, 5)]), ("Bob", [(12, 18)])], rate=25, frames=20, size=(320, 240))
    box = np.tile(np.array([[100, 80, 140, 120]], np.float32), (len(timeline.faces), 1))
    both = replace(timeline, faces=replace(timeline.faces, box=box)).thumbnails(tmp_path / "both.h264")
    for who, colour in ((0, RED), (1, GREEN)):
        np.testing.assert_allclose(middle(both[who]), colour, atol=14)
