"""One way through all stages: owns the models, processes videos one after the other."""

from __future__ import annotations

import logging
import os
import time as clock
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastface.checkpoint import Checkpoints, fingerprint_of
from fastface.errors import GalleryError, InputValidationError
from fastface.executor import Executor, choose_executor
from fastface.faults import translate, translated, translates
from fastface.gallery import Gallery
from fastface.given import GivenFrames
from fastface.outcome import outcome
from fastface.passage import Progress, through
from fastface.run import Run
from fastface.settings import DetectorSettings, Device, EmbedMode, Precision, Settings
from fastface.timeline import Timeline
from fastface.types import FrameFaces
from fastface.validation import Limits, check_file
from fastface.watch import stage

_log = logging.getLogger("fastface")
_log.addHandler(logging.NullHandler())  # a library prints nothing unless it is asked to; see fastface.logs


class Pipeline:
    """Models and settings, ready for many videos; a context manager.

    Args:
        device: "cpu", "cuda" (the first GPU), "cuda:1" (the second), or "auto": the GPU if there is one that can be
            used, else the CPU; the result says which, and why.
        min_face_size: pixels, the smallest face that is looked for.
        thresholds: scores that MTCNN's three networks ask for.
        factor: from one level of MTCNN's pyramid to the next.
        embedder: name of a model, or "auto" (see `fastface models list`).
        embed: "track" embeds the best faces of each track, "every" embeds every face.
        faces_per_track: how many faces "track" takes.
        every: look for faces in every n-th frame only.
        min_track_score: mean score of a track's best faces under which the track is dismissed as the detector's error
            and its faces are left out; 0 keeps everything the detector finds.
        far: the chance that a stranger is taken for anybody in the gallery, in (0, 1); None: 1e-3 where the embedder is
            calibrated (docs/identities.md), else the model's published threshold, which the result says.
        similarity_threshold: cosine from which a person is taken for one of the gallery's, in place of `far`.
        linkage_threshold: average cosine from which tracks are one person; None: the model's.
        batch_size: frames a batch; None chooses by the size of the picture.
        precision: "fp16" or "fp32", of the networks on a GPU; the CPU always computes in float32.
        cpu_fallback: where the GPU's memory does not suffice for even the smallest batch, the CPU goes on from there,
            and the result's warnings say so; else that is an error.
        strict: a packet or frame that cannot be decoded is an error; else it is left out, counted in `frames_skipped`,
            and the result's warnings say so.
        limits: size, duration and resolution that a video may have, and the folder that paths may not leave.

    Raises:
        InputValidationError: a setting is out of its range.
        ModelError: the embedder is missing and cannot be fetched.
        GPUError: device="cuda" and there is no usable GPU.
    """

    def __init__(
        self,
        *,
        device: Device = "auto",
        min_face_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        embedder: str = "auto",
        embed: EmbedMode = "track",
        faces_per_track: int = 5,
        every: int = 1,
        min_track_score: float = 0.95,
        far: float | None = None,
        similarity_threshold: float | None = None,
        linkage_threshold: float | None = None,
        batch_size: int | None = None,
        precision: Precision = "fp16",
        cpu_fallback: bool = False,
        strict: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.settings = Settings(
            detector=DetectorSettings(min_face_size, thresholds, factor),
            embedder=embedder,
            embed=embed,
            faces_per_track=faces_per_track,
            every=every,
            min_track_score=min_track_score,
            far=far,
            similarity_threshold=similarity_threshold,
            linkage_threshold=linkage_threshold,
            batch_size=batch_size,
            precision=precision,
            cpu_fallback=cpu_fallback,
            strict=strict,
            limits=limits,
        )
        self._executor: Executor | None
        with translated():
            self._executor, self._warnings = choose_executor(self.settings, device)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release models and decoders; the pipeline cannot be used afterwards."""
        if self._executor is not None:
            self._executor.close()
        self._executor = None

    @property
    def executor(self) -> Executor:
        """What runs the stages that touch pixels.

        Raises:
            InputValidationError: the pipeline is closed.
        """
        if self._executor is None:
            raise InputValidationError("the pipeline is closed; make a new one")
        return self._executor

    @translates
    def gallery(self, folder: str | os.PathLike[str]) -> Gallery:
        """A gallery from a folder per person, made with this pipeline's models; see :meth:`Gallery.from_folder`."""
        gallery = Gallery(self.executor.spec.name)
        gallery.add_folder(folder, pipeline=self)
        return gallery

    @translates
    def process(
        self,
        path: str | os.PathLike[str],
        *,
        gallery: Gallery | str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float = 30.0,
    ) -> Timeline:
        """Find out who is on screen, when and where.

        Args:
            path: a video file.
            gallery: known people, the path of a file that :meth:`Gallery.save` wrote, or a folder of them.
            progress: called after each batch, or several whose turn comes at once, with the frames done and the frames
                there are (or None).
            checkpoint: a file that says how far the run is: written now and then, removed at the end. Where it is there
                at the start, the run goes on from it, and the timeline is that of an unbroken run.
            checkpoint_seconds: how often, at least 0.

        Raises:
            InputValidationError: no such file, not a video, or the checkpoint is of another run.
            VideoProcessingError: not one frame can be decoded.
            GalleryError: the gallery cannot be used, or was made with another model.
        """
        name = os.fspath(path)
        _log.info("%s: started", name, extra={"event": "started", "video": name})
        try:
            timeline = self._process(path, gallery, progress, checkpoint, checkpoint_seconds)
        except Exception as error:
            _log_failure(name, error)
            raise
        facts = timeline.run
        for sentence in facts["warnings"]:
            _log.warning("%s: %s", name, sentence, extra={"event": "warning", "video": name})
        _log.info(
            "%s: %d frames in %.1f s, %d left out", name, facts["frames_decoded"], facts["seconds"],
            facts["frames_skipped"], extra={"event": "finished", "video": name},
        )  # fmt: skip
        return timeline

    def _process(
        self,
        path: str | os.PathLike[str],
        gallery: Gallery | str | os.PathLike[str] | None,
        progress: Progress | None,
        checkpoint: str | os.PathLike[str] | None,
        checkpoint_seconds: float,
    ) -> Timeline:
        begin = clock.perf_counter()
        path = check_file(path, self.settings.limits or Limits())
        if checkpoint_seconds < 0:
            raise InputValidationError(f"checkpoint_seconds is {checkpoint_seconds}, must be at least 0")
        saved = None
        if checkpoint is not None:
            fingerprint = fingerprint_of(path, self.settings, self.executor.spec.name)
            saved = Checkpoints(checkpoint, checkpoint_seconds, fingerprint)
        gallery = self._known(gallery)
        warnings = [*self._warnings, *(gallery.warnings if gallery else ())]
        stage("frames")
        run, decoder = through(path, self.executor, self.settings, progress=progress, saved=saved, warnings=warnings)
        stage("people")
        timeline = outcome(run, decoder, gallery, warnings, begin)
        if saved is not None:
            saved.remove()
        return timeline

    @translates
    def process_frames(
        self,
        batches: Iterable[tuple[Any, Sequence[float]]],
        *,
        matrix: str | None = None,
        full_range: bool = False,
        gallery: Gallery | str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        name: str = "frames",
    ) -> Timeline:
        """Find out who is on screen in frames that another library decoded.

        A batch may be overwritten as soon as the next is asked for.

        Args:
            batches: of frames, as :meth:`detect` takes them, all of one size, and for each frame its time in seconds,
                ascending over all batches.
            matrix, full_range: see :meth:`detect`.
            gallery, progress: see :meth:`process`.
            name: stands in the result in place of a path.

        Raises:
            InputValidationError: frames or times are not as they must be, or there is not one frame.
            GalleryError: see :meth:`process`.
        """
        begin = clock.perf_counter()
        executor, settings = self.executor, self.settings
        gallery = self._known(gallery)
        source = GivenFrames(name)
        run: Run | None = None
        for frames, times in batches:
            time = np.asarray(times, np.float64).reshape(-1)
            index = np.arange(len(time), dtype=np.int64) + source.stats.frames
            batch = executor.given(frames, index, time, matrix, full_range)
            source.add(time, *executor.size(batch))
            if run is None:
                step = float(np.diff(time).mean()) if len(time) > 1 else 1 / 25
                run = Run(executor, replace(settings, every=1), step)
            for seen in executor.look([batch], run.crops, run.spent):
                run.add(seen)
            run.look_at_memory()
            if progress is not None:
                progress(source.stats.frames, None)
        if run is None or not source.stats.frames:
            raise InputValidationError("there is not one frame")
        run.finish()
        return outcome(run, source, gallery, [*self._warnings, *(gallery.warnings if gallery else ())], begin)

    @translates
    def detect(
        self,
        frames: Any,
        *,
        stream: Any = None,
        max_faces: int | None = None,
        matrix: str | None = None,
        full_range: bool = False,
    ) -> FrameFaces:
        """Find the faces of frames that another library decoded.

        Without `stream`, the result is there when this returns. With one (on a GPU), everything is queued on it,
        nothing waits, and the caller synchronises; then, if `overflow` of the result is not 0, something did not fit,
        and the call is to be made again without a stream, which makes room.

        Args:
            frames: RGB [N, H, W, 3] or NV12 [N, H * 3 / 2, W], uint8, contiguous, where the pipeline runs: anything
                with `__dlpack__` or `__cuda_array_interface__`; nothing is copied. With a stream, they must stay as
                they are until it has come that far.
            stream: a CUDA stream of torch or CuPy, anything with `__cuda_stream__`, or its address.
            max_faces: places a frame in the result; with a stream 64 unless given, without one as many as are found.
            matrix: of NV12: "bt601", "bt709" or "bt2020"; None: bt709 from 720 lines on, else bt601.
            full_range: of NV12: Y covers [0, 255], not [16, 235].

        Raises:
            InputValidationError: frames are not as they must be.
            GPUMemoryError: there is no room for one frame.
        """
        if max_faces is not None and max_faces < 1:
            raise InputValidationError(f"max_faces is {max_faces}, must be at least 1")
        return self.executor.detect_frames(
            frames, stream=stream, max_faces=max_faces, matrix=matrix, full_range=full_range
        )

    @translates
    def embed(
        self,
        frames: Any,
        boxes: Any,
        *,
        rows: Any = None,
        stream: Any = None,
        matrix: str | None = None,
        full_range: bool = False,
    ) -> Any:
        """Embed faces of frames that another library decoded.

        Args:
            frames, stream, matrix, full_range: see :meth:`detect`, and there for who synchronises.
            boxes: [N, K, 4] floating point, xyxy in pixels, K of each frame (such as `detect` gives; those beyond a
                frame's count give vectors that mean nothing), or [M, 4] with `rows`.
            rows: [M] whole numbers, which frame each box is of.

        Returns:
            [N, K, D] or [M, D] float32 unit vectors, where the frames are.

        Raises:
            InputValidationError: frames, boxes or rows are not as they must be.
        """
        return self.executor.embed_frames(frames, boxes, rows, stream=stream, matrix=matrix, full_range=full_range)

    def _known(self, gallery: Gallery | str | os.PathLike[str] | None) -> Gallery | None:
        """The gallery, read from a file or made of a folder if it is one, and of this pipeline's model."""
        if gallery is not None and not isinstance(gallery, Gallery):
            if not os.path.exists(gallery):
                raise GalleryError(
                    f"there is no gallery {os.fspath(gallery)!r}: give a file that Gallery.save wrote, or a folder "
                    "that holds a folder of photographs per person"
                )
            gallery = Gallery.load(gallery) if os.path.isfile(gallery) else self.gallery(gallery)
        if gallery is not None:
            gallery.check_model(self.executor.spec.name)
        return gallery


def _log_failure(name: str, error: Exception) -> None:
    told = translate(error) or error
    about = {"video": name, "frame": getattr(told, "frame", None), "error": type(told).__name__}
    _log.error("%s: %s", name, told, extra={"event": "failed", **about})
