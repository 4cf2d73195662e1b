"""The annotated video: boxes and names drawn on the frames, the sound as it was.

Boxes are drawn into the YUV planes of the decoded frames: what is not drawn on is never converted to RGB
and back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastface.drawing.colors import UNKNOWN, Colour, identity_color, text_color
from fastface.drawing.fonts import fitted, font_for, printable
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.files import replacing
from fastface.timeline import Timeline

Progress = Callable[[int, int], None]
"""Called with frames done, and frames in all (0 where that is not known)."""

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")

# Kr, Kb by libav's number of the matrix.
_LUMA = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_LONGEST_GAP = 1.0  # seconds between two detections of a track over which its box is interpolated
_TIME_TOLERANCE = 0.5  # seconds by which a timeline may be off before it must be that of another video


@dataclass(frozen=True)
class Rendered:
    """What :func:`render` did.

    Attributes:
        path: the video written.
        frames: how many frames it has.
        notes: what was not copied as it is, or went wrong in the source, in sentences.
    """

    path: Path
    frames: int
    notes: tuple[str, ...]


# --- boxes of a frame ---


@dataclass
class _Trail:
    """The boxes of one track: frames [n], times [n], boxes [n, 4], identity, and the frame after the last
    shown."""

    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    identity: int
    end: int


class _Boxes:
    """Which boxes a frame shows. Frames must be asked for in ascending order."""

    def __init__(self, timeline: Timeline) -> None:
        faces = timeline.faces
        self.times_of: dict[int, float] = dict(zip(faces.frame.tolist(), faces.time.tolist(), strict=True))
        self.last_frame = int(faces.frame[-1]) if len(faces) else -1
        seen = np.unique(faces.time)
        # Where only every Nth frame was looked at, gaps of N frames are the rule.
        self.longest_gap = max(_LONGEST_GAP, 2.5 * float(np.median(np.diff(seen))) if len(seen) > 1 else 0.0)
        ends = {track.id: track.end_frame for track in timeline.tracks}
        order = np.lexsort((faces.frame, faces.track))
        cuts = np.flatnonzero(np.diff(faces.track[order])) + 1
        trails = []
        for rows in np.split(order, cuts) if len(order) else ():
            frames = faces.frame[rows]
            end = max(ends.get(int(faces.track[rows[0]]), 0), int(frames[-1]) + 1)
            trails.append(_Trail(frames, faces.time[rows], faces.box[rows], int(faces.identity[rows[0]]), end))
        self.waiting = sorted(trails, key=lambda t: int(t.frames[0]), reverse=True)
        self.active: list[_Trail] = []

    def at(self, frame: int, time: float) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Boxes ([4] xyxy) and identities (-1: not told) at a frame."""
        while self.waiting and self.waiting[-1].frames[0] <= frame:
            self.active.append(self.waiting.pop())
        self.active = [trail for trail in self.active if frame < trail.end]
        for trail in self.active:
            k = int(np.searchsorted(trail.frames, frame, side="right")) - 1
            if trail.frames[k] == frame or k + 1 == len(trail.frames):
                if time - trail.times[k] <= self.longest_gap:
                    yield trail.boxes[k], trail.identity
                continue
            gap = float(trail.times[k + 1] - trail.times[k])
            if 0 < gap <= self.longest_gap:
                u = min(max((time - float(trail.times[k])) / gap, 0.0), 1.0)
                yield (trail.boxes[k] * (1 - u) + trail.boxes[k + 1] * u).astype(np.float32), trail.identity


# --- drawing ---


class _Ink:
    """Colours as the stream codes them."""

    def __init__(self, matrix: int, full_range: bool) -> None:
        self.kr, self.kb = _LUMA[matrix]
        self.full = full_range

    def yuv(self, rgb: NDArray[np.float64]) -> NDArray[np.float64]:
        """[..., 3] RGB in [0, 255] to [..., 3] YUV levels."""
        r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
        y = self.kr * r + (1 - self.kr - self.kb) * g + self.kb * b
        u, v = (b - y) / (2 * (1 - self.kb)), (r - y) / (2 * (1 - self.kr))
        if not self.full:
            y, u, v = 16 + y * 219 / 255, u * 224 / 255, v * 224 / 255
        return np.stack([y, u + 128, v + 128], -1)

    def levels(self, colour: Colour) -> tuple[int, int, int]:
        y, u, v = np.clip(np.rint(self.yuv(np.array(colour, float))), 0, 255).astype(int).tolist()
        return y, u, v


