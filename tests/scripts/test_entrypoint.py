"""What the container's main process does without TorchServe: it starts and stops stand-ins."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import entrypoint
from scripts.archive.outline import Outline
from scripts.server import service
from scripts.server.client import Client
from scripts.server.loading import Loading
from scripts.server.model_watch import ModelWatch
from scripts.server.proxy import Proxy
from scripts.server.request_watch import StallError
from scripts.server.supervisor import STOP_SIGNALS
from scripts.server.worker_log import WorkerLog


class Child:
    """Stands in for TorchServe, the process for metadata and haproxy."""

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

    class Teller(Child):
        def __init__(self, front: Any, socket: Path, home: Path, console: Path | None) -> None: ...

    class Doorkeeper(Child):
        torchserve_variables = Proxy.torchserve_variables
        metadata_socket = tmp_path / "metadata.sock"
        _sockets = {"inference": tmp_path, "management": tmp_path, "metrics": tmp_path}

        def __init__(self, program: Path, front: Any, budget: Any, home: Path, log: Path | None) -> None:
            self._front, self._budget = front, budget

        def set_broken_files(self, number: int) -> None: ...

        def sessions(self) -> list[Any]:
            return []

        def answers(self) -> int:
            return 0

    EVENTS.clear()
    monkeypatch.setattr(entrypoint, "HOME", tmp_path / "home")
    monkeypatch.setattr(entrypoint, "MODEL_STORE", tmp_path)
    monkeypatch.setattr(entrypoint, "STATE", tmp_path / "state")
    monkeypatch.setattr(service, "TorchServe", Server)
    monkeypatch.setattr(service, "Metadata", Teller)
    monkeypatch.setattr(service, "Proxy", Doorkeeper)
    monkeypatch.setattr(service, "POLL", 0.0)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield Server, Doorkeeper
    for number, handler in before.items():
        signal.signal(number, handler)
    for name in ("entrypoint", "haproxy"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


ALL = ("Server", "Teller", "Doorkeeper")
STARTED_AND_STOPPED = [*(f"start {name}" for name in ALL), *(f"stop {name}" for name in reversed(ALL))]


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

    monkeypatch.setattr(service, "read_clashes", slow)
    assert entrypoint.main() == 0
    assert EVENTS == []


def test_a_haproxy_that_does_not_answer_once_ends_nothing(
    children: tuple[type[Child], type[Child]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = []

    def look(*_: object) -> None:
        looks.append(1)
        if len(looks) < 3:
            raise TimeoutError
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ModelWatch, "look", look)
    assert entrypoint.main() == 0
    assert capsys.readouterr().out.count("haproxy's control socket: TimeoutError") == 2


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
    monkeypatch.setattr(service, "available_memory", lambda: 600 << 20)
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
