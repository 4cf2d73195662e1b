"""A timeline made visible: the annotated video, and the picture of who is on screen when."""

from fastface.render.picture import timeline_picture
from fastface.render.video import Rendered, render

__all__ = ["Rendered", "render", "timeline_picture"]
