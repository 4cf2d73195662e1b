"""One video through the stages, from its file to the embeddings; on the way out where the GPU cannot go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastface.checkpoint import Checkpoint, Checkpoints
from fastface.decode import Ahead
from fastface.decode.device import Unsupported
from fastface.errors import GPUMemoryError, VideoProcessingError
from fastface.executor import CpuExecutor, Executor
from fastface.faults import translate
from fastface.run import Run
from fastface.settings import Settings
from fastface.validation import Limits, check_info
from fastface.watch import check

Progress = Callable[[int, "int | None"], None]
"""Called with the frames done and the frames there are (None where the container does not say)."""


def through(
    path: Path,
    executor: Executor,
    settings: Settings,
    *,
    progress: Progress | None,
    saved: Checkpoints | None,
    warnings: list[str],
) -> tuple[Run, Any]:
    """Send a video through the stages up to the embeddings, by another way where one does not lead to the end.

    Args:
        path: of the video.
        executor: what computes.
        settings: see :class:`fastface.settings.Settings`.
        progress: called after each batch with the frames done and the frames there are (or None).
        saved: where checkpoints are; None without.
        warnings: to which is added why another way was taken.

    Returns:
        What grew, and the (closed) decoder.

    Raises:
        VideoProcessingError: not one frame can be decoded, or something was lost and `strict` was asked for.
        GPUMemoryError: there is none, and the CPU may not go on.
    """
    before, fallback = None, False
    if saved is not None:
        before = saved.read()
    while True:
        fallback = fallback or (before is not None and before.decoder == "libav")
        try:
            return _once(path, executor, settings, progress, saved, before, fallback=fallback)
        except Unsupported as unsupported:
            warnings.append(f"decoder: {unsupported.reason}, so libav decoded it on the CPU")
            before, fallback = None, True
            if saved is not None:
                saved.remove()  # it holds what the other decoder gave
        except Exception as error:
            short = error if isinstance(error, _Short) else translate(error) or error
            if not isinstance(short, _Short | GPUMemoryError) or not settings.cpu_fallback:
                raise
            before = short.state if isinstance(short, _Short) else before
            frame = 0 if before is None else before.frame
            warnings.append(f"device: from frame {frame} on the CPU was used, because {short}")
            executor = CpuExecutor(settings, executor.spec)


def _once(
    path: Path,
    executor: Executor,
    settings: Settings,
    progress: Progress | None,
    saved: Checkpoints | None,
    before: Checkpoint | None,
    *,
    fallback: bool,
) -> tuple[Run, Any]:
    """The same by one way.

    Args:
        before: where to go on; None: at the beginning.
        fallback: decode with libav, whatever the executor's own decoder is.

    Raises:
        Unsupported: the executor's own decoder cannot decode this stream.
        _Short: the GPU's memory does not suffice, and the CPU may go on.
    """
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
                for seen in executor.look(batches, run.crops, run.spent):
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
