"""What is undone, and what is said of it, with a stand-in for the server; tests/live asks a real one."""

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from handler.server_settings import ServerSettings
from handler.settings import Settings
from scripts.archive.manifest import Archive
from scripts.archive.outline import CheckedArchive, Sizes
from scripts.server.client import ApiError, Client
from scripts.server.decisions import Decisions
from scripts.server.lifecycle import Lifecycle
from scripts.server.registration import Registration
from scripts.server.versions import LifecycleError

CATS = Archive(Path("cats.mar"), "cats", "2.0")
CHECKED = CheckedArchive(CATS, ("tabby",), Settings("tiny"), ServerSettings(), Sizes(0, 0), [], "0" * 64)


class Server(Client):
    """Holds the state of the versions of one model. A test says how it answers."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.states: dict[str, dict[str, Any]] = {}
        self.scaled: list[tuple[int, int]] = []
        self.broken: list[Exception | None] = []  # what the next calls of scale raise
        self.unpacked = threading.Event()
        self.answer: ApiError | None = None

    def add(self, version: str, least: int = 1, most: int = 1, workers: int = 1) -> None:
        self.states[version] = {
            "modelVersion": version,
            "minWorkers": least,
            "maxWorkers": most,
            "workers": [{"status": "READY"}] * workers,
        }

    def describe(self, model: str, version: str | None = None) -> dict[str, Any]:
        found = self.states.get(version or next(iter(self.states), ""))
        if found is None:
            raise ApiError("no such model", 404)
        return found

    def versions(self, model: str) -> list[dict[str, Any]]:
        return list(self.states.values())

    def register(self, file: str, timeout: float) -> None:
        """Blocks while it unpacks, then knows the version, whose worker never becomes READY."""
        assert self.unpacked.wait(60)
        if self.answer is not None:
            raise self.answer
        self.add("2.0", workers=0)
        self.states["2.0"]["workers"] = [{"id": "9001", "pid": 100, "status": "UNLOADING"}]

    def registered(self) -> None:
        """Returns when it knows the version."""
        while "2.0" not in self.states:
            time.sleep(0.001)

    def unregister(self, model: str, version: str, timeout: float = 30.0) -> None:
        del self.states[version]

    def scale(self, model: str, version: str, workers: int, timeout: float, most: int | None = None) -> None:
        self.scaled.append((workers, workers if most is None else most))
        if self.broken and (error := self.broken.pop(0)) is not None:
            raise error


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    for module in ("lifecycle", "versions"):
        monkeypatch.setattr(f"scripts.server.{module}.POLL", 0.01)
    return Server()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "torchserve.log").touch()
    return tmp_path


def _register(server: Server, logs: Path, *steps: Any) -> str:
    """What an interrupted registration ends with. steps: what happens at each report of progress."""
    coming = list(steps)

    def progress(_: str) -> None:
        if coming:
            coming.pop(0)()

    lifecycle = Lifecycle(server, logs, Decisions(logs), lambda *_: None, progress)
    with pytest.raises(LifecycleError) as raised:
        lifecycle.register(CHECKED, promote=False, timeout=60)
    assert coming == []
    return str(raised.value)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_while_torchserve_unpacks_waits_until_it_can_unregister(server: Server, logs: Path) -> None:
    server.add("1.0")
    said = _register(server, logs, _interrupt, lambda: None, server.unpacked.set)
    assert said.startswith("interrupted")
    assert said.endswith("2.0 is not registered, 1.0 serves as before")
    assert list(server.states) == ["1.0"]


def test_an_interrupt_while_it_loads_unregisters_at_once(server: Server, logs: Path) -> None:
    server.unpacked.set()

    assert _register(server, logs, server.registered, _interrupt).endswith("2.0 is not registered, nothing serves")
    assert server.states == {}


def test_a_second_interrupt_does_not_claim_that_it_is_gone(server: Server, logs: Path) -> None:
    said = _register(server, logs, _interrupt, _interrupt)
    assert said.endswith("2.0 could not be unregistered: interrupted")
    server.unpacked.set()


def test_no_answer_does_not_claim_that_it_is_gone(server: Server, logs: Path) -> None:
    """The client's patience is over while TorchServe still unpacks."""
    server.add("1.0")
    server.answer = ApiError("/models: no answer (ReadTimeout)")
    server.unpacked.set()
    said = _register(server, logs)
    assert said.startswith("/models: no answer (ReadTimeout)")
    assert said.endswith(
        "2.0 may still become registered, as TorchServe did not answer: see list; 1.0 serves as before"
    )


def _restart(server: Server) -> None:
    server.states["2.0"]["workers"] = [{"id": "9001", "pid": 101, "status": "UNLOADING"}]


def test_a_worker_that_dies_ends_the_wait(server: Server, logs: Path) -> None:
    """Its own words are in the log; where that can't be read, TorchServe's next try shows it."""
    server.unpacked.set()
    died = ("Backend worker process died.", "handler.errors.LoadError: labels.txt: missing")

    def die() -> None:
        for line in died:
            with (logs / "torchserve.log").open("a") as log:
                log.write(json.dumps({"thread": "W-9001-cats_2.0-stdout", "message": line}) + "\n")

    assert _register(server, logs, server.registered, die) == (
        "handler.errors.LoadError: labels.txt: missing; 2.0 is not registered, nothing serves"
    )
    (logs / "torchserve.log").unlink()
    assert _register(server, logs, server.registered, lambda: None, lambda: _restart(server)) == (
        "its worker died; the server's log has the worker's error; 2.0 is not registered, nothing serves"
    )


def test_a_refusal_is_an_answer(server: Server, logs: Path) -> None:
    server.answer = ApiError("/models: status 500: no memory", 500)
    server.unpacked.set()
    assert _register(server, logs).endswith("2.0 is not registered, nothing serves")


def test_an_interrupt_in_the_middle_of_the_wait_does_not_end_the_registration(server: Server) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    registration = Registration(server, "cats.mar", 60)
    registration.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            registration.done(600)
        assert not registration.done(0)
    finally:
        signal.signal(signal.SIGALRM, before)
        server.unpacked.set()
        assert registration.done(60)
    assert registration.error is None


def _scale(server: Server, logs: Path, workers: int) -> str:
    with pytest.raises(LifecycleError) as raised:
        Lifecycle(server, logs, Decisions(logs), lambda *_: None).scale("cats", "1.0", workers, timeout=0)
    return str(raised.value)


def test_a_failed_scale_restores_both_bounds_and_the_number(server: Server, logs: Path) -> None:
    server.add("1.0", least=1, most=4, workers=2)
    assert _scale(server, logs, 3) == "cats 1.0: not READY within 0 s; set back to 2"
    assert server.scaled == [(3, 3), (2, 2), (1, 4)]


def test_a_failed_scale_with_one_bound_is_set_back_at_once(server: Server, logs: Path) -> None:
    server.add("1.0", least=2, most=2, workers=2)
    server.broken = [ApiError("no memory", 500)]
    assert _scale(server, logs, 3) == "cats 1.0: no memory; set back to 2"
    assert server.scaled == [(3, 3), (2, 2)]


def test_the_first_cause_stands_where_the_way_back_fails(server: Server, logs: Path) -> None:
    server.add("1.0")
    server.broken = [ApiError("no memory", 500), ApiError("no answer")]
    assert _scale(server, logs, 3) == "cats 1.0: no memory; could not be scaled back to 1: no answer"
