"""Sound and picture stay together, and cuts are exact to the frame, in every mode."""

from __future__ import annotations

import pytest
from coded import assert_in_step, make_coded, ntsc, read_pictures, timeline_of, uneven

KINDS = {"ntsc": (ntsc, "mp4", "aac"), "vfr": (uneven, "mp4", "flac"), "vfr-mkv": (uneven, "mkv", "flac")}
TWO = ["ntsc", "vfr"]
LENGTHS = [60, pytest.param(600, marks=pytest.mark.slow)]
FRAME = 1 / 30
A = [(3.2, 9.7), (21.01, 24.5), (25.0, 27.3), (48.0, 50.0)]
B = [(7.5, 14.0), (24.5, 26.0), (55.0, 57.0)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(kind, seconds): a coded video and a timeline of Ann and Bob; long ones are there at the beginning, in the
    middle and at the end."""
    cache = {}

    def make(kind, seconds):
        if (kind, seconds) not in cache:
            stamps, suffix, sound = KINDS[kind]
            path = tmp_path_factory.mktemp("coded") / f"{kind}.{suffix}"
            coded = make_coded(path, *stamps(seconds), sound=sound, gop=30)
            moves = [0] if seconds == 60 else [0, seconds / 2, seconds - 60]
            people = {
                name: [(a + m, b + m) for m in moves for a, b in spans] for name, spans in (("Ann", A), ("Bob", B))
            }
            cache[kind, seconds] = coded, timeline_of(coded, people)
        return cache[kind, seconds]

    return make


MODES = {
    "exact": {},
    "joined": {"join": True, "max_gap": 1.0, "pad": 0.5},
    "condensed": {"condense": 15.0},
    "segments": {"segment": 2.0},
    "fast": {"fast": True},
    "fast and joined": {"fast": True, "join": True},
    "followed": {"follow": (96, 96), "join": True},
    "segments of a window": {"follow": (54, 96), "segment": 3.0},
}


@pytest.mark.parametrize("seconds", LENGTHS)
@pytest.mark.parametrize("kind", [*TWO, pytest.param("vfr-mkv", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode(made, tmp_path, mode, kind, seconds):
    coded, timeline = made(kind, seconds)
    clips = timeline.clips(coded.path, "Ann", folder=tmp_path, **MODES[mode])
    assert all(not clip.notes for clip in clips)
    # Matroska's time stamps are whole milliseconds: so are the source's, and the tones lie between them.
    worst = max(assert_in_step(coded_as_read(coded), clip, frame=FRAME) for clip in clips)
    assert worst < 0.002, "a good deal better than a frame"
    copied = sum(clip.copied for clip in clips)
    assert (copied > 0) == ("fast" in mode)
    if "fast" in mode:
        assert copied < sum(clip.frames for clip in clips), "the ends are encoded"


def coded_as_read(coded):
    """The coded video with the times that its container kept."""
    from dataclasses import replace

    from fastface.clip.source import open_source

    source = open_source(coded.path)
    exact = [(int(s) - int(source.stamps[0])) * source.base for s in source.stamps]
    assert len(exact) == len(coded.times)
    assert max(abs(a - b) for a, b in zip(exact, coded.times, strict=True)) < 0.0011
    return replace(coded, times=exact, end=(source.end - int(source.stamps[0])) * source.base)


@pytest.mark.parametrize("seconds", LENGTHS)
@pytest.mark.parametrize("kind", TWO)
def test_side_by_side(made, tmp_path, monkeypatch, kind, seconds):
    """Who is there is shown; who is away stands still in their last picture, before the first one in that."""
    monkeypatch.setattr("fastface.clip.clips.SPLIT_SIZE", (192, 96))
    coded, timeline = made(kind, seconds)
    clips = timeline.clips(coded.path, split=("Ann", "Bob"), folder=tmp_path)
    for clip in clips:
        (span,) = clip.spans
        for side, person in enumerate(timeline.identities):
            here = [i for s in person.instances for i in range(s.start_frame, s.end_frame)]
            held = {}
            for i in range(span.start_frame, span.end_frame):
                before = [s for s in person.instances if s.start_frame <= i]
                if not before:
                    held[i - span.start_frame] = here[0]
                elif i >= before[-1].end_frame:
                    held[i - span.start_frame] = before[-1].end_frame - 1
            assert assert_in_step(coded_as_read(coded), clip, side=side, held=held) < 0.002
    assert {read_pictures(clips[0].path, side=s)[0][0] for s in (0, 1)} == {
        timeline.identities[0].instances[0].start_frame % 4096, timeline.identities[1].instances[0].start_frame % 4096
    }  # fmt: skip
