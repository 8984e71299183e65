"""What the container's main process does without TorchServe: it follows models, and starts and stops stand-ins."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub import TorchServeStub, register

from scripts import entrypoint
from scripts.archive.manifest import Archive
from scripts.archive.outline import Outline
from scripts.entrypoint import ModelWatch
from scripts.server.client import Client
from scripts.server.loading import Loading
from scripts.server.proxy import Proxy
from scripts.server.request_watch import StallError
from scripts.server.supervisor import STOP_SIGNALS
from scripts.server.torchserve import ServerError
from scripts.server.worker_log import WorkerLog

BROKEN = Archive(Path("broken.mar"), "broken", "1.0")


class Readiness:
    """Stands in for haproxy, as far as it is told whether all models can answer."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.refused: set[str] = set()

    def set_ready(self, ready: bool) -> None:
        self.told.append(ready)

    def refuse(self, models: set[str]) -> None:
        self.refused = models


class Requests:
    """Stands in for the watch of the requests."""

    stall: str | None = None
    asked: list[tuple[bool, bool]]

    def __init__(self) -> None:
        self.asked = []

    def look(self, able: bool, silent: bool) -> str | None:
        self.asked.append((able, silent))
        return self.stall


def _watch(stub: type[TorchServeStub], logs: Path) -> tuple[ModelWatch, Readiness]:
    client, readiness = Client(stub.url, stub.url), Readiness()
    watch = ModelWatch(Loading([BROKEN], client, WorkerLog(logs)), client, readiness)  # type: ignore[arg-type]
    return watch, readiness


def _describe(*states: str) -> list[dict[str, Any]]:
    return [{"modelVersion": "1.0", "minWorkers": 1, "workers": [{"status": state} for state in states]}]


