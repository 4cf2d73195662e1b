"""Colours that can be told apart."""

from __future__ import annotations

import itertools

import numpy as np

from fastface.drawing.colors import PALETTE, UNKNOWN, identity_color, text_color

# Machado et al. 2009, severity 1, in linear RGB: deuteranopia, protanopia.
_DEFECTS = {
    "deuteranopia": [
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ],
    "protanopia": [
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ],
}


def lab(colour, defect=None):
    c = np.array(colour, float) / 255
    c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    if defect:
        c = np.clip(np.array(_DEFECTS[defect]) @ c, 0, 1)
    xyz = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]) @ c
    f = np.cbrt(xyz / (0.9505, 1.0, 1.089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_first_six_can_be_told_apart_by_everyone():
    for defect in (None, *_DEFECTS):
        for a, b in itertools.combinations(PALETTE[:6], 2):
            assert np.linalg.norm(lab(a, defect) - lab(b, defect)) > 15, (defect, a, b)


def test_all_can_be_told_apart_and_seen_on_white():
    for a, b in itertools.combinations((*PALETTE, UNKNOWN), 2):
        assert np.linalg.norm(lab(a) - lab(b)) > 15, (a, b)
    assert all(lab(c)[0] < 78 for c in PALETTE)


def test_ids():
    assert identity_color(0) == PALETTE[0]
    assert identity_color(len(PALETTE) + 2) == PALETTE[2]
    assert identity_color(None) == identity_color(-1) == UNKNOWN


def test_letters_contrast_with_their_ground():
    for colour in (*PALETTE, UNKNOWN, (0, 0, 0), (255, 255, 255)):
        assert abs(lab(text_color(colour))[0] - lab(colour)[0]) > 35, colour
