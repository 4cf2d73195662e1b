"""Known people, from photographs and from videos."""

from fastface.gallery.gallery import Gallery
from fastface.gallery.photographs import IMAGE_SUFFIXES, Refused

__all__ = ["IMAGE_SUFFIXES", "Gallery", "Refused"]
