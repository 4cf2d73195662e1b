"""Video files to frames."""

from fastface.decode.ahead import Ahead
from fastface.decode.libav import LibavDecoder

__all__ = ["Ahead", "LibavDecoder"]
