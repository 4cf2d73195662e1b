"""Frames to faces: MTCNN (Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", 2016), with facenet-pytorch's weights and its results."""

from fastface.detect.mtcnn import MTCNN

__all__ = ["MTCNN"]
