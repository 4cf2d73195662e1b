"""Hidden faces: who, where, for how long, and that nothing of them is left for the detector."""

from __future__ import annotations

import dataclasses
import json

import av
import numpy as np
import pytest
from render_clips import timeline_of

from fastface.cli import main
from fastface.drawing.cover import CELLS, ENLARGE, HOLD, Cover, hidden_people
from fastface.drawing.video import render
from fastface.errors import InputValidationError
from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces


def track_of(boxes, times, identity=0):
    """A timeline of one track."""
    m = len(times)
    faces = Faces(
        np.arange(m), np.array(times, np.float64), np.array(boxes, np.float32).reshape(m, 4), np.ones(m, np.float32),
        np.zeros((m, 5, 2), np.float32), np.zeros(m, np.int64), np.full(m, identity),
    )  # fmt: skip
    people = (Identity(0, "Ann", None, None, 1.0, (Span(0.0, 1.0, 0, m),)),)
    return Timeline({}, {}, people, (Track(0, identity if identity >= 0 else None, 0, m),), faces)


def covered(timeline, times, people=frozenset({0})):
    """How many boxes are covered at each time, and the last of them."""
    cover = Cover(timeline, people, "blur")
    boxes = [list(cover.boxes(t)) for t in times]
    return [len(b) for b in boxes], [b[-1] for b in boxes if b]


class TestWhere:
    def test_more_than_was_detected(self):
        ((box,)) = covered(track_of([[100, 100, 140, 160]], [1.0]), [1.0])[1]
        assert box.tolist() == [120 - 20 * ENLARGE, 130 - 30 * ENLARGE, 120 + 20 * ENLARGE, 130 + 30 * ENLARGE]

    def test_before_and_after_and_in_gaps(self):
        """Detected at 5.0 and 8.0 and at nothing between: covered from 4.5 on, until half a second after the end."""
        timeline = track_of([[0, 0, 10, 10], [30, 0, 40, 10]], [5.0, 8.0])
        times = np.arange(4.0, 13.0, 0.1)
        counts, _ = covered(timeline, times)
        on = times[np.array(counts) > 0]
        assert on[0] == pytest.approx(5 - HOLD, abs=0.11)
        assert on[-1] == pytest.approx(8 + HOLD + 3, abs=0.11)  # as rarely as it was looked at, so long nobody knows
        _, (middle,) = covered(timeline, [6.5])
        assert (middle[0] + middle[2]) / 2 == pytest.approx(20)

    def test_where_a_face_may_have_gone(self):
        """It went to the right: what is covered reaches from where it was to where it would be."""
        times = np.arange(10) / 10
        timeline = track_of([[100 + 50 * i, 0, 140 + 50 * i, 40] for i in range(10)], times)
        _, (box,) = covered(timeline, [0.9 + 0.4])
        assert box[0] < 550
        assert box[2] > 590 + 0.4 * 500
        _, (box,) = covered(timeline, [-0.4])
        assert box[0] < 100 - 0.4 * 500

    def test_only_those_who_are_hidden(self):
        for identity, people, count in ((0, {0}, 1), (0, {1}, 0), (-1, {0}, 0), (-1, {-1, 0}, 1)):
            assert covered(track_of([[0, 0, 9, 9]], [1.0], identity), [1.0], frozenset(people))[0] == [count]

    def test_a_track_of_which_only_some_faces_are_told(self):
        timeline = track_of([[0, 0, 9, 9]] * 3, [1.0, 1.1, 1.2])
        faces = dataclasses.replace(timeline.faces, identity=np.array([-1, 0, -1]))
        assert covered(dataclasses.replace(timeline, faces=faces), [1.0, 1.2])[0] == [1, 1]


class TestWho:
    def test_people(self, clip):
        path, truth = clip
        timeline = timeline_of(truth, path)
        assert hidden_people(timeline, None, ()) == {-1, 0, 1}
        assert hidden_people(timeline, None, ["ann"]) == {-1, 1}
        assert hidden_people(timeline, ["ann", 1], ()) == {0, 1}

    def test_refusals(self, clip, tmp_path):
        path, truth = clip
        timeline = timeline_of(truth, path)
        for settings, message in (
            ({"hide": "smear"}, "hide is 'smear', must be None or one of blur, pixelate"),
            ({"hide": "blur", "only": ["cem"]}, "no person 'cem'"),
            ({"hide": "blur", "only": ["ann"], "but": ["bob"]}, "give people in one of them"),
            ({"hide": "blur", "only": []}, "give people in one of them"),
            ({"but": ["ann"]}, "but hide is None"),
        ):
            with pytest.raises(InputValidationError, match=message):
                render(path, timeline, tmp_path / "out.mp4", **settings)
        assert not (tmp_path / "out.mp4").exists()


