"""End to end: a composed film of known truth goes in, the right people come out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest

import fastface
from fastface import models
from fastface.demo.compose import Encoding, compose_shots
from fastface.demo.scene import Shot
from fastface.errors import GPUError, InputValidationError
from fastface.match.naming import similarity_threshold
from fastface.pipeline import Pipeline
from fastface.timeline import Timeline
from film import FPS, MODEL, PEOPLE, SHORT_FRAMES, SIZE, Film, names_of, spans, true_spans
from scoring import score


def test_the_film_is_what_the_tests_need(film: Film) -> None:
    assert {f["name"] for faces in film.truth for f in faces} == set(PEOPLE)
    heights = [f["box"][3] - f["box"][1] for faces in film.truth for f in faces]
    assert min(heights) >= 60
    assert [] in film.truth
    assert true_spans(film)["Jerry Seinfeld"][1][1] - true_spans(film)["Jerry Seinfeld"][1][0] == SHORT_FRAMES


def test_everybody_is_found_and_nobody_is_mixed_up(run: Callable[..., Timeline], film: Film) -> None:
    timeline = run()
    assert len(timeline.identities) == len(PEOPLE)
    result = score(timeline, film.truth)
    print(result)
    assert min(result.recall, result.precision, result.idf1, result.purity) >= 0.99
    assert spans(timeline, film) == true_spans(film)


def test_the_document_says_what_was_run(run: Callable[..., Timeline], film: Film) -> None:
    timeline = run()
    jsonschema.validate(timeline.to_dict(), fastface.timeline_schema())
    video, facts = timeline.video, timeline.run
    assert (video["width"], video["height"], video["rotation"], video["codec"]) == (*SIZE, 0, "h264")
    assert video["frame_count"] == facts["frames_decoded"] == len(film.truth)
    assert video["duration"] == pytest.approx(len(film.truth) / FPS, abs=1e-3)
    assert (facts["device"], facts["decoder"], facts["warnings"]) == ("cpu", {"name": "libav", "every": 1}, [])
    assert facts["detector"] == {"name": "mtcnn", "min_face_size": 40, "thresholds": [0.6, 0.7, 0.7], "factor": 0.709}
    assert facts["embedder"]["name"] == MODEL
    assert facts["embedder"]["linkage_threshold"] == models.get(MODEL).linkage_threshold
    assert facts["embedder"]["faces_embedded"] <= 5 * len(timeline.tracks)
    assert facts["frames_skipped"] == 0
    assert facts["seconds_spent"].keys() == {"decoding", "detection", "embedding"}
    assert min(facts["seconds_spent"].values()) > 0
    assert sum(facts["seconds_spent"].values()) <= facts["seconds"]
    assert Timeline.from_json(timeline.to_json()).to_json() == timeline.to_json()


def test_who_is_there_at_a_time(run: Callable[..., Timeline], film: Film) -> None:
    timeline = run()
    names = names_of(timeline, film)
    for number in range(0, len(film.truth), 3):
        there = {names[a.identity.id] for a in timeline.at((number + 0.5) / FPS)}
        assert there == {f["name"] for f in film.truth[number]}


def test_every_third_frame_gives_the_same_people(run: Callable[..., Timeline], film: Film) -> None:
    timeline = run(every=3)
    assert set((timeline.faces.frame % 3).tolist()) == {0}
    assert timeline.run["frames_decoded"] == len(film.truth)
    result = score(timeline, film.truth, step=3)
    print(result)
    assert min(result.recall, result.precision, result.idf1, result.purity) >= 0.99
    # Each begins and ends within two frames of the truth: nothing is known of those between.
    found, want = spans(timeline, film), true_spans(film)
    assert {name: len(s) for name, s in found.items()} == {name: len(s) for name, s in want.items()}
    for name in PEOPLE:
        assert np.abs(np.array(found[name]) - np.array(want[name])).max() <= 2


def test_embedding_every_face_gives_the_same_people(run: Callable[..., Timeline]) -> None:
    best, every = run(every=3), run(every=3, embed="every")
    assert every.run["embedder"]["faces_embedded"] == len(every.faces)
    assert best.run["embedder"]["faces_embedded"] < len(best.faces)
    np.testing.assert_array_equal(every.faces.identity, best.faces.identity)
    assert [p.instances for p in every.identities] == [p.instances for p in best.identities]


def test_batches_change_nothing(run: Callable[..., Timeline]) -> None:
    """Any batch size gives the same document, but for rounding in the networks."""
    whole, other = run(), run(batch_size=5)
    for name in ("frame", "track", "identity", "time"):
        np.testing.assert_array_equal(getattr(other.faces, name), getattr(whole.faces, name))
    np.testing.assert_allclose(other.faces.box, whole.faces.box, atol=1e-2)
    assert [p.instances for p in other.identities] == [p.instances for p in whole.identities]


def test_a_gallery_of_other_photographs_names_them(film: Film, tmp_path: Path) -> None:
    """Three photographs each that are not in the film; one of the people stays unknown."""
    known = [name for name in PEOPLE if name != "Madonna"]
    for name in known:
        (tmp_path / name).mkdir()
        for photo in film.stock[name][4:7]:
            shutil.copy(str(photo.image), tmp_path / name)
    with Pipeline(device="cpu", embedder=MODEL, min_face_size=40) as pipeline:
        timeline = pipeline.process(film.path, gallery=tmp_path)
    assert {p.name for p in timeline.identities} == {*known, None}
    for who, name in names_of(timeline, film).items():
        assert timeline.identities[who].name == (name if name in known else None)
    for person in timeline.identities:
        if person.name:
            assert person.threshold == similarity_threshold(models.get(MODEL), 3, far=None, fixed=None)[0]
            assert person.threshold <= person.similarity <= 1.0
    result = score(timeline, film.truth)
    share = sum(f["name"] in known for faces in film.truth for f in faces) / sum(map(len, film.truth))
    assert result.named >= 0.99 * share
    assert timeline.identity("Ben Affleck").screen_time > 2


def test_progress_is_told(film: Film, embedder_spec: object) -> None:
    told: list[tuple[int, int | None]] = []
    with Pipeline(device="cpu", embedder=MODEL, min_face_size=200, every=7, batch_size=4) as pipeline:
        pipeline.process(film.path, progress=lambda done, total: told.append((done, total)))
    n = len(film.truth)
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert len(done) == -(-n // (7 * 4))
    assert 0 < done[0] < n == done[-1]
    assert {total for _, total in told} == {n}


def test_an_error_of_the_progress_callback_stops_the_run(film: Film, embedder_spec: object) -> None:
    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with Pipeline(device="cpu", embedder=MODEL, min_face_size=200) as pipeline:
        with pytest.raises(KeyboardInterrupt):
            pipeline.process(film.path, progress=stop)
        again = pipeline.process(film.path)
    assert again.run["frames_decoded"] == len(film.truth), "the pipeline can be used again"


@pytest.mark.parametrize("embed", ["track", "every"])
def test_a_video_of_nobody(tmp_path: Path, embedder_spec: object, embed: str) -> None:
    compose_shots(tmp_path / "a.mp4", [Shot(0.4, background=(60, 70, 80))], size=SIZE, fps=FPS)
    timeline = fastface.process(tmp_path / "a.mp4", device="cpu", embedder=MODEL, embed=embed)
    assert (timeline.identities, timeline.tracks, len(timeline.faces)) == ((), (), 0)
    assert timeline.video["frame_count"] == 10
    jsonschema.validate(timeline.to_dict(), fastface.timeline_schema())


@pytest.mark.parametrize("embed", ["track", "every"])
def test_every_crop_is_let_go(film: Film, embedder_spec: object, monkeypatch: pytest.MonkeyPatch, embed: str) -> None:
    from fastface.embed.store import HostCrops

    stores: list[HostCrops] = []
    with Pipeline(device="cpu", embedder=MODEL, embed=embed, min_face_size=40, every=4) as pipeline:
        make = pipeline.executor.crop_store
        monkeypatch.setattr(pipeline.executor, "crop_store", lambda: stores.append(make()) or stores[-1])
        pipeline.process(film.path)
    assert [store.used for store in stores] == [0]
    assert len(stores[0].pixels) > 0


class TestErrors:
    @pytest.fixture(scope="class")
    @classmethod
    def pipeline(cls, embedder_spec: object) -> Iterator[Pipeline]:
        with Pipeline(device="cpu", embedder=MODEL) as made:
            yield made

    def test_no_video(self, pipeline: Pipeline, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match="does not exist"):
            pipeline.process(tmp_path / "no.mp4")
        (tmp_path / "a.mp4").write_text("text")
        with pytest.raises(InputValidationError, match="is not a video"):
            pipeline.process(tmp_path / "a.mp4")

    def test_closed(self, film: Film, embedder_spec: object) -> None:
        with Pipeline(device="cpu", embedder=MODEL) as pipeline:
            pass
        with pytest.raises(InputValidationError, match="the pipeline is closed"):
            pipeline.process(film.path)

    def test_no_such_embedder(self) -> None:
        with pytest.raises(InputValidationError, match="embedder is 'nobody', must be one of 'facenet-vggface2'"):
            Pipeline(device="cpu", embedder="nobody")

    def test_no_gpu(self) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(GPUError, match="cuda"):
            Pipeline(device="cuda")


def test_auto_without_a_gpu_says_so(film: Film, embedder_spec: object) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with Pipeline(device="auto", embedder=MODEL, min_face_size=200, every=20) as pipeline:
        timeline = pipeline.process(film.path)
    assert timeline.run["device"] == "cpu"
    assert any("GPU" in w and "CPU" in w for w in timeline.run["warnings"])


def looped(source: Path, target: Path, times: int) -> None:
    """The video of a file several times over, by copying packets; it must have no B-frames."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        packets = [p for p in given.demux(video=0) if p.size]
        step = packets[1].pts - packets[0].pts
        template = given.streams.video[0]
        stream = made.add_stream_from_template(template)
        for i in range(times):
            given.seek(0)
            for packet in given.demux(video=0):
                if packet.size:
                    packet.pts = packet.dts = packet.pts + i * step * len(packets)
                    packet.stream = stream
                    made.mux(packet)


