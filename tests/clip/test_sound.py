"""Sound is encoded ahead of the pictures, but not all of it."""

from __future__ import annotations

import contextlib
import time

import av
import pytest
from coded import make_coded, ntsc, timeline_of

from fastface.clip import sound
from fastface.clip.source import Cut, open_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_source(make_coded(tmp_path_factory.mktemp("coded") / "a.mp4", *ntsc(6), sound="aac", gop=30).path)


@pytest.fixture
def container(tmp_path):
    with av.open(str(tmp_path / "out.mp4"), "w") as out:
        yield out


def ends(source, count):
    return [*(6 * source.base.__class__(k, count) for k in range(1, count)), None]


def test_so_much_is_encoded_before_it_is_asked_for(source, container, monkeypatch):
    monkeypatch.setattr(sound, "_AHEAD", 3)
    done, until = [], sound.Sound.until
    monkeypatch.setattr(sound.Sound, "until", lambda self, end: done.append(end) or until(self, end))
    with contextlib.closing(sound.Sounds(source, [Cut(0, len(source.stamps))], container)) as sounds:
        container.start_encoding()
        asked = ends(source, 12)
        heard = sounds.packets(asked)
        deadline = time.monotonic() + 10
        while len(done) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert done == asked[:3], "without being asked, and no more"
        given = list(heard)
    assert done == asked
    assert len(given) == 12
    # A packet of AAC tells of the 1024 samples before those that were given last, and none comes twice.
    stamps = [packet.pts for packets in given for packet in packets]
    assert stamps == sorted(set(stamps))
    assert all(given)


def test_an_error_of_the_thread_is_raised_and_ends_it(source, container, monkeypatch):
    def fails(self, end):
        raise MemoryError("no room")

    monkeypatch.setattr(sound.Sound, "until", fails)
    sounds = sound.Sounds(source, [Cut(0, 30)], container)
    container.start_encoding()
    with pytest.raises(MemoryError, match="no room"):
        next(sounds.packets(ends(source, 2)))
    sounds.close()
    assert not any(thread.is_alive() for thread in sounds._pool._threads)


def test_a_video_without_sound_has_nothing_to_be_heard(tmp_path, container):
    silent = open_source(make_coded(tmp_path / "s.mp4", *ntsc(2), sound=None, gop=30).path)
    with contextlib.closing(sound.Sounds(silent, [Cut(0, 30)], container)) as sounds:
        assert list(sounds.packets([None])) == []


def test_a_clip_has_the_sound_of_all_its_parts(source, tmp_path, monkeypatch):
    from fastface.clip import plan

    monkeypatch.setattr(plan, "_PART_SECONDS", 0.2)
    monkeypatch.setattr(sound, "_AHEAD", 2)
    coded = make_coded(tmp_path / "b.mp4", *ntsc(6), sound="aac", gop=30)
    (clip,) = timeline_of(coded, {"Ann": [(0, 5.5)]}).clips(coded.path, "Ann", folder=tmp_path / "clips")
    with av.open(str(clip.path)) as file:
        heard = sum(frame.samples for frame in file.decode(audio=0)) / file.streams.audio[0].rate
    assert heard == pytest.approx(clip.duration, abs=0.05)
