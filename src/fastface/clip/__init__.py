"""Clips: a person's moments cut out of a video, as they are, followed by a window, or two people side by side.

The way of the data:

    Timeline ─ spans ─ cuts ─ parts ─┬─ decode, view, encode ─────────┬─ join ─ files
                                     ├─ packets as they are (fast) ───┤
                                     └─ samples, AAC ─────────────────┘

`spans.py` is arithmetic on intervals of seconds. `source.py` reads the packets of the video once and knows the time
stamp of every picture and where it can be cut: there spans become *cuts*, ranges of pictures. `plan.py` says which
cuts go into which file, and divides them into *parts* of some seconds. `cut.py` decodes the pictures of a part, turns
them into what is shown (`view.py`, by the camera's path of `window.py`) and encodes them; `copy.py` takes over those
that need not be encoded. `pool.py` does that on all cores, in threads, since libav works outside Python's lock.
`join.py` puts the packets of the parts one after the other, encoding nothing again, with the sound (`sound.py`) between
them. `clips.py` is the one place that knows all of them.

Time is the stream's own, in whole units of its time base: a clip begins with unit 0 at the first picture of its first
cut, and pictures keep their distances whatever the frame rate. Where a cut ends and the next one follows is known
exactly, and the sound of a cut is the samples between the very same two moments, so that nothing adds up.

Where a GPU cuts windows, `on_gpu.py` takes the place of :class:`fastface.clip.cut.OnCpu`: a part in, its pictures out.
"""

from fastface.clip.clips import make_clips
from fastface.clip.join import Clip
from fastface.clip.plan import Wishes

__all__ = ["Clip", "Wishes", "make_clips"]
