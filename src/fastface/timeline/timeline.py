"""The Timeline and its parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError
from fastface.types import Embeddings, Faces

if TYPE_CHECKING:
    import pandas as pd

    from fastface.clip import Clip
    from fastface.gallery import Gallery


@dataclass(frozen=True)
class Span:
    """A stretch of time in which somebody is on screen without a break; half open.

    Attributes:
        start, end: seconds from the first frame shown, start included, end not.
        start_frame, end_frame: frame numbers, start included, end not.
    """

    start: float
    end: float
    start_frame: int
    end_frame: int


@dataclass(frozen=True)
class Identity:
    """One person of the video.

    Attributes:
        id: from 0, in the order of first appearance.
        name: from the gallery, or from :meth:`Timeline.rename`; None until known.
        similarity: cosine in [-1, 1]. Known to the gallery: between the person's faces here and there. Else the lowest
            average similarity at which tracks were joined to this person; None where there was nothing to join, or
            where somebody said by hand who this is.
        threshold: the least similarity that was asked for; None where similarity is.
        screen_time: seconds, the length of all instances together.
        instances: when, in order, without overlap.
        gallery_id: under which the gallery has this person: the name, or "unknown-7", which is the same in every video
            that was compared with that gallery; None: not there.
    """

    id: int
    name: str | None
    similarity: float | None
    threshold: float | None
    screen_time: float
    instances: tuple[Span, ...]
    gallery_id: str | None = None

    @property
    def label(self) -> str:
        """The name, else the gallery's id, else "person 3" (counted from 1)."""
        return self.name or self.gallery_id or f"person {self.id + 1}"


@dataclass(frozen=True)
class Track:
    """One face followed from frame to frame.

    Attributes:
        id: from 0, in the order of first appearance.
        identity: id of the person; None where it was too poor, or too short, to tell.
        start_frame, end_frame: frame numbers, start included, end not.
    """

    id: int
    identity: int | None
    start_frame: int
    end_frame: int


@dataclass(frozen=True)
class Appearance:
    """A person who is on screen at an asked time, and where.

    Attributes:
        identity: the person.
        frame: number of the frame of the face that is given: the latest at or before the asked time.
        box: [4] float32, xyxy in display pixels.
        score: the detector's certainty in [0, 1].
        landmarks: [5, 2] float32, display pixels.
    """

    identity: Identity
    frame: int
    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]


