"""Why workers died, from the log that frontend/log4j2.xml writes. The management API doesn't tell it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

LOG = "torchserve.log"
DIED = "Backend worker process died."
# Lines of a traceback that say where it happened; frames are indented.
NO_CAUSE = (" ", "Traceback", "During handling", "The above exception")


class WorkerLog:
    """Reads the log from its current end on, each line once. Create it before the workers start."""

    def __init__(self, logs: Path) -> None:
        """logs: the directory in which TorchServe writes its log."""
        self._path = logs / LOG
        self._file, self._offset = self._identify()
        self._dying: set[str] = set()  # threads whose worker has died, and whose exception is not read yet
        self._causes: dict[str, str] = {}

    def death(self, model: str, version: str) -> str | None:
        """The exception with which a worker of this version last died while it loaded, or None if none did."""
        for line in self._new_lines():
            self._read(line)
        return self._causes.get(f"-{model}_{version}-stdout")

    def hint(self) -> str:
        """Ends a message where the log can't be read from here."""
        return "" if os.access(self._path, os.R_OK) else "; the server's log has the worker's error"

    def _read(self, line: bytes) -> None:
        if b'-stdout"' not in line:  # most lines are of requests; only what a worker prints is parsed
            return
        try:
            event = json.loads(line)
            thread, text = str(event["thread"]), str(event["message"])
        except (ValueError, KeyError, TypeError):  # the worker's own JSON has no thread
            return
        if text == DIED:
            self._dying.add(thread)
        elif thread in self._dying and text and not text.startswith(NO_CAUSE):
            # The exception's own line follows the frames. What follows it belongs to the worker's next start.
            self._dying.remove(thread)
            self._causes[_version(thread)] = text

    def _new_lines(self) -> Iterator[bytes]:
        """The complete lines since the last call. A log that has been rotated or truncated is read from its start."""
        file, size = self._identify()
        if file != self._file or size < self._offset:
            self._file, self._offset = file, 0
            self._dying.clear()  # the lines in between may be lost, and with them the causes
        if size == self._offset:
            return
        with contextlib.suppress(FileNotFoundError, PermissionError), self._path.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line

    def _identify(self) -> tuple[int | None, int]:
        """The log's inode and its size in bytes; None and 0 if there is no log."""
        try:
            status = self._path.stat()
        except OSError:
            return None, 0
        return status.st_ino, status.st_size


def _version(thread: str) -> str:
    """`W-9000-tiny_1.0-stdout` → `-tiny_1.0-stdout`: without the port."""
    return thread.partition("-")[2].lstrip("0123456789")
