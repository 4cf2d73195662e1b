"""Videos that can be read back: every picture says its number, every second of sound says which it is.

A picture is one colour: three digits to the base 16, in Y, U and V. So its number can be read in any window of it,
at any size, after any encoding. At each whole second a tone begins that lasts 60 ms; its pitch is the second's number.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces

SIZE = (320, 180)
RATE = 48000  # samples a second
CODES = 16**3
TONE, FIRST_PITCH, PITCH_STEP, PITCHES = 0.06, 500, 50, 61


@dataclass(frozen=True)
class Coded:
    """A coded video: its path, the times of its pictures and of its end in exact seconds, and whether it has sound."""

    path: Path
    times: list[Fraction]
    end: Fraction
    origin: Fraction


def _levels(number):
    digits = (number // 256 % 16, number // 16 % 16, number % 16)
    return [24 + 13 * digits[0], 32 + 13 * digits[1], 32 + 13 * digits[2]]


def _sound(seconds, rate):
    """[1, n] float32."""
    n = round(seconds * rate)
    out = np.zeros((1, n), np.float32)
    length = round(TONE * rate)
    for s in range(int(seconds) + 1):
        tone = 0.8 * np.sin(2 * np.pi * (FIRST_PITCH + PITCH_STEP * (s % PITCHES)) * np.arange(length) / rate)
        out[0, s * rate : s * rate + length] = tone[: max(n - s * rate, 0)]
    return out


def make_coded(path, pts, base, end, *, codec="libx264", gop=90, sound="aac", options=None, layout="mono", rate=RATE):
    """Write a coded video.

    Args:
        path: of the file.
        pts: time stamps of the pictures, in units of `base`, ascending.
        base: seconds of one unit.
        end: time stamp at which the last one ends.
        sound: libav's encoder; None: no sound.
        gop: pictures from one key to the next, at most.
        options: of the picture's encoder.
        rate, layout: of the sound.
    """
    width, height = SIZE
    origin = Fraction(pts[0]) * base
    defaults = {"preset": "ultrafast", "crf": "12", "bf": "2", "x264-params": "scenecut=0"} if "264" in codec else {}
    fine = {"movie_timescale": "90000"} if Path(path).suffix == ".mp4" else {}
    with av.open(str(path), "w", options=fine) as container:
        video = container.add_stream(codec, rate=30, options={"g": str(gop), **defaults, **(options or {})})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = base
        audio = container.add_stream(sound, rate=rate, layout=layout) if sound else None
        samples = _sound(float((end - pts[0]) * base), rate) if audio else None
        done = 0
        for i, stamp in enumerate([*pts, end]):
            if audio is not None:  # interleaved: up to this picture
                until = round(float((stamp - pts[0]) * base) * rate) if i < len(pts) else samples.shape[1]
                while done + 1024 <= until or (i == len(pts) and done < until):
                    block = np.repeat(samples[:, done : done + 1024], 2 if layout == "stereo" else 1, 0)
                    planar = np.ascontiguousarray(block)
                    frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout)
                    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                    frame.pts = done + round(origin * rate)
                    if sound != "aac":  # its samples are not planar floats
                        form = audio.codec_context.format
                        frame = av.AudioResampler(format=form, layout=layout, rate=rate).resample(frame)[0]
                    container.mux(audio.encode(frame))
                    done += 1024
            if i < len(pts):
                picture = av.VideoFrame(width, height, "yuv420p")
                for plane, level in zip(picture.planes, _levels(i), strict=True):
                    plane.update(bytes([level]) * plane.buffer_size)
                picture.pts, picture.time_base = stamp, base
                for packet in video.encode(picture):
                    container.mux(packet)
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    times = [(p - pts[0]) * base for p in pts]
    return Coded(Path(path), times, (end - pts[0]) * base, origin)


def ntsc(seconds):
    """(pts, base, end) of 29.97 frames a second."""
    n = int(seconds * 30000 / 1001)
    return [1001 * i for i in range(n)], Fraction(1, 30000), 1001 * n


def uneven(seconds, seed=5):
    """(pts, base, end) of 25 to 95 ms from one picture to the next, beginning late."""
    steps = np.random.default_rng(seed).integers(25 * 90, 95 * 90, int(seconds * 30))
    stamps = 12345 + np.concatenate([[0], np.cumsum(steps)])
    n = int(np.searchsorted(stamps, 12345 + seconds * 90000))
    return [int(p) for p in stamps[:n]], Fraction(1, 90000), int(stamps[n])


def timeline_of(coded, people, *, size=SIZE, breaks=()):
    """A timeline in which people (by name) are seen in spans of seconds, in boxes that move slowly.

    Args:
        breaks: numbers of pictures at which every track ends and another begins.
    """
    times = np.array([float(t) for t in coded.times] + [float(coded.end)])
    identities, tracks, rows = [], [], []
    for i, (name, spans) in enumerate(people.items()):
        instances = []
        for start, end in spans:
            a, b = (int(np.searchsorted(times[:-1], s - 1e-9)) for s in (start, end))
            instances.append(Span(round(float(times[a]), 6), round(float(times[b]), 6), a, b))
            edges = [a, *(c for c in breaks if a < c < b), b]
            for first, last in itertools.pairwise(edges):
                for f in range(first, last):
                    x = size[0] * (0.3 + 0.4 * i) + 0.1 * size[0] * np.sin(times[f])
                    y = size[1] * (0.45 + 0.1 * np.cos(times[f] / 2))
                    rows.append((f, times[f], (x - 15, y - 20, x + 15, y + 20), len(tracks), i))
                tracks.append(Track(len(tracks), i, first, last))
        on = sum(s.end - s.start for s in instances)
        identities.append(Identity(i, name, None, None, on, tuple(instances)))
    rows.sort(key=lambda r: (r[0], r[4]))
    m = len(rows)
    boxes = np.array([r[2] for r in rows], np.float32).reshape(m, 4)
    faces = Faces(
        np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.float64).round(6), boxes,
        np.full(m, 0.99, np.float32), np.zeros((m, 5, 2), np.float32),
        np.array([r[3] for r in rows], np.int64), np.array([r[4] for r in rows], np.int64),
    )  # fmt: skip
    video = {"path": str(coded.path), "width": size[0], "height": size[1], "duration": round(float(coded.end), 6),
             "frame_count": len(coded.times)}  # fmt: skip
    return Timeline(video, {}, tuple(identities), tuple(tracks), faces)


def read_pictures(path, side=None):
    """The code of each picture, or of its left (0) or right (1) half, and their exact times."""
    numbers, times = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            digits = []
            for plane, low in zip(frame.planes, (24, 32, 32), strict=True):
                pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
                middle = pixels.shape[1] // 2
                part = pixels if side is None else pixels[:, middle * side : middle * (side + 1)]
                at = part[::7, 4:-4:5].astype(int)
                level = np.median(at)
                assert np.abs(at - level).max() <= 6, "a picture is of one colour"
                digit = round((level - low) / 13)
                assert abs(level - low - 13 * digit) <= 5
                digits.append(digit)
            numbers.append(digits[0] * 256 + digits[1] * 16 + digits[2])
            times.append(frame.pts * Fraction(stream.time_base))
    return numbers, times


def read_tones(path):
    """(seconds at which a tone begins, its number) of all tones, and how many seconds of sound there are."""
    parts, start = [], None
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        for frame in container.decode(stream):
            start = float(frame.pts * stream.time_base) if start is None else start
            parts.append(frame.to_ndarray()[:1])
    sound = np.concatenate(parts, 1)[0]
    loud = np.flatnonzero(np.abs(sound) > 0.35)
    begins = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > rate // 20)]
    tones = []
    for at in begins.tolist():
        piece = sound[at : at + round(TONE * rate)]
        piece = piece[: np.flatnonzero(np.abs(piece) > 0.2)[-1] + 1]
        crossings = np.flatnonzero((piece[:-1] < 0) & (piece[1:] >= 0))
        if len(crossings) < 8:  # cut off: its pitch cannot be told
            tones.append((start + at / rate, None))
            continue
        exact = crossings + piece[crossings] / (piece[crossings] - piece[crossings + 1])
        pitch = (len(exact) - 1) * rate / (exact[-1] - exact[0])
        tones.append((start + at / rate, round((pitch - FIRST_PITCH) / PITCH_STEP)))
    return tones, start + len(sound) / rate


def assert_in_step(coded, clip, *, side=None, held=None, frame=1 / 30):
    """Every picture is there at its exact time, and every tone within a frame of where it belongs.

    Args:
        held: {position in the clip: number of the picture that stands there instead}.

    Returns:
        The largest departure of a tone, in seconds.
    """
    numbers, times = read_pictures(clip.path, side)
    ends = [*coded.times, coded.end]
    want, stamps, offset, pieces = [], [], Fraction(0), []
    for span in clip.spans:
        a, b = span.start_frame, span.end_frame
        want += range(a, b)
        stamps += [offset + ends[i] - ends[a] for i in range(a, b)]
        pieces.append((offset, ends[a], ends[b]))
        offset += ends[b] - ends[a]
    shown = [(held or {}).get(k, n) % CODES for k, n in enumerate(want)]
    assert numbers == shown, [(k, a, b) for k, (a, b) in enumerate(zip(numbers, shown, strict=False)) if a != b][:5]
    assert times == stamps
    tones, length = read_tones(clip.path)
    assert abs(length - float(offset)) < 0.03
    worst, found = 0.0, []
    for begins, number in tones:
        # Near a seam it may be the last of the one cut or the first of the next.
        near = [p for p in pieces if p[0] - 0.02 <= begins <= p[0] + p[2] - p[1] + 0.02]
        places = [float(source - at) + begins for at, source, _ in near]
        departure, second = min((abs(place - round(place)), round(place)) for place in places)
        if any(0 < float(source) - int(source) < TONE and abs(begins - at) < 0.02 for at, source, _ in near):
            continue  # a tone that had begun before the cut
        worst = max(worst, departure)
        assert departure <= frame, (begins, second, departure)
        assert number is None or number == second % PITCHES, (begins, second, number)
        found.append(second)
    inner = [(a + Fraction(1, 50), b - Fraction(1, 20)) for _, a, b in pieces]
    due = [s for a, b in inner for s in range(math.ceil(a), math.floor(b) + 1)]
    assert [s for s in due if s not in found] == []
    return worst
