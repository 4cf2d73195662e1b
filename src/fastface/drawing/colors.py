"""One colour for each person, the same in the video and in the picture."""

from __future__ import annotations

Colour = tuple[int, int, int]

# Neighbours differ in lightness as well as in hue, so that they stay apart for the colour-blind; after
# Okabe and Ito (2008), then Tol's muted set. None is so light that it would vanish on white.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),  # blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # green
    (213, 94, 0),  # vermilion
    (86, 180, 233),  # sky
    (204, 121, 167),  # pink
    (51, 34, 136),  # indigo
    (153, 153, 51),  # olive
    (136, 34, 85),  # wine
    (68, 170, 153),  # teal
    (170, 68, 153),  # purple
    (148, 103, 72),  # brown
)

UNKNOWN: Colour = (150, 150, 150)
"""For faces of which it is not told whose they are."""


def identity_color(identity: int | None) -> Colour:
    """(R, G, B), each in [0, 255], of an identity's id; None and negative ids give :data:`UNKNOWN`.

    The palette has 12 colours; further ids begin again.
    """
    if identity is None or identity < 0:
        return UNKNOWN
    return PALETTE[identity % len(PALETTE)]


def text_color(background: Colour) -> Colour:
    """White or near-black, whichever is easier to read on this background."""
    r, g, b = ((v / 255) ** 2.2 for v in background)
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    # Contrast ratios of WCAG 2: (lighter + 0.05) / (darker + 0.05). White is favoured a little: bold on
    # saturated.
    return (255, 255, 255) if 1.05 / (luminance + 0.05) >= 0.45 * (luminance + 0.05) / 0.06 else (20, 20, 20)
