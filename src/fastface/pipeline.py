"""One way through all stages: owns the models, processes videos one after the other."""

from __future__ import annotations

import contextlib
import logging
import os
import time as clock
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastface.checkpoint import Checkpoint, Checkpoints, fingerprint_of
from fastface.decode import Ahead
from fastface.decode.device import Unsupported
from fastface.errors import GalleryError, GPUMemoryError, InputValidationError, VideoProcessingError
from fastface.executor import CpuExecutor, Executor, choose_executor
from fastface.faults import translate, translated, translates
from fastface.gallery import Gallery
from fastface.given import GivenFrames
from fastface.match import identify
from fastface.match.credible import credible_faces
from fastface.match.naming import similarity_threshold
from fastface.run import Run
from fastface.settings import DetectorSettings, Device, EmbedMode, Precision, Settings
from fastface.timeline import Timeline
from fastface.timeline.build import build_timeline
from fastface.types import FrameFaces
from fastface.validation import Limits, check_file, check_info
from fastface.version import __version__
from fastface.watch import check, stage

_log = logging.getLogger("fastface")
_log.addHandler(logging.NullHandler())  # a library prints nothing unless it is asked to; see fastface.logs

Progress = Callable[[int, "int | None"], None]
"""Called with the frames done and the frames there are (None where the container does not say)."""


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
            progress: called after each batch with the frames done and the frames there are (or None).
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
        run, decoder = self._through(path, progress, saved, warnings)
        stage("people")
        timeline = self._timeline(run, decoder, gallery, warnings, begin)
        if saved is not None:
            saved.remove()
        return timeline

    def _through(
        self, path: Path, progress: Progress | None, saved: Checkpoints | None, warnings: list[str]
    ) -> tuple[Run, Any]:
        """Send a video through, by another way where one does not lead to the end; adds to `warnings` why."""
        executor, before, fallback = self.executor, None, False
        if saved is not None:
            before = saved.read()
        while True:
            fallback = fallback or (before is not None and before.decoder == "libav")
            try:
                return self._run(path, progress, saved, executor, before, fallback=fallback)
            except Unsupported as unsupported:
                warnings.append(f"decoder: {unsupported.reason}, so libav decoded it on the CPU")
                before, fallback = None, True
                if saved is not None:
                    saved.remove()  # it holds what the other decoder gave
            except Exception as error:
                short = error if isinstance(error, _Short) else translate(error) or error
                if not isinstance(short, _Short | GPUMemoryError) or not self.settings.cpu_fallback:
                    raise
                before = short.state if isinstance(short, _Short) else before
                frame = 0 if before is None else before.frame
                warnings.append(f"device: from frame {frame} on the CPU was used, because {short}")
                executor = CpuExecutor(self.settings, executor.spec)

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
            for seen in executor.look([batch], run.crops):
                run.add(seen)
            run.look_at_memory()
            if progress is not None:
                progress(source.stats.frames, None)
        if run is None or not source.stats.frames:
            raise InputValidationError("there is not one frame")
        run.finish()
        return self._timeline(run, source, gallery, [*self._warnings, *(gallery.warnings if gallery else ())], begin)

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

    def _timeline(self, run: Run, decoder: Any, gallery: Gallery | None, warnings: list[str], begin: float) -> Timeline:
        """Who the tracks are, and the result."""
        executor, settings = run.executor, run.settings
        info, stats, interval = decoder.info, decoder.stats, run.interval
        found = run.faces()
        faces, certain = credible_faces(found, run.tracker.overlaps(), settings.min_track_score, interval)
        embeddings = run.embeddings
        embeddings = embeddings[np.isin(embeddings.track, list(certain))]
        spec = executor.spec
        linkage = settings.linkage_threshold
        linkage = spec.linkage_threshold if linkage is None else linkage
        similarity, far, uncalibrated = similarity_threshold(
            spec, len(gallery or ()), far=settings.far, fixed=settings.similarity_threshold
        )
        if gallery and uncalibrated:
            warnings = [*warnings, uncalibrated]
        may_be_person = np.array([certain[int(t)] for t in embeddings.track], bool)
        people = identify(
            embeddings,
            may_be_person,
            run.tracker.conflicts(),
            linkage_threshold=linkage,
            gallery=gallery,
            similarity_threshold=similarity,
        )
        facts = {
            "version": __version__,
            "device": executor.device,
            "decoder": {"name": decoder.name, "every": settings.every},
            "detector": {"name": "mtcnn", **asdict(settings.detector)},
            "embedder": {
                "name": spec.name,
                "dim": spec.dim,
                "embed": settings.embed,
                "faces_per_track": settings.faces_per_track if settings.embed == "track" else None,
                "faces_embedded": int(embeddings.count.sum()),
                "min_track_score": settings.min_track_score,
                "linkage_threshold": linkage,
                "similarity_threshold": round(similarity, 4),
                "far": far,
            },
            "gpu_memory_peak": run.memory,
            "host_memory_peak": run.host_memory,
            "faces_dismissed": len(found) - len(faces),
            "frames_decoded": stats.frames,
            "frames_skipped": stats.skipped,
            "warnings": [*warnings, *executor.shortages(), *stats.warnings],
            "seconds": round(clock.perf_counter() - begin, 3),
        }
        facts["detector"]["thresholds"] = list(facts["detector"]["thresholds"])
        return build_timeline(info, stats.times, stats.end, facts, faces, people, settings.every, embeddings)

    def _run(
        self,
        path: Path,
        progress: Progress | None,
        saved: Checkpoints | None,
        executor: Executor,
        before: Checkpoint | None,
        *,
        fallback: bool,
    ) -> tuple[Run, Any]:
        """Send a video through the stages up to the embeddings; returns what grew, and the (closed) decoder.

        Args:
            before: where to go on; None: at the beginning.
            fallback: decode with libav, whatever the executor's own decoder is.

        Raises:
            Unsupported: the executor's own decoder cannot decode this stream.
            _Short: the GPU's memory does not suffice, and the CPU may go on.
        """
        settings = self.settings
        start = 0 if before is None else before.frame
        with executor.open(path, fallback=fallback, start=start) as decoder:
            check_info(decoder.info, settings.limits or Limits())
            run = Run(executor, settings, settings.every / (decoder.info.average_rate or 25.0), start)
            if before is not None:
                run.restore(before.arrays)
            # A decoder with threads of its own needs none to run ahead.
            source = contextlib.nullcontext(decoder) if decoder.threaded else Ahead(decoder, depth=1)
            try:
                with source as batches:
                    for seen in executor.look(batches, run.crops):
                        check()
                        run.add(seen)
                        run.look_at_memory()
                        if settings.strict:
                            _nothing_lost(decoder)
                        if saved is not None and saved.due:
                            saved.write(Checkpoint(run.next_frame, decoder.name, run.state()))
                        if progress is not None:
                            progress(min(run.next_frame, decoder.stats.frames), decoder.info.frame_count)
                run.finish()
            except Exception as error:
                told = translate(error) or error
                if not isinstance(told, GPUMemoryError) or not settings.cpu_fallback:
                    raise
                raise _Short(str(told), Checkpoint(run.next_frame, decoder.name, run.state())) from error
        if settings.strict:
            _nothing_lost(decoder)
        return run, decoder


class _Short(Exception):
    """The GPU's memory does not suffice; what was done is in `state`."""

    def __init__(self, reason: str, state: Checkpoint) -> None:
        super().__init__(reason)
        self.state = state


def _log_failure(name: str, error: Exception) -> None:
    told = translate(error) or error
    about = {"video": name, "frame": getattr(told, "frame", None), "error": type(told).__name__}
    _log.error("%s: %s", name, told, extra={"event": "failed", **about})


def _nothing_lost(decoder: Any) -> None:
    """Raise if the decoder left anything out.

    Raises:
        VideoProcessingError: it did.
    """
    stats = decoder.stats
    if stats.skipped:
        raise VideoProcessingError(
            f"{stats.skipped} packets or frames of {decoder.info.path!r} could not be decoded, the first of them "
            f"before frame {stats.frames}, and strict=True was asked for: {'; '.join(stats.warnings)}",
            frame=stats.frames,
            time=stats.times[-1] if stats.times else None,
        )
