"""One HTML page that needs nothing else: people, the timeline, who appears with whom, how it was found.

Everything that comes from a document goes through :func:`_text` (into HTML) or :func:`_data` (into the script's data)
and is text in the page, never a tag. The page's own policy forbids it to load anything, and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from fastface.drawing.colors import identity_color, text_color
from fastface.drawing.thumbnails import Strip, face_and_frame_thumbnails, jpeg
from fastface.errors import InputValidationError
from fastface.files import replacing
from fastface.reporting.facts import Table, facts
from fastface.timeline import Identity, Timeline
from fastface.timeline.together import seconds_together
from fastface.words import clock, count, lasting

FACE_SIZE = 120
"""Pixels of a face's side: shown at half of it, for dense screens."""

MOST_FACES = 60
"""People with a picture, those with the most screen time; the others have their initial."""

MOST_TOGETHER = 24
"""Rows of who appears with whom."""

MOST_FRAMES, FRAMES_A_SECOND = 480, 4
FRAME_WIDTH = 160
FRAMES_BYTES = 2_100_000
"""Of all small frames together, as JPEG; a third more in the page."""


def report(video: str | os.PathLike[str], timeline: Timeline, path: str | os.PathLike[str]) -> Path:
    """Write a page about a timeline: HTML without anything beside it, which needs no network.

    It shows the people with a face and their screen time, the timeline (to zoom, with the frame under the pointer), who
    appears with whom for how many seconds, and with what it was found. It holds pictures of people: keep it as you keep
    those. At most some 4 MB, however long the video. Of the video only the frames that are shown are decoded, and those
    from the key frame before each.

    Args:
        video: the video that the timeline is of.
        timeline: as :func:`fastface.process` gives it.
        path: ending in .html; replaced only when all is written.

    Returns:
        path.

    Raises:
        InputValidationError: the video cannot be read, the timeline is of another, or `path` cannot be written.
        VideoProcessingError: no frame of the video can be decoded.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputValidationError(f"cannot write {str(target)!r}: the name must end in .html")
    people = sorted(timeline.identities, key=lambda p: (-p.screen_time, p.id))
    duration = max([float(timeline.video.get("duration") or 0.0), 1e-3, *(s.end for p in people for s in p.instances)])
    with replacing(target) as temporary:
        faces, strip = face_and_frame_thumbnails(
            timeline,
            video,
            FACE_SIZE,
            people=[p.id for p in people[:MOST_FACES]],
            frames=math.ceil(min(duration * FRAMES_A_SECOND, MOST_FRAMES)),
            frame_width=FRAME_WIDTH,
        )
        text = _page(timeline, people, duration, faces, strip.within(FRAMES_BYTES))
        # The name of a file need not be UTF-8.
        temporary.write_bytes(text.encode("utf-8", "replace"))
    return target


def _page(
    timeline: Timeline, people: list[Identity], duration: float, faces: dict[int, Image.Image], strip: Strip
) -> str:
    name = Path(str(timeline.video.get("path") or "video")).name
    script = _file("page.js")
    style = _file("page.css") + "".join(_face_style(p, faces.get(p.id)) for p in people)
    summary = [lasting(duration), count(len(people), "person", "people"), count(len(timeline.faces), "face", "faces")]
    return Template(_file("page.html")).substitute(
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=style,
        script=script,
        title=_text(name),
        summary=_text(" · ".join(summary)),
        people="".join(_card(p, duration, p.id in faces) for p in people) or "<li>Nobody was found.</li>",
        names="".join(f"<div>{_face(p, p.id in faces)}<bdi>{_text(p.label)}</bdi></div>" for p in people),
        lanes="".join(_lane(p, duration) for p in people),
        duration=f"{duration:.6f}",
        together=_together(timeline, people[:MOST_TOGETHER], len(people), faces),
        facts="".join(_table(table) for table in facts(timeline)),
        warnings=_warnings(timeline),
        data=_data(
            {
                "duration": duration,
                "people": [
                    {"label": p.label, "spans": [[round(s.start, 6), round(s.end, 6)] for s in p.instances]}
                    for p in people
                ],
                "frames": {
                    "width": strip.width,
                    "height": strip.height,
                    "times": [round(t, 6) for t in strip.times],
                    "pictures": [base64.b64encode(picture).decode() for picture in strip.pictures],
                },
            }
        ),
    )


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _text(value: object) -> str:
    """As text of HTML, or as an attribute's value between double quotes."""
    return html.escape(str(value), quote=True)