def noisy(path, out, rng):
    """A copy of a video with fine detail everywhere, of which something could be left."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=20, options={"crf": "10"})
        stream.width, stream.height = 320, 240
        noise = np.repeat(np.repeat(rng.integers(0, 256, (60, 80, 3)), 4, 0), 4, 1).astype(np.uint8)
        for frame in source.decode(video=0):
            picture = av.VideoFrame.from_ndarray(noise, format="rgb24")
            picture.pts, picture.time_base = frame.pts, frame.time_base
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))


@pytest.mark.parametrize("hide", ["blur", "pixelate"])
def test_what_is_left(clip, tmp_path, rng, hide):
    """Within what is covered there is little detail, around it all of it."""
    path, truth = clip
    noisy(path, tmp_path / "noisy.mp4", rng)
    timeline = timeline_of(truth, path)
    result = render(tmp_path / "noisy.mp4", timeline, tmp_path / "out.mp4", hide=hide, only=["ann"], boxes=True)
    assert result.frames == 40
    cover = Cover(timeline, frozenset({0}), hide)
    with av.open(str(tmp_path / "out.mp4")) as container:
        for i, frame in enumerate(container.decode(video=0)):
            grey = frame.to_ndarray(format="gray").astype(float)
            boxes = list(cover.boxes(float(frame.time)))
            assert len(boxes) == (i <= 20 + 20 * HOLD), "ann is there up to frame 19, and for a frame nobody knows"
            for box in boxes:
                x1, y1, x2, y2 = (round(v) for v in np.clip(box, 0, [320, 240, 320, 240]))
                inner = grey[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4]
                steps = np.abs(np.diff(inner, axis=1)) > 25
                assert steps.any(0).sum() <= 2 * CELLS[hide], "edges of cells only"
            assert np.abs(np.diff(grey[:, :40], axis=1)).max() > 25 or boxes


def test_command(clip, tmp_path, capsys):
    path, truth = clip
    timeline_of(truth, path).to_json(tmp_path / "t.json")
    command = ["render", str(path), str(tmp_path / "t.json"), "-o", str(tmp_path / "out.mp4")]
    for more in (["--blur"], ["--pixelate", "--except", "ann"], ["--blur", "--only", "1", "--boxes", "--landmarks"],
                 ["--no-names", "--landmarks"]):  # fmt: skip
        assert main([*command, *more]) == 0
        (tmp_path / "out.mp4").unlink()
    capsys.readouterr()
    assert main([*command, "--except", "ann"]) == 3
    assert "hide is None" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "out.png"), "--blur"]) == 3
    assert "--blur is for videos" in capsys.readouterr().err


def found_again(video, timeline, hide, out, *, every, min_face_size):
    """Scores of the faces that the detector finds at covered places of the rendered video, and how many places."""
    from fastface.decode.libav import LibavDecoder
    from fastface.detect import MTCNN
    from fastface.settings import DetectorSettings

    render(video, timeline, out, hide=hide)
    detector, cover = (
        MTCNN(DetectorSettings(min_face_size=min_face_size)),
        Cover(timeline, hidden_people(timeline, None, ()), hide),
    )
    scores, places = [], 0
    with LibavDecoder(out, every=every) as decoder:
        for batch in decoder:
            found = detector.detect(batch.pixels)
            middle = (found.box[:, :2] + found.box[:, 2:]) / 2
            for row, time in enumerate(batch.time):
                boxes = list(cover.boxes(float(time)))
                places += len(boxes)
                for k in np.flatnonzero(found.row == row):
                    if any((b[:2] <= middle[k]).all() and (middle[k] <= b[2:]).all() for b in boxes):
                        scores.append(float(found.score[k]))
    return scores, places


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("hide", ["blur", "pixelate"])
def test_the_detector_finds_nothing_on_people(media, tmp_path, rng, hide):
    """A timeline of the truth, with what a detector does to it: off by two pixels, one in ten frames missing."""
    truth = json.loads((media / "people.json").read_text())
    truth["times"] = [i / truth["fps"] for i in range(len(truth["frames"]))]
    exact = timeline_of(truth, media / "people.mp4")
    kept = rng.random(len(exact.faces)) > 0.1
    faces = dataclasses.replace(exact.faces, box=exact.faces.box + rng.normal(0, 2, exact.faces.box.shape).astype("f4"))
    timeline = dataclasses.replace(exact, faces=faces[kept])
    scores, places = found_again(
        media / "people.mp4", timeline, hide, tmp_path / "out.mp4", every=30, min_face_size=40
    )  # fmt: skip
    assert places > 40
    assert max(scores, default=0) < 0.9


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("hide", ["blur", "pixelate"])
def test_the_detector_finds_nothing_on_hamilton(media, tmp_path, hide, embedder_spec):
    import fastface

    timeline = fastface.process(media / "hamilton.mp4", device="cpu", every=2)
    scores, places = found_again(media / "hamilton.mp4", timeline, hide, tmp_path / "o.mp4", every=1, min_face_size=20)
    assert places > 400
    assert max(scores, default=0) < 0.9
