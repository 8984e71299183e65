"""Versions of a model, from registration to removal, over TorchServe's management API.

The version that serves is never interrupted: another becomes the default only when it has READY workers, and a version
is removed only when another serves, or with force.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

from scripts.archive.outline import CheckedArchive
from scripts.server.client import ApiError, Client
from scripts.server.decisions import Decisions
from scripts.server.proof import golden_difference
from scripts.server.readiness import ready_workers
from scripts.server.registration import Registration
from scripts.server.versions import POLL, LifecycleError, Versions
from scripts.server.worker_log import WorkerLog

GOLDEN_TIMEOUT = 60.0  # seconds for all golden inputs

Say = Callable[[str, str], None]  # the name of a step and its result


class Lifecycle:
    """Every verb raises LifecycleError, or ApiError if the server can't be reached."""

    def __init__(
        self,
        client: Client,
        logs: Path,
        decisions: Decisions,
        say: Say,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """logs: the directory of the server's log, if it can be read from here."""
        self._client = client
        self._decisions = decisions
        self._versions = Versions(client)
        self._logs = logs
        self._say = say
        self._progress = progress

    def register(self, checked: CheckedArchive, *, promote: bool, timeout: float, dry_run: bool = False) -> None:
        """Registers a version beside the one that serves, checks its contents and golden inputs, and promotes it if
        asked. A version that fails is unregistered again. An archive that is registered already is only checked."""
        name, version = checked.archive.name, checked.archive.version
        before = self._versions.default(name)
        known = self._versions.state(name, version) is not None
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
        """Makes a version with READY workers the default. The previous one stays loaded, for a rollback."""
        before = self._versions.default(name)
        described = self._versions.existing(name, version)
        if before == version:
            self._say("serves", f"{version} already")
            if not dry_run:
                self._say_kept(self._decisions.keep_version(name, version))
            return
        if ready_workers(described) == 0:
            raise LifecycleError(f"{name} {version} has no READY worker; {_serves(before)}")
        if dry_run:
            self._say("would", f"let {version} serve in place of {before}")
            return
        self._client.set_default(name, version)
        self._say("serves", f"{version} in place of {before}; back with: rollback {name} --to {before}")
        self._say_kept(self._decisions.keep_version(name, version))

    def rollback(self, name: str, to: str | None, *, dry_run: bool = False) -> None:
        """Makes another version the default again. TorchServe doesn't record which one was, so `to` is needed if there
        are several."""
        serving = self._versions.default(name)
        if to is None:
            others = [version for version, ready in self._versions.ready(name).items() if ready and version != serving]
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
        """Sets the number of workers. If they don't become READY, the previous numbers are restored."""
        described = self._versions.existing(name, version)
        before = int(described["minWorkers"])
        if dry_run:
            self._say("would", f"scale {name} {version} from {before} to {workers}")
            return
        log = WorkerLog(self._logs)
        try:
            self._client.scale(name, version, workers, timeout)
            old = [str(worker.get("id")) for worker in described["workers"]]
            self._versions.wait_ready(name, version, workers, timeout, log, self._progress, old)
        except (LifecycleError, ApiError, KeyboardInterrupt) as error:
            self._scale_back(name, version, described, timeout, error)
        self._say("scaled", f"{name} {version} from {before} to {workers}, READY")
        self._say_kept(self._decisions.keep_workers(name, version, workers))

    def unregister(self, name: str, version: str, *, force: bool, dry_run: bool = False) -> None:
        """Removes a version when its queue is empty. The default version can be removed only if it is the last one, and
        only with `force`."""
        self._versions.existing(name, version)
        serving = self._versions.default(name)
        if version == serving and len(self._versions.ready(name)) > 1:
            raise LifecycleError(f"{name} {version} serves; promote another version first")
        if version == serving and not force:
            raise LifecycleError(f"{name} {version} serves and is the last: nothing would answer. Say it with --force")
        if dry_run:
            self._say("would", f"unregister {name} {version}")
            return
        self._versions.drain(name, version)
        self._client.unregister(name, version)
        self._say("removed", f"{name} {version}")
        self._decisions.forget(name, version)

    def _say_kept(self, obstacle: str | None) -> None:
        if obstacle is None:
            self._say("kept", "for the next start")
        else:
            self._say("kept", f"no: {obstacle}; after a restart the archives decide")

    def _register(self, checked: CheckedArchive, before: str | None, timeout: float) -> None:
        name, version = checked.archive.name, checked.archive.version
        log = WorkerLog(self._logs)
        started = time.monotonic()
        registration = Registration(self._client, checked.archive.path.name, timeout)
        try:
            registration.start()
            while not registration.done(POLL):
                self._progress(f"unpacking {name} {version}  {time.monotonic() - started:.0f} s")
            if registration.error is not None:
                raise registration.error
            workers = checked.server.minWorkers or int(self._versions.existing(name, version)["minWorkers"])
            self._versions.wait_ready(name, version, workers, timeout, log, self._progress)
        except (LifecycleError, ApiError, KeyboardInterrupt) as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.CONFLICT:  # so don't undo it
                raise LifecycleError(f"{name} {version}: somebody else registered it meanwhile") from None
            self._undo(name, version, before, error, registration)
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
        """Raises LifecycleError if the server has another archive under the same name and version."""
        name, version = checked.archive.name, checked.archive.version
        if ready_workers(self._versions.existing(name, version)) == 0:
            raise LifecycleError(
                f"{name} {version} is registered and has no READY worker, so its contents can't be compared; "
                "unregister it first"
            )
        registered = self._client.details(name, version).get("contents_sha256")
        if registered != checked.contents_sha256:
            raise LifecycleError(
                f"{name} {version} is registered with other contents ({str(registered)[:12]}, the archive has "
                f"{checked.contents_sha256[:12]}); give the archive another version"
            )

    def _undo(
        self,
        name: str,
        version: str,
        before: str | None,
        error: BaseException,
        registration: Registration | None = None,
    ) -> NoReturn:
        """Unregisters a version and raises LifecycleError with the error that made it necessary."""
        result = f"is not registered, {_serves(before)}"
        try:
            if self._registered(name, version, registration):
                self._client.unregister(name, version)
            elif registration is not None and registration.unanswered:
                result = f"may still become registered, as TorchServe did not answer: see list; {_serves(before)}"
        except (ApiError, KeyboardInterrupt) as second:
            result = f"could not be unregistered: {_reason(second)}"
        raise LifecycleError(f"{_reason(error)}; {version} {result}") from None

    def _registered(self, name: str, version: str, registration: Registration | None) -> bool:
        """TorchServe unpacks an archive before it knows the version, and removes one itself that fails to load. So the
        answer is no only when the registration is over."""
        while registration is not None and not registration.done(POLL):
            if self._versions.state(name, version) is not None:
                return True
            self._progress(f"waiting until {name} {version} can be unregistered")
        return self._versions.state(name, version) is not None

    def _scale_back(
        self, name: str, version: str, before: dict[str, Any], timeout: float, error: BaseException
    ) -> NoReturn:
        """Restores the numbers of workers and raises LifecycleError with the error that made it necessary."""
        workers, least, most = len(before["workers"]), int(before["minWorkers"]), int(before["maxWorkers"])
        try:
            # TorchServe keeps any number between minWorkers and maxWorkers. So set the number before the two.
            self._client.scale(name, version, workers, timeout)
            if (least, most) != (workers, workers):
                self._client.scale(name, version, least, timeout, most)
        except (ApiError, KeyboardInterrupt) as second:
            result = f"could not be scaled back to {workers}: {_reason(second)}"
        else:
            result = f"set back to {workers}"
        raise LifecycleError(f"{name} {version}: {_reason(error)}; {result}") from None


def _reason(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def _serves(version: str | None) -> str:
    return "nothing serves" if version is None else f"{version} serves as before"


def _beside(version: str | None) -> str:
    return "as the first version" if version is None else f"beside {version}, which serves"
