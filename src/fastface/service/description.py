"""The interface's description (OpenAPI): what FastAPI finds, and that keys are asked for."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from fastface.service.gate import OPEN


def describe(app: FastAPI, keys: bool) -> None:
    """Let the application describe itself.

    Args:
        app: with all of its paths.
        keys: whether keys are asked for.
    """
    found = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = found()
            if keys:
                document.setdefault("components", {})["securitySchemes"] = {
                    "key": {"type": "http", "scheme": "bearer", "description": "a key of this service: ff_..."}
                }
                for path, operations in document["paths"].items():
                    for operation in operations.values():
                        operation["security"] = [] if path in OPEN else [{"key": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
