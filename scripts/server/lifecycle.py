"""Versions of a model, from registration to removal, over TorchServe's management API.

What serves goes on serving: a version takes over only when it has READY workers, and goes only when another serves.
"""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from scripts.archive.manifest import natural
from scripts.archive.outline import CheckedArchive
from scripts.server.client import ApiError, Client
from scripts.server.proof import golden_difference
from scripts.server.readiness import ready_workers
from scripts.server.worker_log import WorkerLog

POLL = 0.5  # seconds; TorchServe logs each look at its state
SETTLE = 2.0  # seconds after a version's queue has emptied, for the batches that its workers have in hand
DRAIN = 60.0  # seconds that its queue may take to empty
GOLDEN_TIMEOUT = 60.0  # seconds for all golden inputs

Say = Callable[[str, str], None]  # a step's name and what came of it


class LifecycleError(Exception):
    """Refused, or failed and undone; the message says why, and what serves."""


class Lifecycle:
    """The verbs. Each raises LifecycleError, or ApiError if the server can't be asked."""

    def __init__(self, client: Client, logs: Path, say: Say, progress: Callable[[str], None] = lambda _: None) -> None:
        """logs: where the server writes its log, if it can be read from here."""
        self._client = client
        self._logs = logs
        self._say = say
        self._progress = progress

    def register(self, checked: CheckedArchive, *, promote: bool, timeout: float, dry_run: bool = False) -> None:
        """Registers a version beside those that serve, proves it, and lets it serve if asked. A version that fails is
        unregistered again. The same archive twice is proved twice and registered once."""
        name, version = checked.archive.name, checked.archive.version
        before = self._serving(name)
        known = self._state(name, version) is not None
        if known:
            self._check_contents(checked)
            self._say("registered", "already, with the same contents")
        elif dry_run:
            self._say("would", f"register {checked.archive.path.name} {_beside(before)}")
        else:
            self._register(checked, before, timeout)
        if promote and dry_run and before != version:
            self._say("would", f"promote {version}, if its golden inputs are answered within tolerance")
        if dry_run:
            return
        try:
            self._prove(checked)
        except (LifecycleError, ApiError, KeyboardInterrupt) as error:
            if known:
                raise
            self._undo(name, version, before, error)
        if promote:
            self.promote(name, version)

    def promote(self, name: str, version: str, *, dry_run: bool = False) -> None:
        """Lets a version with READY workers serve; the one before stays, for a rollback."""
        before = self._serving(name)
        described = self._existing(name, version)
        if before == version:
            self._say("serves", f"{version} already")
            return
        if ready_workers(described) == 0:
            raise LifecycleError(f"{name} {version} has no READY worker; {_serves(before)}")
        if dry_run:
            self._say("would", f"let {version} serve in place of {before}")
            return
        self._client.set_default(name, version)
        self._say("serves", f"{version} in place of {before}; back with: rollback {name} --to {before}")

    def rollback(self, name: str, to: str | None, *, dry_run: bool = False) -> None:
        """Lets the other version serve again. TorchServe doesn't remember which one did, so of several one must be
        named."""
        serving = self._serving(name)
        if to is None:
            others = [version for version, ready in self.versions(name).items() if ready and version != serving]
            if len(others) != 1:
                which = " or ".join(others)
                raise LifecycleError(
                    f"{name}: which of {which}? Say it with --to; {_serves(serving)}"
                    if others
                    else f"{name}: no other version has READY workers; {_serves(serving)}"
                )
            [to] = others
        self.promote(name, to, dry_run=dry_run)

    def scale(self, name: str, version: str, workers: int, *, timeout: float, dry_run: bool = False) -> None:
        """Sets the number of workers; one that can't be reached is taken back."""
        described = self._existing(name, version)
        before = int(described["minWorkers"])
        if dry_run:
            self._say("would", f"scale {name} {version} from {before} to {workers}")
            return
        try:
            self._client.scale(name, version, workers, timeout)
            self._wait_ready(name, version, workers, timeout)
        except (LifecycleError, ApiError, KeyboardInterrupt) as error:
            self._client.scale(name, version, before, timeout)
            raise LifecycleError(f"{name} {version}: {_reason(error)}; it has {before} as before") from None
        self._say("scaled", f"{name} {version} from {before} to {workers}, READY")

    def unregister(self, name: str, version: str, *, force: bool, dry_run: bool = False) -> None:
        """Removes a version when its queue is empty. The one that serves goes only with `force`, and only as the
        last."""
        self._existing(name, version)
        serving = self._serving(name)
        if version == serving and len(self.versions(name)) > 1:
            raise LifecycleError(f"{name} {version} serves; promote another version first")
        if version == serving and not force:
            raise LifecycleError(f"{name} {version} serves and is the last: nothing would answer. Say it with --force")
        if dry_run:
            self._say("would", f"unregister {name} {version}")
            return
        self._drain(name, version)
        self._client.unregister(name, version)
        self._say("removed", f"{name} {version}")

    def versions(self, name: str) -> dict[str, int]:
        """Each version, the newest first, with the number of its READY workers."""
        described = sorted(self._client.versions(name), key=lambda one: natural(one["modelVersion"]), reverse=True)
        return {str(one["modelVersion"]): ready_workers(one) for one in described}

    def _register(self, checked: CheckedArchive, before: str | None, timeout: float) -> None:
        """TorchServe answers when the workers are READY, or have failed once. Meanwhile we say how far it is."""
        name, version = checked.archive.name, checked.archive.version
        log = WorkerLog(self._logs)
        outcome: list[ApiError | None] = []

        def ask() -> None:
            try:
                self._client.register(checked.archive.path.name, timeout)
                outcome.append(None)
            except ApiError as error:
                outcome.append(error)

        started = time.monotonic()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                self._progress(f"loading {name} {version}  {time.monotonic() - started:.0f} s")
                thread.join(POLL)
            if (error := outcome[0]) is not None:
                raise error
            self._wait_ready(name, version, checked.server.minWorkers, timeout)
        except (LifecycleError, ApiError, KeyboardInterrupt) as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.CONFLICT:  # what is there isn't ours
                raise LifecycleError(f"{name} {version}: somebody else registered it meanwhile") from None
            death = log.death(name, version)
            where = "" if log.readable() else "; the worker's own words are in the server's log"
            cause = LifecycleError(death) if death else LifecycleError(f"{_reason(error)}{where}")
            self._undo(name, version, before, cause)
        self._say("registered", f"{_beside(before)}, READY after {time.monotonic() - started:.0f} s")

    def _prove(self, checked: CheckedArchive) -> None:
        name, version = checked.archive.name, checked.archive.version
        self._check_contents(checked)
        if not checked.golden:
            self._say("golden", "none in the archive (self_check: false): nothing was compared")
            return
        tolerance = checked.settings.golden_tolerance
        off = golden_difference(self._client, name, version, checked.labels, checked.golden, tolerance, GOLDEN_TIMEOUT)
        if off is not None:
            raise LifecycleError(f"golden input {off}")
        self._say("golden", f"{len(checked.golden)} inputs answered over HTTP within {tolerance:g}")

    def _check_contents(self, checked: CheckedArchive) -> None:
        """That the server holds what the file holds, and not another archive of the same name and version."""
        name, version = checked.archive.name, checked.archive.version
        if ready_workers(self._existing(name, version)) == 0:
            raise LifecycleError(
                f"{name} {version} is registered and has no READY worker, so its contents can't be told; "
                "unregister it first"
            )
        held = self._client.details(name, version).get("contents_sha256")
        if held != checked.contents_sha256:
            raise LifecycleError(
                f"{name} {version} is registered with other contents ({str(held)[:12]}, the archive has "
                f"{checked.contents_sha256[:12]}); give the archive another version"
            )

    def _undo(self, name: str, version: str, before: str | None, error: BaseException) -> None:
        try:
            if self._state(name, version) is not None:  # TorchServe removes one itself that fails to load
                self._client.unregister(name, version)
        except ApiError as second:
            raise LifecycleError(f"{_reason(error)}; {name} {version} could not be unregistered: {second}") from None
        raise LifecycleError(f"{_reason(error)}; {version} is not registered, {_serves(before)}") from None

    def _wait_ready(self, name: str, version: str, workers: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            described = self._existing(name, version)
            if ready_workers(described) >= workers == len(described["workers"]):
                return
            if time.monotonic() > deadline:
                raise LifecycleError(f"{name} {version}: not READY within {timeout:g} s")
            time.sleep(POLL)

    def _drain(self, name: str, version: str) -> None:
        started = time.monotonic()
        while (waiting := int(self._existing(name, version)["jobQueueStatus"]["pendingRequests"])) > 0:
            if time.monotonic() - started > DRAIN:
                raise LifecycleError(f"{name} {version}: {waiting} requests still wait after {DRAIN:g} s")
            time.sleep(POLL)
        time.sleep(SETTLE)

    def _existing(self, name: str, version: str) -> dict[str, Any]:
        described = self._state(name, version)
        if described is None:
            known = ", ".join(self.versions(name)) or "none"
            raise LifecycleError(f"{name} {version} is not registered; versions: {known}")
        return described

    def _serving(self, name: str) -> str | None:
        described = self._state(name)
        return None if described is None else str(described["modelVersion"])

    def _state(self, name: str, version: str | None = None) -> dict[str, Any] | None:
        try:
            return self._client.describe(name, version)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise


def _reason(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def _serves(version: str | None) -> str:
    return "nothing serves" if version is None else f"{version} serves as before"


def _beside(version: str | None) -> str:
    return "as the first version" if version is None else f"beside {version}, which serves"
