"""Pictures for the tests of kernels, on the host and on the device; and what a pass makes of them."""

from __future__ import annotations

import numpy as np


def picture(rng: np.random.Generator, n: int, height: int, width: int) -> np.ndarray:
    """Smooth noise [n, height, width, 3] uint8, so that resampling has something to average."""
    coarse = rng.integers(0, 256, (n, height // 8 + 2, width // 8 + 2, 3)).astype(np.float32)
    fine = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(fine + rng.normal(0, 12, fine.shape), 0, 255).astype(np.uint8)


def on_gpu(torch, pixels: np.ndarray):
    from fastface.gpu.frames import DeviceFrames

    return DeviceFrames.from_rgb(torch.from_numpy(pixels).cuda())


def nv12_of(rng: np.random.Generator, n: int, height: int, width: int, pitch: int) -> np.ndarray:
    out = np.zeros((n, height + (height + 1) // 2, pitch), np.uint8)
    out[:, :height, :width] = rng.integers(0, 256, (n, height, width))
    out[:, height:, : width + width % 2] = rng.integers(0, 256, (n, (height + 1) // 2, width + width % 2))
    return out


def rgb_of(samples: np.ndarray, width: int, height: int, matrix: str, full: bool) -> np.ndarray:
    """NV12 to RGB in float64, from the standards' definitions."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    kg = 1 - kr - kb
    y = samples[:, :height, :width].astype(np.float64)
    uv = samples[:, height:].reshape(len(samples), -1, samples.shape[2] // 2, 2).astype(np.float64)
    uv = uv.repeat(2, 1).repeat(2, 2)[:, :height, :width] - 128
    y, uv = (y / 255, uv / 255) if full else ((y - 16) / 219, uv / 224)
    r, b = y + 2 * (1 - kr) * uv[..., 1], y + 2 * (1 - kb) * uv[..., 0]
    g = (y - kr * r - kb * b) / kg
    return np.clip(np.stack([r, g, b], -1) * 255, 0, 255)


def random_rects(rng: np.random.Generator, m: int, height: int, width: int) -> np.ndarray:
    x, y = np.sort(rng.integers(0, width + 1, (m, 2))), np.sort(rng.integers(0, height + 1, (m, 2)))
    x[:, 1] = np.maximum(x[:, 1], x[:, 0] + 1)
    y[:, 1] = np.maximum(y[:, 1], y[:, 0] + 1)
    x, y = x - (x[:, 1:] > width), y - (y[:, 1:] > height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).astype(np.int32)


def run(torch, cascade, frames):
    """One pass; its buffers and its result, to look into."""
    stream = torch.cuda.current_stream()
    buffers = cascade._buffers_for(len(frames), frames, stream)
    result = cascade._run(frames, buffers, (18, 32), stream)
    torch.cuda.synchronize()
    return buffers, result


def pyramid_of(torch, detector, pixels):
    """The buffers after the pyramid, which later stages of a pass write over; and the pass's result."""
    from fastface.gpu.kernels import Program

    frames = on_gpu(torch, pixels)
    buffers, result = run(torch, detector, frames)
    program = Program()
    quads = (buffers.quads, buffers.height, buffers.groups)
    detector._cascade._propose(program, buffers, quads, len(pixels), result.facts())
    program.run(torch.cuda.current_stream().cuda_stream, 0)
    torch.cuda.synchronize()
    return buffers, result


def rgb_seen(torch, cascade, frames):
    """Frames as the pyramid reads them: [N, H, W, 3] uint8."""
    buffers, _ = run(torch, cascade, frames)
    quads = buffers.quads[: len(frames)].view(len(frames), frames.height, -1, 4, 4).transpose(3, 4).flatten(2, 3)
    return quads[:, :, : frames.width, :3].cpu().numpy()
