"""The GPU decoder's scheduling, with a stand-in for the device."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from decode_clips import CLIPS, FOR_NVDEC, loop, make
from decoded import check_equals_libav, take, whole
from fake_gpu import FakeGpu

from fastface.decode import LibavDecoder
from fastface.decode.cuda import SessionPool
from fastface.decode.device import DeviceFrameBatch, InOrder, Unsupported, stream_address
from fastface.decode.nvdec import NvdecDecoder
from fastface.errors import GPUError, GPUMemoryError, InputValidationError


class TestScheduling:
    """Everything but CUDA, on any machine."""

    @pytest.mark.parametrize("name", FOR_NVDEC)
    @pytest.mark.parametrize("sessions", [1, 3])
    def test_same_as_libav(self, clip: Any, name: str, sessions: int) -> None:
        path = clip(name)
        with NvdecDecoder(path, sessions=sessions, batch_size=8, min_frames=25, _backend=FakeGpu.maker()) as decoder:
            check_equals_libav(decoder, path)

    @pytest.mark.parametrize("every", [2, 7, 50])
    @pytest.mark.parametrize("ordered", [True, False])
    def test_every(self, clip: Any, every: int, ordered: bool) -> None:
        path = clip("h264_vfr")
        maker = FakeGpu.maker()
        with NvdecDecoder(
            path, sessions=3, every=every, batch_size=4, min_frames=25, ordered=ordered, _backend=maker
        ) as decoder:
            index, time, pts, pixels = take(decoder)
        order = np.argsort(index)
        want_pts, want = whole(path)
        assert sorted(index) == list(range(0, 120, every))
        assert [pts[i] for i in order] == want_pts[::every]
        assert np.array_equal(pixels[order], want[::every])
        with LibavDecoder(path) as reference:
            for _ in reference:
                pass
        assert decoder.stats.times == reference.stats.times
        assert decoder.stats.end == reference.stats.end
        assert decoder.stats.frames == 120
        assert [time[i] for i in order] == reference.stats.times[::every]

    def test_small_ring_is_slow_but_never_stuck(self, clip: Any, tmp_path: Path) -> None:
        loop(clip("h264_closed"), tmp_path / "long.mp4", 600)
        maker = FakeGpu.maker()
        with NvdecDecoder(
            tmp_path / "long.mp4", sessions=4, batch_size=4, min_frames=25, hold=1, memory=1, _backend=maker
        ) as decoder:
            index, *_ = take(decoder)
        assert maker.made[0].blocks == 3
        assert index == list(range(600))

    @pytest.mark.parametrize(("frames", "sessions", "batch"), [(4000, 3, 32), (400, 3, 8), (200, 2, 8), (8, 1, 1)])
    def test_little_memory_is_not_taken_whole(self, clip: Any, frames: int, sessions: int, batch: int) -> None:
        """A quarter of what is free is the ring's, a quarter the sessions', while something can be done with it."""
        with NvdecDecoder(clip("h264_closed"), _backend=FakeGpu.maker()) as plenty:
            frame_bytes = plenty._form.frame_bytes
        maker = FakeGpu.maker(free_bytes=frames * frame_bytes)
        with NvdecDecoder(clip("h264_closed"), min_frames=25, ordered=False, _backend=maker) as decoder:
            assert (decoder.sessions, decoder.batch_size) == (sessions, batch)
            seen = 0
            for some in decoder:
                seen += len(some)
                some.release(0)
        assert seen == 120
        short = f"memory is short, so it decodes in {sessions} sessions, not 3"
        assert any(short in w for w in decoder.stats.warnings) == (sessions < 3)

    def test_consumer_may_hold_what_it_said(self, clip: Any) -> None:
        with NvdecDecoder(
            clip("h264_closed"), sessions=4, batch_size=4, min_frames=25, hold=3, memory=1, _backend=FakeGpu.maker()
        ) as decoder:
            held: list[DeviceFrameBatch] = []
            seen = 0
            for batch in decoder:
                held.append(batch)
                seen += len(batch)
                if len(held) > 3:
                    held.pop(0).release(0)
            assert seen == 120

    def test_holding_more_is_an_error_not_a_hang(self, clip: Any) -> None:
        with NvdecDecoder(
            clip("h264_closed"), sessions=2, batch_size=4, min_frames=25, hold=2, memory=1, _backend=FakeGpu.maker()
        ) as decoder:
            held: list[Any] = []
            with pytest.raises(RuntimeError, match="release them"):
                held.extend(decoder)

    def test_unordered_batches_are_put_in_order(self, clip: Any, tmp_path: Path) -> None:
        loop(clip("h264_no_b"), tmp_path / "long.mp4", 600)
        with NvdecDecoder(
            tmp_path / "long.mp4", sessions=4, batch_size=8, min_frames=25, ordered=False,
            _backend=FakeGpu.maker(delay=0.0005)
        ) as decoder:  # fmt: skip
            order, out = InOrder(), []
            for batch in decoder:
                assert len(batch) <= 8
                out += order.push(batch, batch.index.tolist())
                batch.release(0)
        assert [i for b in out for i in b] == list(range(600))
        assert len(order) == 0
        assert decoder.stats.times == sorted(decoder.stats.times)
        assert len(decoder.stats.times) == 600

    def test_sessions_are_used_again_for_the_same_kind(self, clip: Any, tmp_path: Path) -> None:
        loop(clip("h264_no_b"), tmp_path / "long.mp4", 240)
        pool, maker = SessionPool(), FakeGpu.maker(delay=0.001)

        def run(path: Path) -> list[np.ndarray]:
            with NvdecDecoder(path, sessions=3, batch_size=8, min_frames=25, pool=pool, _backend=maker) as decoder:
                out = []
                for batch in decoder:
                    out += [frame.copy() for frame in batch.pixels]
                    batch.release(0)
                return out

        first, again = run(tmp_path / "long.mp4"), run(tmp_path / "long.mp4")
        np.testing.assert_array_equal(first, again)
        assert [gpu.opened for gpu in maker.made] == [3, 0]
        assert sum(gpu.closed for gpu in maker.made) == 0
        run(clip("hevc_idr"))  # another kind: what was kept goes
        assert maker.made[0].closed == 3
        pool.close()
        assert sum(gpu.opened for gpu in maker.made) == sum(gpu.closed for gpu in maker.made)
        with NvdecDecoder(clip("hevc_idr"), sessions=1, pool=pool, _backend=maker) as decoder:
            next(iter(decoder)).release(0)  # and stopped in the middle
        assert maker.made[-1].opened == maker.made[-1].closed == 1

    @pytest.mark.parametrize("most", [1, 2])
    def test_with_fewer_sessions_than_wanted(self, clip: Any, tmp_path: Path, most: int) -> None:
        loop(clip("h264_no_b"), tmp_path / "long.mp4", 480)
        maker = FakeGpu.maker(most_sessions=most, delay=0.001)
        with NvdecDecoder(
            tmp_path / "long.mp4", sessions=4, batch_size=8, min_frames=25, _backend=maker
        ) as decoder:  # fmt: skip
            index = []
            for batch in decoder:
                index += batch.index.tolist()
                batch.release(0)
            assert index == list(range(480))
            assert decoder.stats.warnings == ["fewer NVDEC sessions than wanted could be opened (out of memory)"]
        with pytest.raises(GPUMemoryError, match="an NVDEC session cannot be opened: out of memory"):
            NvdecDecoder(tmp_path / "long.mp4", sessions=4, _backend=FakeGpu.maker(most_sessions=0))

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("ordered", [True, False])
    def test_the_first_session_cannot_be_opened(self, clip: Any, tmp_path: Path, ordered: bool) -> None:
        """While the others are far ahead: one of them does what the first should have done."""
        loop(clip("h264_no_b"), tmp_path / "long.mp4", 960)
        maker, first = FakeGpu.maker(), threading.Event()

        def backend(device: int, form: Any) -> Any:
            gpu = maker(device, form)
            opened = gpu.session

            def session() -> Any:
                if not first.is_set():
                    first.set()
                    time.sleep(0.5)
                    raise RuntimeError("out of memory")
                return opened()

            gpu.session = session
            return gpu

        with NvdecDecoder(
            tmp_path / "long.mp4", sessions=4, batch_size=4, min_frames=60, memory=1, ordered=ordered, _backend=backend
        ) as decoder:
            index, order, waiting = [], InOrder(), 0
            for batch in decoder:
                waiting += len(batch)
                for now in order.push(batch, batch.index):
                    waiting -= len(now)
                    index += now.tolist()
                batch.release(0)
                if not ordered:
                    decoder.hold_back(waiting > 8)
        assert index == list(range(960))
        assert decoder.stats.warnings == ["fewer NVDEC sessions than wanted could be opened (out of memory)"]

    def test_held_back_only_what_is_due_comes(self, clip: Any, tmp_path: Path) -> None:
        loop(clip("h264_no_b"), tmp_path / "long.mp4", 600)

        def early(hold: bool) -> tuple[int, list[int]]:
            """The most frames that waited for their turn at once, and all in order."""
            with NvdecDecoder(
                tmp_path / "long.mp4", sessions=4, batch_size=8, min_frames=25, ordered=False,
                _backend=FakeGpu.maker(delay=0.0005)
            ) as decoder:  # fmt: skip
                order, out, waiting, most = InOrder(), [], 0, 0
                for batch in decoder:
                    due = order.push(batch, batch.index.tolist())
                    batch.release(0)
                    out += [i for numbers in due for i in numbers]
                    waiting = max(waiting + len(batch) - sum(map(len, due)), 0)
                    most = max(most, waiting)
                    if hold:
                        decoder.hold_back(waiting > 0)
            return most, out

        # What the others had decoded when they were held back: a batch ready and a batch begun each. This thread may
        # come late to hold them back, or early to take what they have; one that is not held back has more at times.
        most, free, held = 3 * 2 * 8 + 8, 0, 600
        for _ in range(5):
            (now_free, a), (now_held, b) = early(False), early(True)
            assert a == b == list(range(600))
            free, held = max(free, now_free), min(held, now_held)
            if held <= most < free:
                break
        assert held <= most < free

    def test_events_keep_readers_and_writers_apart(self, clip: Any) -> None:
        with NvdecDecoder(
            clip("h264_closed"), sessions=1, batch_size=4, memory=1, hold=1, _backend=FakeGpu.maker()
        ) as decoder:
            blocks = list(decoder._ring.free)
            for batch in decoder:
                assert len(batch.ready.records) >= 1  # type: ignore[attr-defined]
                batch.wait(77)
                batch.release(77)
                batch.release(77)  # once is enough
            used = [b for b in decoder._ring.free if b.freed.records]  # type: ignore[attr-defined]
            assert {id(b) for b in used} <= {id(b) for b in decoder._ring.free} | {id(b) for b in blocks}
            assert sum(len(b.freed.records) for b in used) == 30  # type: ignore[attr-defined]
            # Each reuse waited for the reader before it.
            for b in used:
                assert len(b.freed.waits) == len(b.freed.records) - 1  # type: ignore[attr-defined]

    def test_releasing_without_a_stream_waits_for_the_device(self, clip: Any) -> None:
        maker = FakeGpu.maker()
        with NvdecDecoder(clip("h264_closed"), sessions=1, _backend=maker) as decoder:
            for batch in decoder:
                with batch:
                    pass
        assert maker.made[0].synchronized == 4

    @pytest.mark.parametrize("fail_at", [1, 40, 119])
    def test_a_failure_is_raised_and_everything_released(self, clip: Any, fail_at: int) -> None:
        maker = FakeGpu.maker(fail_at=fail_at)
        before = threading.active_count()
        with (
            pytest.raises(GPUError, match="NVDEC failed at frame"),
            NvdecDecoder(clip("h264_closed"), sessions=3, batch_size=8, min_frames=25, _backend=maker) as decoder,
        ):
            take(decoder)
        assert threading.active_count() == before
        assert maker.made[0].opened == maker.made[0].closed

    def test_want_of_memory_is_said(self, clip: Any) -> None:
        raw = "HandlePictureDisplay : \nError code : 2\nError Type : CUDA_ERROR_OUT_OF_MEMORY\nat /x/NvDecoder.cpp:9\n"
        maker = FakeGpu.maker(fail_at=40, message=raw)
        with (
            pytest.raises(GPUMemoryError, match=r"HandlePictureDisplay : Error code : 2, .*CUDA_ERROR_OUT_OF_MEMORY$"),
            NvdecDecoder(clip("h264_closed"), sessions=3, batch_size=8, min_frames=25, _backend=maker) as decoder,
        ):
            take(decoder)

    def test_what_the_chip_refuses_is_unsupported(self, clip: Any) -> None:
        maker = FakeGpu.maker(fail_at=1, message="Codec not supported on this GPU")
        with pytest.raises(Unsupported, match="Codec not supported"):
            NvdecDecoder(clip("h264_closed"), _backend=maker)

    def test_closing_early(self, clip: Any) -> None:
        before = threading.active_count()
        maker = FakeGpu.maker()
        with NvdecDecoder(clip("h264_closed"), sessions=3, batch_size=2, memory=1, _backend=maker) as decoder:
            batch = next(iter(decoder))
        assert threading.active_count() == before
        assert maker.made[0].opened == maker.made[0].closed >= 1
        assert np.array_equal(batch.pixels, whole(clip("h264_closed"))[1][:2])
        batch.release()
        decoder.close()

    def test_memory_is_halved_until_it_fits(self, clip: Any) -> None:
        maker = FakeGpu.maker(room=9)
        with NvdecDecoder(clip("h264_closed"), sessions=4, batch_size=2, _backend=maker) as decoder:
            assert 5 <= maker.made[0].blocks <= 9
            assert decoder.ring_bytes == maker.made[0].blocks * 2 * 320 * 288
            take(decoder)
        with pytest.raises(GPUMemoryError, match="batches of 2 frames"):
            NvdecDecoder(clip("h264_closed"), sessions=4, batch_size=2, _backend=FakeGpu.maker(room=1))

    def test_batches_are_halved_where_not_even_few_fit(self, clip: Any) -> None:
        class Small(FakeGpu):
            def allocate(self, blocks: int, batch: int) -> list[np.ndarray]:
                if batch > 8:
                    raise MemoryError("no room")
                return super().allocate(blocks, batch)

        with NvdecDecoder(clip("h264_closed"), sessions=2, _backend=Small.maker()) as decoder:
            assert decoder.batch_size == 8
            assert len(take(decoder)[0]) == decoder.stats.frames

    def test_once(self, clip: Any) -> None:
        with NvdecDecoder(clip("h264_closed"), _backend=FakeGpu.maker()) as decoder:
            take(decoder)
            with pytest.raises(RuntimeError, match="once"):
                next(iter(decoder))

    @pytest.mark.parametrize("setting", ["every", "batch_size", "sessions", "hold"])
    def test_bad_arguments(self, clip: Any, setting: str) -> None:
        with pytest.raises(InputValidationError, match=f"{setting} is 0"):
            NvdecDecoder(clip("h264_closed"), _backend=FakeGpu.maker(), **{setting: 0})

    @pytest.mark.parametrize("name", ["mpeg2", "mpeg2_open"])
    def test_other_codecs_are_unsupported(self, clip: Any, name: str) -> None:
        with pytest.raises(Unsupported, match="mpeg2video"):
            NvdecDecoder(clip(name), _backend=FakeGpu.maker())

    def test_other_chroma_is_unsupported(self, tmp_path: Path) -> None:
        from dataclasses import replace

        path = make(tmp_path / "a.mp4", replace(CLIPS["h264_closed"], pixel_format="yuv444p"), frames=8)
        with pytest.raises(Unsupported, match="yuv444p"):
            NvdecDecoder(path, _backend=FakeGpu.maker())

    def test_cropping_at_the_left_is_unsupported(self, clip: Any, tmp_path: Path) -> None:
        from av.bitstream import BitStreamFilterContext

        with av.open(str(clip("h264_cropped"))) as source, av.open(str(tmp_path / "left.ts"), "w") as out:
            stream = source.streams.video[0]
            target = out.add_stream_from_template(stream)
            shift = BitStreamFilterContext("h264_mp4toannexb,h264_metadata=crop_left=2:crop_right=4", stream)
            for packet in source.demux(stream):
                for moved in shift.filter(packet if packet.size else None):
                    moved.stream = target
                    out.mux(moved)
        with pytest.raises(Unsupported, match="left"):
            NvdecDecoder(tmp_path / "left.ts", _backend=FakeGpu.maker())

    def test_stream_addresses(self) -> None:
        class Cupy:
            ptr = 5

        class Torch:
            cuda_stream = 6

        class Protocol:
            def __cuda_stream__(self) -> tuple[int, int]:
                return 0, 7

        assert [stream_address(s) for s in (4, Cupy(), Torch(), Protocol())] == [4, 5, 6, 7]
        with pytest.raises(TypeError, match="no CUDA stream"):
            stream_address("stream")