PEAK = """
import json, resource, sys
import fastface
out = []
def watch(done, total):
    with open("/proc/self/statm") as file:
        held.append(int(file.read().split()[1]) * resource.getpagesize())
with fastface.Pipeline(device="cpu", embedder=sys.argv[1], min_face_size=80, batch_size=8) as pipeline:
    for path in sys.argv[2:]:
        held = []
        timeline = pipeline.process(path, progress=watch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        out.append([timeline.run["frames_decoded"], len(timeline.faces), len(timeline.tracks), peak, held])
        del timeline
print(json.dumps(out))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(film: Film, tmp_path: Path) -> None:
    """The peak of ten times the length, past the warm-up, is within 5%; and within the long run nothing creeps up: what
    is held between batches at the end is within 5% of what was at the beginning.

    Small batches, because how many of them wait between decoder and detector is a matter of luck.
    """
    compose_shots(tmp_path / "one.mp4", film.shots, size=SIZE, fps=FPS, audio=False, encoding=Encoding(b_frames=0))
    for name, times in (("short", 1), ("long", 10)):
        looped(tmp_path / "one.mp4", tmp_path / f"{name}.mp4", times)
    paths = [str(tmp_path / f"{name}.mp4") for name in ("short", "short", "long")]
    done = subprocess.run([sys.executable, "-c", PEAK, MODEL, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, short, long = json.loads(done.stdout.splitlines()[-1])
    fifths = [np.median(part) for part in np.array_split(long[4], 5)]
    print(f"short {short[:3]}, peak {short[3] >> 20} MiB; long {long[:3]}, peak {long[3] >> 20} MiB, "
          f"held {[int(f) >> 20 for f in fifths]} MiB")  # fmt: skip
    assert short[0] == len(film.truth)
    for count in range(3):
        assert long[count] == pytest.approx(10 * short[count], rel=0.02)
    assert long[3] <= 1.05 * short[3]
    assert fifths[-1] <= 1.05 * fifths[1]


def test_what_a_run_held_goes_with_it(media: Path) -> None:
    """Without the garbage collector: a cycle would keep a run's crops until some time later, on a GPU 275 MB."""
    import gc

    from fastface.embed.store import HostCrops

    with Pipeline(device="cpu", embedder=MODEL, min_face_size=100, every=40) as pipeline:
        gc.collect()
        others = [o for o in gc.get_objects() if type(o) is HostCrops]  # of whatever ran before
        gc.disable()
        try:
            assert len(pipeline.process(media / "hamilton.mp4").faces)
            assert [o for o in gc.get_objects() if type(o) is HostCrops] == others
        finally:
            gc.enable()
