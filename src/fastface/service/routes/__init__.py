"""The paths of the interface, a file for each resource: `router(context)` gives them."""

from __future__ import annotations
