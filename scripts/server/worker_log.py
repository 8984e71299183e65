"""What the workers said, from the log that frontend/log4j2.xml writes: the management API keeps it to itself."""

import json
from pathlib import Path

LOG = "torchserve.log"
DIED = "Backend worker process died."
# Lines of a traceback that say where, not what; indented ones are frames.
NO_CAUSE = (" ", "Traceback", "During handling", "The above exception")


class WorkerLog:
    """The log from where it ends now. Make it before what is to be watched begins."""

    def __init__(self, logs: Path) -> None:
        self._path = logs / LOG
        self._start = self._size()

    def death(self, model: str, version: str) -> str | None:
        """The exception with which a worker of this version last died as it loaded, or None if none did."""
        texts = self._printed(f"-{model}_{version}-stdout")
        if DIED not in texts:
            return None
        trace = texts[len(texts) - texts[::-1].index(DIED) :]
        # The exception's own line comes after the frames; what follows it is the worker's next try.
        return next((text for text in trace if text and not text.startswith(NO_CAUSE)), None)

    def readable(self) -> bool:
        return self._path.exists()

    def _printed(self, thread: str) -> list[str]:
        """What the worker on a thread of this name printed, but for its own JSON lines. The thread is W-PORT-NAME."""
        texts = []
        for line in self._lines():
            if f'{thread}"' not in line:  # most lines are of requests, and needn't be parsed
                continue
            try:
                event = json.loads(line)
                if str(event["thread"]).partition("-")[2].lstrip("0123456789") == thread:
                    texts.append(str(event["message"]))
            except (ValueError, KeyError, TypeError):  # a half-written line, or one of the worker's own
                continue
        return texts

    def _lines(self) -> list[str]:
        """A log that was begun anew is read from its first line."""
        size = self._size()
        if size == 0:
            return []
        with self._path.open("rb") as log:
            log.seek(self._start if size >= self._start else 0)
            return log.read().decode("utf-8", "replace").splitlines()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