def test_unregistering_a_model_that_never_became_ready_stops_nothing(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    register(stub, "healthy", "READY")
    register(stub, "broken")
    stub.answers["/models/broken/1.0"] = _describe()
    watch, readiness = _watch(stub, tmp_path)
    watch.look(Requests())  # type: ignore[arg-type]
    assert readiness.told == []
    del stub.answers["/models/broken/1.0"], stub.answers["/models/broken"]
    stub.answers["/models?limit=1000"]["models"].pop()
    watch.look(Requests())  # type: ignore[arg-type]
    watch.look(Requests())  # type: ignore[arg-type]
    assert readiness.told == [True]
    assert [record.message for record in caplog.records] == [
        "broken 1.0: unregistered before it was READY",
        "ready: every model can answer",
    ]


def test_an_archive_that_torchserve_refused_stops_the_container(stub: type[TorchServeStub], tmp_path: Path) -> None:
    watch, _ = _watch(stub, tmp_path)
    with pytest.raises(ServerError, match=r"broken\.mar: TorchServe refused it; its log above says why"):
        watch.look(Requests())  # type: ignore[arg-type]


def test_readiness_comes_and_goes(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrypoint, "READY_POLL", 0.0)
    register(stub, "broken", "READY")
    stub.answers["/models/broken/1.0"] = _describe("READY")
    watch, readiness = _watch(stub, tmp_path)
    watch.look(Requests())  # type: ignore[arg-type]
    stub.answers["/models/broken"] = _describe("UNLOADING")
    watch.look(Requests())  # type: ignore[arg-type]
    watch.look(Requests())  # type: ignore[arg-type]
    assert readiness.told == [True, False]
    assert "not ready any more: broken 1.0: no READY worker" in caplog.text


def test_nobody_answered_is_unready_though_the_workers_are_ready(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(stub, "broken", "READY")
    stub.answers["/models/broken/1.0"] = _describe("READY")
    watch, readiness = _watch(stub, tmp_path)
    requests = Requests()
    watch.look(requests)  # type: ignore[arg-type]
    requests.stall = "no answer for 17 s"
    watch.look(requests)  # type: ignore[arg-type]
    assert readiness.told == [True, False]
    assert "not ready any more: no answer for 17 s" in caplog.text
    assert requests.asked == [(False, False), (True, False)]


def test_a_model_without_a_worker_is_refused_when_a_restart_would_be_over(
    stub: type[TorchServeStub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(stub, "broken", "UNLOADING")
    stub.answers["/models/broken/1.0"] = _describe("UNLOADING")
    watch, readiness = _watch(stub, tmp_path)
    requests = Requests()
    watch.look(requests)  # type: ignore[arg-type]
    assert readiness.refused == set()
    monkeypatch.setattr(entrypoint, "RESTART", -1.0)
    watch.look(requests)  # type: ignore[arg-type]
    assert readiness.refused == {"broken"}
    register(stub, "broken", "READY")
    watch.look(requests)  # type: ignore[arg-type]
    assert (readiness.refused, readiness.told) == (set(), [True])


def test_a_java_that_says_nothing_is_told_from_one_that_refuses(stub: type[TorchServeStub], tmp_path: Path) -> None:
    register(stub, "broken", "READY")
    stub.answers["/models/broken/1.0"] = _describe("READY")
    watch, _ = _watch(stub, tmp_path)
    requests = Requests()
    for url in (stub.url, "http://127.0.0.1:9", stub.url):
        watch._client.urls["management"] = url
        watch._looked = -100.0
        watch.look(requests)  # type: ignore[arg-type]
    watch.look(requests)  # type: ignore[arg-type]
    assert requests.asked == [(False, False), (True, False), (True, True), (True, False)]


class Child:
    """Stands in for TorchServe and haproxy."""

    code: int | None = None

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def start(self) -> None:
        EVENTS.append(f"start {type(self).__name__}")

    def ended(self) -> int | None:
        return self.code

    def stop(self, grace: float) -> bool:
        EVENTS.append(f"stop {type(self).__name__}")
        return True


EVENTS: list[str] = []


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Child], type[Child]]]:
    class Server(Child):
        def loading(self) -> Loading:
            return Loading([], Client("", ""), WorkerLog(tmp_path))

    class Doorkeeper(Child):
        torchserve_variables = Proxy.torchserve_variables
        _sockets = {"inference": tmp_path, "management": tmp_path}

        def __init__(self, config: Path, front: Any, budget: Any, home: Path) -> None:
            self._front, self._budget = front, budget

        def sessions(self) -> list[Any]:
            return []

        def answers(self) -> int:
            return 0

    EVENTS.clear()
    monkeypatch.setattr(entrypoint, "HOME", tmp_path / "home")
    monkeypatch.setattr(entrypoint, "MODEL_STORE", tmp_path)
    monkeypatch.setattr(entrypoint, "TorchServe", Server)
    monkeypatch.setattr(entrypoint, "Proxy", Doorkeeper)
    monkeypatch.setattr(entrypoint, "POLL", 0.0)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield Server, Doorkeeper
    for number, handler in before.items():
        signal.signal(number, handler)
    for name in ("entrypoint", "haproxy"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


STARTED_AND_STOPPED = ["start Server", "start Doorkeeper", "stop Doorkeeper", "stop Server"]


def test_sigterm_stops_both_in_order(
    children: tuple[type[Child], type[Child]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ModelWatch, "look", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert entrypoint.main() == 0
    assert EVENTS == STARTED_AND_STOPPED
    assert "stopping: no new requests" in capsys.readouterr().out


def test_sigterm_before_the_start_starts_nothing(
    children: tuple[type[Child], type[Child]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> tuple[list[Outline], list[str]]:
        os.kill(os.getpid(), signal.SIGTERM)
        return [], []

    monkeypatch.setattr(entrypoint, "read_clashes", slow)
    assert entrypoint.main() == 0
    assert EVENTS == []


def test_when_nobody_is_answered_for_long_it_ends_with_a_code_of_its_own(
    children: tuple[type[Child], type[Child]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stalled(*_: object) -> None:
        raise StallError("no answer for 91 s")

    monkeypatch.setattr(ModelWatch, "look", stalled)
    assert entrypoint.main() == 124
    assert EVENTS == STARTED_AND_STOPPED
    assert "no answer for 91 s" in capsys.readouterr().out


def test_too_little_memory_starts_nothing(
    children: tuple[type[Child], type[Child]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entrypoint, "available_memory", lambda: 600 << 20)
    assert entrypoint.main() == 1
    assert EVENTS == []
    assert "600 MiB is too little for 1 worker" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("which", "ended", "code"), [("Server", -9, 137), ("Server", 3, 3), ("Server", 0, 1), ("Doorkeeper", -9, 1)]
)
def test_the_exit_code_when_one_ends_by_itself(
    children: tuple[type[Child], type[Child]], capsys: pytest.CaptureFixture[str], which: str, ended: int, code: int
) -> None:
    [child] = [child for child in children if child.__name__ == which]
    child.code = ended
    assert entrypoint.main() == code
    assert EVENTS == STARTED_AND_STOPPED
    assert f"ended by itself with code {ended}" in capsys.readouterr().out


def test_settings_that_are_wrong_start_nothing(
    children: tuple[type[Child], type[Child]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOP_GRACE", "soon")
    assert entrypoint.main() == 1
    assert EVENTS == []
    assert "STOP_GRACE: soon, expected whole seconds" in capsys.readouterr().out
