"""Two who ask one service."""

from __future__ import annotations

import io
from dataclasses import dataclass

from fastapi.testclient import TestClient

from fastface.service.embedded import EmbeddedJobs
from fastface.service.place import Place
from film import PEOPLE, Film


@dataclass(frozen=True)
class Served:
    """A service with a worker and keys: of ann, who asks, and of bob, who has no business with what is hers."""

    ann: TestClient
    bob: TestClient
    place: Place
    jobs: EmbeddedJobs
    film: Film

    def photograph(self, who: int, number: int = 0) -> bytes:
        """A photograph of one of the film's people, as JPEG."""
        out = io.BytesIO()
        self.film.stock[PEOPLE[who]][number].pixels().convert("RGB").save(out, "JPEG", quality=95)
        return out.getvalue()
