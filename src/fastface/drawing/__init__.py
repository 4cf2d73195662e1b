"""A timeline made visible: the annotated video, faces hidden, and the picture of who is on screen when."""

from fastface.drawing.picture import timeline_picture
from fastface.drawing.video import Rendered, render

__all__ = ["Rendered", "render", "timeline_picture"]
