"""Log lines as JSON, for machines: one object a line, with what is known of video, frame, error and GPU."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any, Literal

from fastface.errors import InputValidationError

FIELDS = ("event", "video", "frame", "error")


class JsonFormatter(logging.Formatter):
    """One line of JSON a record: time (UTC, ISO 8601), level, event, message, video, frame, error (class), gpu.

    `event`, `video`, `frame` and `error` come from the record's `extra`; what is not known is left out. The GPU's state
    is told with warnings and errors, because asking for it costs a call to the driver.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "message": record.getMessage(),
        }
        for name in FIELDS[1:]:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line.setdefault("error", record.exc_info[0].__name__)
        if record.levelno >= logging.WARNING:
            from fastface.faults import gpu_state

            state = gpu_state()
            if state is not None:
                line["gpu"] = state
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(kind: Literal["text", "json"] = "text", level: str = "warning", *, failures: bool = True) -> None:
    """Send the log of "fastface" to standard error, in place of where an earlier call sent it.

    Args:
        kind: of the lines.
        level: the least that is told.
        failures: whether a run that failed is told; False where who asked for the run tells it too.

    Raises:
        InputValidationError: no such format or level.
    """
    if kind not in ("text", "json"):
        raise InputValidationError(f"the log's format is {kind!r}, must be 'text' or 'json'")
    number = logging.getLevelNamesMapping().get(level.upper()) if hasattr(logging, "getLevelNamesMapping") else None
    number = getattr(logging, level.upper(), None) if number is None else number
    if not isinstance(number, int):
        raise InputValidationError(f"the log's level is {level!r}, must be debug, info, warning or error")
    logger = logging.getLogger("fastface")
    for handler in [h for h in logger.handlers if getattr(h, "fastface", False)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if kind == "json" else logging.Formatter("fastface: %(levelname)s: %(message)s")
    )
    if not failures:
        handler.addFilter(lambda record: getattr(record, "event", None) != "failed")
    handler.fastface = True  # type: ignore[attr-defined]
    logger.addHandler(handler)
    logger.setLevel(number)
    logger.propagate = False