@dataclass(frozen=True)
class Timeline:
    """Who is on screen, when and where: the result of :func:`fastface.process`.

    Attributes:
        video: path, width, height, rotation, codec, duration, frame_count and average_rate, as measured.
        run: what was run and how: version, device, decoder, detector and embedder with their settings, frames_decoded,
            frames_skipped, warnings, seconds, and what these were spent on.
        identities: the people, in the order of first appearance.
        tracks: the faces followed, in the order of first appearance.
        faces: one row per detected face, ordered by frame.
        embeddings: what each track looks like, by which people are searched for and told apart later without the
            video; None where a document came without (:attr:`embeddings_missing` says why).
    """

    video: Mapping[str, Any]
    run: Mapping[str, Any]
    identities: tuple[Identity, ...]
    tracks: tuple[Track, ...]
    faces: Faces
    embeddings: Embeddings | None = None
    embeddings_missing: str = "it was made without"

    def __repr__(self) -> str:
        people = ", ".join(f"{i.label} {i.screen_time:.1f} s" for i in self.identities[:5])
        more = f", and {len(self.identities) - 5} more" if len(self.identities) > 5 else ""
        return f"Timeline({self.video.get('path')!r}: {len(self.faces)} faces; {people or 'nobody'}{more})"

    def identity(self, who: int | str) -> Identity:
        """The person with this id, name or gallery id.

        Raises:
            InputValidationError: nobody here has it.
        """
        for person in self.identities:
            if who in (person.id, person.name, person.gallery_id) and who is not None:
                return person
        known = ", ".join(str(p.name if p.name is not None else p.id) for p in self.identities) or "nobody"
        raise InputValidationError(f"no person {who!r} in this timeline; there is {known}")

    def at(self, seconds: float) -> tuple[Appearance, ...]:
        """Who is on screen at a time, and where, in the order of identities.

        Args:
            seconds: from the first frame shown; times at which nobody is there, or beyond the video, give ().
        """
        found = []
        for person in self.identities:
            span = next((s for s in person.instances if s.start <= seconds < s.end), None)
            if span is None:
                continue
            mine = np.flatnonzero(
                (self.faces.identity == person.id)
                & (self.faces.frame >= span.start_frame)
                & (self.faces.frame < span.end_frame)
            )
            if not len(mine):  # an instance may be of faces that were told to be nobody's
                continue
            # Times in a document are rounded to a microsecond, and so may be the asked one.
            row = mine[max(int(np.searchsorted(self.faces.time[mine], seconds + 1e-6, side="right")) - 1, 0)]
            found.append(
                Appearance(
                    person,
                    int(self.faces.frame[row]),
                    self.faces.box[row],
                    float(self.faces.score[row]),
                    self.faces.landmarks[row],
                )
            )
        return tuple(found)

    def rename(self, who: int | str, name: str | None) -> Timeline:
        """A timeline in which a person has this name; None takes the name away.

        Raises:
            InputValidationError: there is no such person, the name is empty, or somebody else has it (see
                :meth:`merge`).
        """
        from fastface.timeline.edit import rename

        return rename(self, who, name)

    def merge(self, who: int | str, *others: int | str) -> Timeline:
        """A timeline in which several people are one, who keeps id and name of the first.

        Raises:
            InputValidationError: there is no such person, or one is given twice.
        """
        from fastface.timeline.edit import merge

        return merge(self, who, *others)

    def split(self, who: int | str, tracks: Iterable[int]) -> Timeline:
        """A timeline in which some tracks of a person are somebody else, without a name and with a new id.

        Args:
            who: the person.
            tracks: ids of some, not all, of the person's tracks.

        Raises:
            InputValidationError: there is no such person, or these are not some of their tracks.
        """
        from fastface.timeline.edit import split

        return split(self, who, tracks)

    def recognise(
        self, gallery: Gallery, *, far: float | None = None, similarity_threshold: float | None = None
    ) -> Timeline:
        """A timeline with the names and ids that a gallery has for its people, without the video.

        People whom the gallery takes for one and the same, and who were never seen at once, become one.

        Args:
            gallery: of the embedder that this timeline was made with.
            far, similarity_threshold: see :class:`fastface.Pipeline`.

        Raises:
            GalleryError: the gallery is of another embedder.
            InputValidationError: the timeline has no embeddings.
        """
        from fastface.match.remember import recognise

        return recognise(self, gallery, far=far, fixed=similarity_threshold)

    def clips(
        self,
        video: str | os.PathLike[str],
        person: int | str | None = None,
        *,
        folder: str | os.PathLike[str],
        join: bool = False,
        max_gap: float = 0.0,
        pad: float = 0.0,
        segment: float | None = None,
        condense: float | None = None,
        fast: bool = False,
        follow: tuple[int, int] | None = None,
        split: tuple[int | str, int | str] | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        device: str = "cpu",
    ) -> tuple[Clip, ...]:
        """Write a person's moments as files (MP4, H.264 and AAC), each called after the person and numbered.

        Cuts are exact to the frame, the sound is cut to the sample. Frames keep their distances in time, whatever the
        frame rate. A file is replaced only when all of it is written; memory does not grow with the video's length.

        Args:
            video: the video that this timeline is of.
            person: a name or an id; None with `split`, and with `condense` for anybody.
            folder: where the files go; made if there is none.
            join: all moments in one file, one after the other.
            max_gap: seconds; moments that lie less than that apart are one.
            pad: seconds to add before and after each moment.
            segment: seconds; longer moments are cut into files of that length, the last one shorter.
            condense: seconds; one file of the whole video without what is longer than that and has no face (of the
                person).
            fast: take over whole groups of pictures as they are and encode only what is left of them at the ends.
            follow: (width, height) in pixels of a window that follows the person's face.
            split: two people side by side, each followed, when either is on screen; who is away stands still.
            workers: threads that encode; None: as many as there are cores.
            progress: called with the frames done and the frames there are.
            device: "cpu"; or "cuda", "cuda:N", "auto": windows (`follow`, `split`) are decoded and cut on a GPU, and
                encoded on the CPU all the same.

        Raises:
            GPUError: the GPU that is named cannot be used.
            InputValidationError: there is no such person, or there is nothing to cut; a value is out of its range; the
                timeline is of another video; the video cannot be read, or a file not be written.
            VideoProcessingError: not one frame of a clip can be decoded.
        """
        from fastface.clip import Wishes, make_clips

        wishes = Wishes(join, max_gap, pad, segment, condense, fast, follow, split)
        return make_clips(self, video, person, folder, wishes, workers, progress, device)

    def to_dict(self, *, embeddings: bool = False) -> dict[str, Any]:
        """The document, schema "fastface.timeline/1": plain dicts, lists, numbers and strings.

        The JSON Schema is the file `timeline.schema.json` of this package; see :func:`fastface.timeline_schema`.

        Args:
            embeddings: with those, if there are any.
        """
        from fastface.timeline.document import to_document

        return to_document(self, "inside" if embeddings else "no")

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Timeline:
        """Read a document back.

        Raises:
            InputValidationError: it is not a document of schema "fastface.timeline/1", and where it departs from it.
        """
        from fastface.timeline.document import from_document

        return from_document(document)

    def to_json(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        indent: int | None = None,
        embeddings: Literal["beside", "inside", "no"] | None = None,
    ) -> str:
        """The document as JSON text; also written to `path` if one is given.

        Args:
            path: such as "timeline.json".
            indent: spaces a level; None: one line.
            embeddings: "beside" writes them to "timeline.npz" (where `path` is "timeline.json"), "inside" into the
                document, "no" leaves them out. None: beside where there is a path, else no. They are biometric data.

        Raises:
            InputValidationError: `path` cannot be written (what was there stays as it was), or "beside" without one.
        """
        from fastface.timeline.document import dump_json

        return dump_json(self, path, indent=indent, embeddings=embeddings)

    @classmethod
    def from_json(cls, source: str | os.PathLike[str]) -> Timeline:
        """Read a file that :meth:`to_json` wrote (a path), with the embeddings beside it if they are there, or its text
        (a string that begins with "{").

        Raises:
            InputValidationError: there is no such file, it is not JSON, or not a document of this schema.
        """
        from fastface.timeline.document import load_json

        return load_json(source)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per detected face: frame, time, x1, y1, x2, y2, score, left_eye_x, ..., track, identity, name.

        identity is pandas' nullable Int64, <NA> where not told.
        """
        from fastface.timeline.tables import faces_frame

        return faces_frame(self)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_dataframe` as CSV.

        Raises:
            InputValidationError: `path` cannot be written.
        """
        from fastface.timeline.tables import faces_frame, write_csv

        write_csv(faces_frame(self), path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_dataframe` as Parquet; video, run, identities and tracks go into the file's metadata as JSON,
        under the key "fastface.timeline".

        Raises:
            InputValidationError: `path` cannot be written.
        """
        from fastface.timeline.tables import write_parquet

        write_parquet(self, path)

    def export(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        rate: float | None = None,
        start_timecode: str | None = None,
    ) -> None:
        """Write the timeline for another program; the file is replaced only when all is written.

        Args:
            path: the file.
            format: "json", "csv-spans", "csv-faces", "parquet", "vtt-chapters", "vtt-metadata", "edl", "otio", "mot" or
                "rekognition", see docs/exports.md. None: as the file's ending says, where one ending means one format.
            rate: frames a second that edl and otio count in, such as 29.97; None: the known rate nearest to the video's
                average. Frames are computed from seconds.
            start_timecode: at which the timeline of edl and otio begins; None: "01:00:00:00" for edl, unsaid for otio.

        Raises:
            InputValidationError: an argument is not what it must be, the file's ending does not say which format is
                meant, `path` cannot be written, the timeline lacks what the format needs (a frame rate, the size of the
                picture), or OpenTimelineIO is not installed.
        """
        from fastface.export import export

        export(self, path, format, rate=rate, start_timecode=start_timecode)

    def thumbnails(self, video: str | os.PathLike[str], *, size: int = 96) -> dict[int, NDArray[np.uint8]]:
        """The best face of each person, cut out of the video as a square.

        Of the video only the frames that are shown are decoded, and those from the key frame before each.

        Args:
            video: the video that this timeline is of.
            size: pixels of a side, in [16, 1024].

        Returns:
            By id of the person: [size, size, 3] uint8, RGB. Who has no face here, or none whose frame can be decoded,
            is left out.

        Raises:
            InputValidationError: size is out of its range, the video cannot be read, or the timeline is of another.
            VideoProcessingError: no frame of the video can be decoded.
        """
        from fastface.drawing.thumbnails import face_thumbnails

        return {who: np.array(picture) for who, picture in face_thumbnails(self, video, size).items()}

    def with_run(self, **facts: Any) -> Timeline:
        """The same timeline with these entries of `run` added or replaced."""
        return replace(self, run={**self.run, **facts})