@dataclass(frozen=True)
class _Label:
    """A name tag, ready to be laid over a frame: for each plane colour times opacity and 255 - opacity,
    uint16."""

    width: int
    height: int
    planes: tuple[tuple[NDArray[np.uint16], NDArray[np.uint16]], ...]


def _label(text: str, colour: Colour, size: int, ink: _Ink, max_width: int) -> _Label:
    pad_x, pad_y = round(size * 0.45), round(size * 0.28)
    text = fitted(printable(text), size, max_width - 2 * pad_x)
    font = font_for(text, size)
    ascent, descent = font.getmetrics()
    width = math.ceil(font.getlength(text)) + 2 * pad_x
    height = ascent + descent + 2 * pad_y
    width, height = width + width % 2, height + height % 2
    # Opacity at four times the size, so that corners are round rather than stepped.
    big = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(big).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), radius=round(size * 1.2), fill=255)
    alpha = np.asarray(big.resize((width, height), Image.Resampling.BOX), np.float64)
    picture = Image.new("RGB", (width, height), colour)
    ImageDraw.Draw(picture).text((pad_x, pad_y), text, font=font, fill=text_color(colour))
    levels = ink.yuv(np.asarray(picture, np.float64))

    def halved(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out: NDArray[np.float64] = values.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        return out

    planes = []
    for i in range(3):
        premultiplied, opacity = levels[..., i] * alpha, alpha
        if i:
            premultiplied, opacity = halved(premultiplied), halved(opacity)
        planes.append((np.rint(premultiplied).astype(np.uint16), np.rint(255 - opacity).astype(np.uint16)))
    return _Label(width, height, tuple(planes))


class _Canvas:
    """The planes of a 4:2:0 frame in display orientation, of even size. Coordinates are snapped to even
    pixels."""

    def __init__(self, y: NDArray[np.uint8], u: NDArray[np.uint8], v: NDArray[np.uint8]) -> None:
        self.planes = (y, u, v)
        self.height, self.width = y.shape

    def fill(self, x1: int, y1: int, x2: int, y2: int, levels: tuple[int, int, int]) -> None:
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, self.width), min(y2, self.height)
        if x1 < x2 and y1 < y2:
            self.planes[0][y1:y2, x1:x2] = levels[0]
            self.planes[1][y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] = levels[1]
            self.planes[2][y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] = levels[2]

    def frame(self, x1: int, y1: int, x2: int, y2: int, line: int, levels: tuple[int, int, int]) -> None:
        """The four edges of a rectangle, lines lying inside it."""
        self.fill(x1, y1, x2, y1 + line, levels)
        self.fill(x1, y2 - line, x2, y2, levels)
        self.fill(x1, y1 + line, x1 + line, y2 - line, levels)
        self.fill(x2 - line, y1 + line, x2, y2 - line, levels)

    def lay(self, label: _Label, x: int, y: int) -> None:
        """A label with its top left corner at even x, y; what lies outside is cut off."""
        left, top = max(-x, 0), max(-y, 0)
        right, bottom = min(label.width, self.width - x), min(label.height, self.height - y)
        if left >= right or top >= bottom:
            return
        for i, (premultiplied, rest) in enumerate(label.planes):
            s = 2 if i else 1
            part = (slice(top // s, bottom // s), slice(left // s, right // s))
            target = self.planes[i][(y + top) // s : (y + bottom) // s, (x + left) // s : (x + right) // s]
            target[...] = (premultiplied[part] + target * rest[part] + 127) // 255


class _Painter:
    """Draws the boxes of a timeline on canvases of one size."""

    def __init__(self, timeline: Timeline, width: int, height: int, ink: _Ink, similarity: bool) -> None:
        self.people = {person.id: person for person in timeline.identities}
        self.ink, self.similarity = ink, similarity
        short = min(width, height)
        self.line = 2 * max(round(short / 400), 1)
        self.text_size = max(round(short / 36), 11)
        self.max_label = max(width // 2, 60)
        self.labels: dict[int, _Label] = {}
        self.levels: dict[int, tuple[int, int, int]] = {}
        self.shadow = ink.levels((0, 0, 0))

    def _label_of(self, identity: int) -> _Label:
        if identity not in self.labels:
            person = self.people[identity]
            text = person.label
            if self.similarity and person.similarity is not None:
                text += f"  {person.similarity:.2f}"
            self.labels[identity] = _label(text, identity_color(identity), self.text_size, self.ink, self.max_label)
        return self.labels[identity]

    def _levels_of(self, identity: int) -> tuple[int, int, int]:
        if identity not in self.levels:
            self.levels[identity] = self.ink.levels(identity_color(identity) if identity >= 0 else UNKNOWN)
        return self.levels[identity]

    def paint(self, canvas: _Canvas, boxes: list[tuple[NDArray[np.float32], int]]) -> None:
        tags = []
        # The nearest, hence largest, face is drawn last, over the others.
        for box, identity in sorted(boxes, key=lambda b: float((b[0][2] - b[0][0]) * (b[0][3] - b[0][1]))):
            x1, y1, x2, y2 = (2 * round(float(v) / 2) for v in box)
            levels = self._levels_of(identity)
            if identity < 0:
                canvas.frame(x1, y1, x2, y2, 2, levels)
                continue
            line = self.line
            canvas.frame(x1 - 2, y1 - 2, x2 + 2, y2 + 2, 2, self.shadow)
            canvas.frame(x1, y1, x2, y2, min(line, max((x2 - x1) // 4 * 2, 2), max((y2 - y1) // 4 * 2, 2)), levels)
            label = self._label_of(identity)
            above = y1 - label.height - 2
            top = above if above >= 0 else min(max(y2 + 2, 0), canvas.height - label.height)
            if above < 0 and y2 + 2 + label.height > canvas.height:
                top = max(y1 + line, 0)  # neither above nor below is room: inside
            left = min(max(x1 - 2, 0), max(canvas.width - label.width, 0))
            tags.append((label, left, top - top % 2))
        for label, left, top in tags:
            canvas.lay(label, left, top)


# --- frames ---


def _turned(plane: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """A plane turned clockwise by 0, 90, 180 or 270 degrees."""
    return np.rot90(plane, -rotation // 90) if rotation else plane


def _view(plane: Any) -> NDArray[np.uint8]:
    """[height, width] view of a plane's pixels."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _put(target: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
    """Copy, repeating the last row and column where the target is larger by one."""
    h, w = source.shape
    target[:h, :w] = source
    target[:h, w:] = source[:, -1:]
    target[h:] = target[h - 1]


class _Converter:
    """Makes frames for the encoder: 8-bit 4:2:0, display orientation, even size, the source's matrix and
    range."""

    def __init__(self, frame: Any, context: Any, rotation: int) -> None:
        self.size = (frame.width, frame.height)
        self.rotation = rotation
        name = frame.format.name
        # RGB has no matrix of its own; it gets the one that untagged video of its size is read with.
        rgb = name.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "pal", "0rgb", "0bgr", "x2rgb", "x2bgr"))
        self.full = not rgb and (int(context.color_range) == 2 or name.startswith("yuvj"))
        matrix = 0 if rgb else int(context.colorspace)
        self.tag = matrix if matrix in _LUMA else None
        self.matrix = matrix if matrix in _LUMA else _untagged(frame.height)
        if rgb:
            self.tag = self.matrix
        self.as_is = name in ("yuv420p", "yuvj420p")
        self.rgb = rgb
        width, height = self.size if rotation in (0, 180) else self.size[::-1]
        self.display = (width, height)
        self.out = (width + width % 2, height + height % 2)

    def __call__(self, frame: Any) -> tuple[Any, _Canvas]:
        import av

        if not self.as_is:
            colour_range = "JPEG" if self.full else "MPEG"
            matrix = {1: "ITU709", 9: "BT2020", 10: "BT2020"}.get(self.matrix, "ITU601")
            frame = frame.reformat(
                format="yuv420p",
                src_colorspace=None if self.rgb else matrix,
                dst_colorspace=matrix,
                src_color_range="JPEG" if self.rgb else colour_range,
                dst_color_range=colour_range,
            )
        # A decoded frame may be what others are predicted from: drawing goes on a copy.
        out = av.VideoFrame(*self.out, "yuv420p")
        planes = [_view(plane) for plane in out.planes]
        for target, plane in zip(planes, frame.planes, strict=True):
            _put(target, _turned(_view(plane), self.rotation))
        return out, _Canvas(*planes)


def display_rotation(frame: Any) -> int:
    """Degrees clockwise, 0, 90, 180 or 270, by which a decoded frame (av.VideoFrame) is turned for display.

    Raises:
        VideoProcessingError: the container asks for another angle.
    """
    degrees = -int(frame.rotation) % 360
    if degrees % 90:
        raise VideoProcessingError(
            f"the video is to be turned by {degrees} degrees; only multiples of 90 can be rendered"
        )
    return degrees


def check_size(timeline: Timeline, path: str | os.PathLike[str], width: int, height: int) -> None:
    """A video that shows frames of this size may be the timeline's.

    Raises:
        InputValidationError: it cannot be.
    """
    expected = (timeline.video.get("width"), timeline.video.get("height"))
    if None not in expected and expected != (width, height):
        raise InputValidationError(
            f"the timeline is of a video of {expected[0]} x {expected[1]} pixels, "
            f"{os.fspath(path)!r} shows {width} x {height}"
        )


def matrix_of(frame: Any) -> str:
    """libswscale's name of the matrix that a decoded frame (av.VideoFrame) was made with."""
    number = int(frame.colorspace)
    if number not in _LUMA:
        number = _untagged(frame.height)
    return {1: "ITU709", 9: "BT2020", 10: "BT2020"}.get(number, "ITU601")


def _untagged(height: int) -> int:
    """The matrix that a video without a tag is read with, by its coded lines."""
    return 6 if height < 720 else 1


def open_video(path: str | os.PathLike[str]) -> Any:
    """Open a video for reading (av.container.InputContainer) and make sure that it has a picture.

    Raises:
        InputValidationError: there is no such file, it is no video, or has no picture.
    """
    import av

    if not Path(path).is_file():
        raise InputValidationError(f"cannot read the video {str(path)!r}: there is no such file")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputValidationError(f"cannot read {str(path)!r} as a video: {error}") from error
    if not container.streams.video:
        container.close()
        raise InputValidationError(f"{str(path)!r} has no picture, only {len(container.streams)} other streams")
    return container


# --- sound ---


class _Sound:
    """One sound track on its way through: packets as they are, or encoded anew where the container refuses
    them."""

    def __init__(self, source: Any, container: Any, suffix: str, notes: list[str]) -> None:
        import av

        self.container, self.resampler = container, None
        try:
            self.stream = container.add_stream_from_template(source)
        except ValueError:
            layout = "mono" if source.codec_context.layout.nb_channels == 1 else "stereo"
            self.stream = container.add_stream("aac", rate=source.codec_context.sample_rate, layout=layout)
            self.resampler = av.AudioResampler(format="fltp", layout=layout, rate=source.codec_context.sample_rate)
            notes.append(
                f"the sound is {source.codec_context.name}, which does not fit into {suffix}: "
                f"it was encoded anew as AAC"
            )

    def take(self, packet: Any) -> None:
        if self.resampler is None:
            if packet.dts is not None:
                packet.stream = self.stream
                self.container.mux(packet)
            return
        for frame in packet.decode():
            self._encode(frame)

    def _encode(self, frame: Any) -> None:
        assert self.resampler is not None
        for piece in self.resampler.resample(frame):
            self.container.mux(self.stream.encode(piece))

    def end(self) -> None:
        if self.resampler is not None:
            self._encode(None)
            self.container.mux(self.stream.encode(None))


# --- the whole ---


class _Writer:
    """The output: opened when the first frame shows what it has to be."""

    def __init__(
        self, source: Any, container: Any, timeline: Timeline, path: str, suffix: str, similarity: bool
    ) -> None:
        self.video, self.container, self.timeline = source.streams.video[0], container, timeline
        self.sources = list(source.streams.audio)
        self.path, self.suffix, self.similarity = path, suffix, similarity
        self.base = Fraction(self.video.time_base)
        rate = self.video.average_rate or self.video.guessed_rate or Fraction(30)
        self.rate = Fraction(rate)
        self.frames, self.first, self.last = 0, 0, 0
        self.notes: list[str] = []
        self.boxes = _Boxes(timeline)
        self.early: list[Any] = []  # sound that came before the first frame
        self.sounds: dict[int, _Sound] = {}
        self.stream: Any = None

    def _open(self, frame: Any) -> None:
        context = self.video.codec_context
        told = self.timeline.video.get("rotation")
        self.convert = _Converter(frame, context, display_rotation(frame) if told is None else int(told))
        width, height = self.convert.display
        check_size(self.timeline, self.path, width, height)
        ink = _Ink(self.convert.matrix, self.convert.full)
        self.painter = _Painter(self.timeline, width, height, ink, self.similarity)
        try:
            stream = self.container.add_stream("libx264", rate=self.rate, options={"preset": "veryfast", "crf": "18"})
        except ValueError as error:
            raise VideoProcessingError("cannot encode H.264: this PyAV was built without libx264") from error
        stream.width, stream.height, stream.pix_fmt = *self.convert.out, "yuv420p"
        out = stream.codec_context
        out.time_base = self.base
        out.color_range = 2 if self.convert.full else (1 if self.convert.rgb else int(context.color_range))
        if self.convert.tag is not None:
            out.colorspace = self.convert.tag
        if not self.convert.rgb:
            out.color_primaries, out.color_trc = int(context.color_primaries), int(context.color_trc)
        aspect = self.video.sample_aspect_ratio
        if aspect and aspect != 1:
            out.sample_aspect_ratio = 1 / aspect if self.convert.rotation in (90, 270) else aspect
        self.stream = stream
        for source in self.sources:
            self.sounds[source.index] = _Sound(source, self.container, self.suffix, self.notes)
        for packet in self.early:
            self.sounds[packet.stream.index].take(packet)
        self.early.clear()

    def sound(self, packet: Any) -> None:
        if self.stream is None:
            self.early.append(packet)
        else:
            self.sounds[packet.stream.index].take(packet)

    def frame(self, frame: Any) -> None:
        if self.stream is None:
            self._open(frame)
            self.first = frame.pts or 0
            self.last = self.first - 1
        if (frame.width, frame.height) != self.convert.size:
            raise VideoProcessingError(
                f"frame {self.frames} of {self.path!r} is {frame.width} x {frame.height} pixels, "
                f"those before it {self.convert.size[0]} x {self.convert.size[1]}; "
                f"a change of size cannot be rendered",
                frame=self.frames,
            )
        pts = frame.pts
        if pts is None:
            pts = self.last + max(round(1 / self.rate / self.base), 1)
        pts = max(pts, self.last + 1)  # encoders want time to go on
        self.last = pts
        time = float((pts - self.first) * self.base)
        expected = self.boxes.times_of.get(self.frames)
        if expected is not None and abs(expected - time) > _TIME_TOLERANCE:
            raise InputValidationError(
                f"the timeline is not of {self.path!r}: frame {self.frames} is at {expected:.3f} s there, "
                f"at {time:.3f} s in the video"
            )
        out, canvas = self.convert(frame)
        self.painter.paint(canvas, list(self.boxes.at(self.frames, time)))
        out.pts, out.time_base = pts, self.base
        self.container.mux(self.stream.encode(out))
        self.frames += 1

    def end(self) -> None:
        if self.stream is None:
            raise VideoProcessingError(f"no frame of {self.path!r} can be decoded")
        if self.boxes.last_frame >= self.frames:
            raise InputValidationError(
                f"the timeline is not of {self.path!r}: it has faces up to frame {self.boxes.last_frame}, "
                f"the video ends with frame {self.frames - 1}"
            )
        self.container.mux(self.stream.encode(None))
        for sound in self.sounds.values():
            sound.end()


def _muxer_options(source: Any, suffix: str) -> dict[str, str]:
    """MP4 writes a stream's late start in milliseconds unless told to be finer, which would move its time
    stamps."""
    streams = [source.streams.video[0], *source.streams.audio]
    if suffix.lower() == ".mkv" or not any(stream.start_time for stream in streams):
        return {}
    scale = streams[0].time_base.denominator
    for stream in streams[1:]:
        common = math.lcm(scale, stream.time_base.denominator)
        scale = common if common < 2**31 else scale
    return {"movie_timescale": str(scale)} if 1000 < scale < 2**31 else {}


def render(
    video_path: str | os.PathLike[str],
    timeline: Timeline,
    out_path: str | os.PathLike[str],
    *,
    similarity: bool = False,
    progress: Progress | None = None,
) -> Rendered:
    """Write the video with boxes and names drawn on it.

    Each person has one colour, see :func:`fastface.drawing.colors.identity_color`; faces of unknown identity
    get a thin grey line. Where a track was not detected for up to a second (or, with a timeline of every
    Nth frame, for two of those steps) its box is interpolated. Frames keep their time stamps (.mkv rounds
    them to a millisecond), the picture its matrix and range; rotation is applied to the pixels. The picture
    becomes 8-bit 4:2:0 H.264, an odd width or height one pixel larger. Sound packets are copied; a codec
    that does not fit into the container is encoded anew as AAC. Memory does not grow with the video's length.

    Args:
        video_path: the video that the timeline is of.
        timeline: as :func:`fastface.process` gives it.
        out_path: .mp4, .m4v, .mov or .mkv; replaced only when all is written.
        similarity: add each person's similarity to the name.
        progress: called with (frames done, frames in all; 0 where that is not known).

    Raises:
        InputValidationError: the video cannot be read, the timeline is of another video, or `out_path`
            cannot be written.
        VideoProcessingError: no frame can be decoded, or the encoder refuses.
    """
    import av

    target = Path(out_path)
    if target.suffix.lower() not in CONTAINERS:
        raise InputValidationError(f"cannot write {str(target)!r}: the name must end in {', '.join(CONTAINERS)}")
    source = open_video(video_path)
    if target.exists() and target.samefile(video_path):
        source.close()
        raise InputValidationError(f"cannot write {str(target)!r}: it is the video that is to be read")
    with source, replacing(target) as temporary:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        total = int(timeline.video.get("frame_count") or video.frames or 0)
        lost = 0
        try:
            with av.open(str(temporary), "w", options=_muxer_options(source, target.suffix)) as container:
                writer = _Writer(source, container, timeline, str(video_path), target.suffix, similarity)
                for packet in source.demux([video, *source.streams.audio]):
                    if packet.stream.type == "audio":
                        writer.sound(packet)
                        continue
                    try:
                        frames = packet.decode()
                    except av.error.InvalidDataError:
                        lost += 1  # the frames around it are still worth showing; it is said in the notes
                        continue
                    for frame in frames:
                        writer.frame(frame)
                        if progress is not None:
                            progress(writer.frames, max(total, writer.frames) if total else 0)
                writer.end()
        except av.error.FFmpegError as error:
            raise VideoProcessingError(f"cannot render {str(video_path)!r} to {str(target)!r}: {error}") from error
        notes = list(writer.notes)
        if lost:
            notes.append(f"{lost} packets of {str(video_path)!r} are damaged and were left out")
    return Rendered(target, writer.frames, tuple(notes))
