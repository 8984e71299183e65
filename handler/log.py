"""Log lines as JSON, one event a line. Text of a client can neither begin a line nor end one."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

FIELDS = "fields"  # what `logger.info(…, extra={FIELDS: {…}})` adds to its line
_requests: ContextVar[tuple[str, ...]] = ContextVar("requests", default=())


@contextmanager
def about(*request_ids: str) -> Iterator[None]:
    """Each line that is logged in the block, in this thread, names these requests."""
    token = _requests.set(request_ids)
    try:
        yield
    finally:
        _requests.reset(token)


class JsonFormatter(logging.Formatter):
    """Every line holds `constant`. The traceback of an exception stands under `trace`."""

    def __init__(self, constant: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._constant = dict(constant or {})

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= self._constant | _request_fields() | getattr(record, FIELDS, {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _request_fields() -> dict[str, Any]:
    ids = _requests.get()
    return {} if not ids else {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids}


def log_as_json(name: str, constant: Mapping[str, Any] | None = None) -> None:
    """Makes a logger and all below it write to stdout, from INFO on, and to nowhere else."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(constant))
    logger = logging.getLogger(name)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
