"""Settings that make a run short."""

from __future__ import annotations

from typing import Any

from film import MODEL

QUICK: dict[str, Any] = {"embedder": MODEL, "min_face_size": 60, "every": 8}
