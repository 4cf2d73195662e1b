"""What fastface is compared with: facenet-pytorch as its README shows it, frames from OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

BATCH = 32
"""Frames a batch, as in facenet-pytorch's example of video detection."""


def facenet_pytorch_opencv(path: Path, device: str = "cpu") -> tuple[int, int]:
    """Detect every frame, embed every face, with facenet-pytorch's defaults; returns (frames, faces)."""
    import cv2
    from facenet_pytorch import MTCNN, extract_face, fixed_image_standardization

    from fastface import models
    from fastface.embed.network import load_network

    mtcnn = MTCNN(keep_all=True, device=torch.device(device))
    # facenet-pytorch's own module, unfolded, with the weights that a package index can give.
    network = load_network(models.resolve("facenet-msceleb1m"), device, fold=False, channels_last=False)
    capture = cv2.VideoCapture(str(path))
    frames = faces = 0
    batch: list[np.ndarray] = []

    def run() -> int:
        boxes, _ = mtcnn.detect(batch)
        crops = [
            fixed_image_standardization(extract_face(frame, box) * 255.0)
            for frame, found in zip(batch, boxes, strict=True)
            if found is not None
            for box in found
        ]
        if crops:
            with torch.no_grad():
                network(torch.stack(crops).to(device)).cpu()
        return len(crops)

    while True:
        good, frame = capture.read()
        if not good:
            break
        batch.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        frames += 1
        if len(batch) == BATCH:
            faces += run()
            batch = []
    if batch:
        faces += run()
    capture.release()
    return frames, faces
