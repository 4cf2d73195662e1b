"""The annotated video: faces marked or hidden on the frames, the sound as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fastface.decode.probe import decode_packet, open_container, video_stream
from fastface.drawing.boxes import Boxes
from fastface.drawing.cover import Cover, Hide, hidden_people
from fastface.drawing.paint import Canvas, Ink, Marks, Painter
from fastface.encode.container import check_size, checked_target, muxer_options
from fastface.encode.h264 import Coding
from fastface.encode.planes import Converter, display_rotation
from fastface.encode.sound import Passing
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.files import replacing
from fastface.timeline import Timeline

Progress = Callable[[int, int], None]
"""Called with frames done, and frames in all (0 where that is not known)."""

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


class _Writer:
    """The output: opened when the first frame shows what it has to be."""

    def __init__(
        self, source: Any, container: Any, timeline: Timeline, path: str, suffix: str, marks: Marks, cover: Cover | None
    ) -> None:
        self.video, self.container, self.timeline = source.streams.video[0], container, timeline
        self.sources = list(source.streams.audio)
        self.path, self.suffix, self.marks, self.cover = path, suffix, marks, cover
        self.base = Fraction(self.video.time_base)
        self.rate = Fraction(self.video.average_rate or self.video.guessed_rate or Fraction(30))
        self.frames, self.first, self.last = 0, 0, 0
        self.notes: list[str] = []
        self.boxes = Boxes(timeline)
        self.early: list[Any] = []  # sound that came before the first frame
        self.sounds: dict[int, Passing] = {}
        self.stream: Any = None

    def _open(self, frame: Any) -> None:
        context = self.video.codec_context
        told = self.timeline.video.get("rotation")
        self.convert = Converter(frame, context, display_rotation(frame) if told is None else int(told))
        width, height = self.convert.display
        check_size(self.timeline.video, width, height, self.path)
        self.painter = Painter(self.timeline, width, height, Ink(self.convert.matrix, self.convert.full), self.marks)
        self.stream = Coding.of(self.convert, context, self.rate, self.base).stream(self.container)
        for source in self.sources:
            self.sounds[source.index] = Passing(source, self.container, self.suffix, self.notes)
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
        out, planes = self.convert.copy(frame)
        faces = list(self.boxes.at(self.frames, time))
        if self.cover is not None:
            self.cover.paint(planes, time)
            faces = [face for face in faces if face.identity not in self.cover.people]
        self.painter.paint(Canvas(planes), faces)
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


def render(
    video_path: str | os.PathLike[str],
    timeline: Timeline,
    out_path: str | os.PathLike[str],
    *,
    boxes: bool | None = None,
    names: bool = True,
    similarity: bool = False,
    landmarks: bool = False,
    hide: Hide | None = None,
    only: Iterable[int | str] | None = None,
    but: Iterable[int | str] = (),
    progress: Progress | None = None,
) -> Rendered:
    """Write the video with boxes and names drawn on it, or with faces made unrecognisable.

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
        boxes: whether boxes and names are drawn; None: unless faces are hidden. Who is hidden gets neither.
        names: with boxes, the names above them.
        similarity: add each person's similarity to the name.
        landmarks: a dot on eyes, nose and corners of the mouth.
        hide: "blur" or "pixelate" faces; docs/privacy.md says what that promises and what not.
        only: people (ids or names) who are hidden; None: everybody, also faces of unknown identity.
        but: people who are not hidden.
        progress: called with (frames done, frames in all; 0 where that is not known).

    Raises:
        InputValidationError: the video cannot be read, the timeline is of another video, there is no such person, or
            `out_path` cannot be written.
        VideoProcessingError: no frame can be decoded, or the encoder refuses.
    """
    but = list(but)
    if hide is None and (only is not None or but):
        raise InputValidationError("only and but say who is hidden, but hide is None: must be 'blur' or 'pixelate'")
    cover = None if hide is None else Cover(timeline, hidden_people(timeline, only, but), hide)
    boxes = boxes if boxes is not None else hide is None
    marks = Marks(boxes, boxes and names, similarity, landmarks)
    with open_container(video_path) as source:
        video = video_stream(source, video_path)
        target = checked_target(out_path, video_path)
        video.thread_type = "AUTO"
        total = int(timeline.video.get("frame_count") or video.frames or 0)
        lost = 0
        bases = [stream.time_base for stream in (video, *source.streams.audio)]
        with replacing(target) as temporary:
            try:
                with av.open(str(temporary), "w", options=muxer_options(target.suffix, bases)) as container:
                    writer = _Writer(source, container, timeline, str(video_path), target.suffix, marks, cover)
                    for packet in source.demux([video, *source.streams.audio]):
                        if packet.stream.type == "audio":
                            writer.sound(packet)
                            continue
                        try:
                            frames = decode_packet(packet)
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
