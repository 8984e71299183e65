"""What an operator has decided: which version serves, and with how many workers. TorchServe forgets both when it stops.

The file is `decisions.json` in a directory that outlives the server, and that several servers may share:
{"cat-breeds": {"version": "1.0", "workers": {"1.0": 2}}}
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.archive.manifest import Archive
from scripts.archive.outline import Outline

logger = logging.getLogger("entrypoint")

FILE, LOCK = "decisions.json", "decisions.lock"


class Decisions:
    """A model without an entry is served in its newest version, with its archive's number of workers."""

    def __init__(self, directory: Path) -> None:
        """directory: nothing is kept where there is none."""
        self._directory = directory
        self._path = directory / FILE

    def promoted(self, model: str) -> str | None:
        """The version that was last promoted."""
        version = self._read().get(model, {}).get("version")
        return version if isinstance(version, str) else None

    def workers(self, model: str, version: str) -> int | None:
        """The number of workers that was last asked for."""
        workers = self._read().get(model, {}).get("workers", {})
        number = workers.get(version) if isinstance(workers, dict) else None
        return number if type(number) is int and number > 0 else None

    def keep_version(self, model: str, version: str) -> str | None:
        """Returns why it could not be kept, or None."""
        return self._change(lambda models: models.setdefault(model, {}).update(version=version))

    def keep_workers(self, model: str, version: str, workers: int) -> str | None:
        """Returns why it could not be kept, or None."""
        return self._change(
            lambda models: models.setdefault(model, {}).setdefault("workers", {}).update({version: workers})
        )

    def forget(self, model: str, version: str) -> str | None:
        """Of a version that is removed. Returns why it could not be, or None."""

        def change(models: dict[str, Any]) -> None:
            kept = models.get(model, {})
            kept.get("workers", {}).pop(version, None)
            if kept.get("version") == version:
                del kept["version"]

        return self._change(change)

    def in_order(self, archives: Sequence[Archive]) -> list[Archive]:
        """The promoted version of each model before its others: TorchServe makes the first the default."""
        known = {(archive.name, archive.version) for archive in archives}
        for model in sorted({archive.name for archive in archives}):
            promoted = self.promoted(model)
            if promoted is not None and (model, promoted) not in known:
                logger.error(f"{model} {promoted}: was promoted and is not in the model store; the newest serves")
        return sorted(archives, key=lambda archive: (archive.name, self.promoted(archive.name) != archive.version))

    def outlines(self, outlines: Sequence[Outline]) -> list[Outline]:
        """With the number of workers that each will have."""
        return [self._outline(outline) for outline in outlines]

    def _outline(self, outline: Outline) -> Outline:
        workers = self.workers(outline.archive.name, outline.archive.version)
        if workers is None:
            return outline
        return replace(outline, server=replace(outline.server, minWorkers=workers, maxWorkers=workers))

    def _read(self) -> dict[str, dict[str, Any]]:
        """Nothing of it stops a server from starting: what can't be read is logged, and counts as no decision."""
        models: Any = None
        with suppress(OSError, ValueError):
            models = json.loads(self._path.read_text(encoding="utf-8"))
        if isinstance(models, dict) and all(isinstance(kept, dict) for kept in models.values()):
            return models
        if self._path.exists():
            logger.error(f"{self._path}: not readable as decisions, so the archives decide")
        return {}

    def _change(self, change: Callable[[dict[str, Any]], None]) -> str | None:
        try:
            with self._locked():
                models = self._read()
                change(models)
                new = self._path.with_suffix(".new")
                with new.open("w", encoding="utf-8") as file:
                    json.dump(models, file, indent=2, sort_keys=True)
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(self._path)
        except OSError as error:
            return f"{self._directory}: {error.strerror}"
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two operators at once, each change after the other."""
        with (self._directory / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