def _data(value: Any) -> str:
    """JSON that ends no element: inside a script element nothing but "<" could, and the rest is ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _color(rgb: Iterable[int]) -> str:
    return "#" + "".join(f"{v:02x}" for v in rgb)


def _face_style(person: Identity, face: Image.Image | None) -> str:
    """The person's colour, and the face, which the page shows more than once."""
    colour = identity_color(person.id)
    rules = f"--c:{_color(colour)};--on:{_color(text_color(colour))}"
    if face is not None:
        rules += f";--face:url(data:image/jpeg;base64,{base64.b64encode(jpeg(face)).decode()})"
    return f".p{person.id}{{{rules}}}\n"


def _face(person: Identity, known: bool) -> str:
    """A round picture, else the initial, or the number of somebody unnamed; the name stands beside it."""
    named = (person.name or person.gallery_id or "").strip()
    inner = "" if known else _text(named[:1].upper() or person.id + 1)
    return f'<span class="face p{person.id}" aria-hidden="true">{inner}</span>'


def _card(person: Identity, duration: float, known: bool) -> str:
    share = 100 * min(person.screen_time / duration, 1.0)
    told = f"{lasting(person.screen_time)} · {share:.0f}%"
    sure = ""
    if person.similarity is not None:
        sure = f"similarity {person.similarity:.2f}"
        sure += f" ≥ {person.threshold:.2f}" if person.threshold is not None else ""
        sure = f'<p class="soft">{sure}</p>'
    spans = "".join(f"<li>{clock(s.start)} – {clock(s.end)}</li>" for s in person.instances)
    times = count(len(person.instances), "appearance", "appearances")
    return (
        f'<li class="card p{person.id}">{_face(person, known)}<div>'
        f"<h3><bdi>{_text(person.label)}</bdi></h3><p>{told}</p>"
        f'<div class="share"><div style="width:{share:.2f}%"></div></div>{sure}'
        f"<details><summary>{times}</summary><ol>{spans}</ol></details></div></li>"
    )


def _lane(person: Identity, duration: float) -> str:
    bars = "".join(
        f'<i style="left:{100 * s.start / duration:.5f}%;width:{100 * (s.end - s.start) / duration:.5f}%"></i>'
        for s in person.instances
    )
    return f'<div class="lane p{person.id}">{bars}</div>'


def _together(timeline: Timeline, people: list[Identity], total: int, faces: Mapping[int, object]) -> str:
    if total < 2:
        return "<p>For this there must be two people.</p>"
    place = {p.id: i for i, p in enumerate(timeline.identities)}
    rows = [place[p.id] for p in people]
    seconds = seconds_together(timeline)[rows][:, rows]
    most = max((seconds[i, j] for i in range(len(rows)) for j in range(i)), default=0.0)
    head = "".join(
        f'<th scope="col" title="{_text(p.label)}">{_face(p, p.id in faces)}'
        f'<span class="hidden">{_text(p.label)}</span></th>'
        for p in people
    )
    body = ""
    for i, person in enumerate(people):
        cells = ""
        for j, value in enumerate(seconds[i].tolist()):
            share = value / most if most and i != j else 0.0
            kind = ' class="self"' if i == j else "" if value else ' class="none"'
            told = f"{value:.0f}" if value >= 100 or not value else f"{value:.1f}"
            cells += f'<td{kind} style="--share:{share:.3f}">{told}</td>'
        name = f"{_face(person, person.id in faces)}<bdi>{_text(person.label)}</bdi>"
        body += f'<tr><th scope="row"><div>{name}</div></th>{cells}</tr>'
    rest = f"<p>The {len(people)} people with the most screen time of {total}.</p>" if total > len(people) else ""
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Table of seconds"><table class="together">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def _table(table: Table) -> str:
    rows = "".join(f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in table.rows)
    return f"<section><h3>{_text(table.title)}</h3><dl>{rows}</dl></section>" if rows else ""


def _warnings(timeline: Timeline) -> str:
    warnings = timeline.run.get("warnings") or []
    items = "".join(f"<li>{_text(warning)}</li>" for warning in warnings)
    return f'<section class="warnings"><h3>Warnings</h3><ul>{items}</ul></section>' if items else ""
