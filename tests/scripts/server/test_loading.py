"""What becomes of an archive after the start, as the management API and the log tell it."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports
from stub import TorchServeStub

from scripts.archive.manifest import Archive
from scripts.server.client import ApiError, Client
from scripts.server.loading import Loading, State
from scripts.server.worker_log import DIED, LOG, WorkerLog

CATS, DOGS = (Archive(Path(f"{name}.mar"), name, "1.0") for name in ("cats", "dogs"))


def _set(stub: type[TorchServeStub], archive: Archive, *states: str, wanted: int = 1) -> None:
    described = {"modelVersion": "1.0", "minWorkers": wanted, "workers": [{"status": state} for state in states]}
    stub.answers[f"/models/{archive.name}/{archive.version}"] = [described]


def _die(logs: Path, archive: Archive, cause: str) -> None:
    thread = f"W-9000-{archive.name}_{archive.version}-stdout"
    with (logs / LOG).open("a") as log:
        for message in (DIED, "Traceback", cause):
            log.write(json.dumps({"thread": thread, "message": message}) + "\n")


def _changes(loading: Loading) -> list[tuple[str, State, str]]:
    return [(change.archive.name, change.state, change.cause) for change in loading.changes()]


@pytest.fixture
def loading(stub: type[TorchServeStub], tmp_path: Path) -> Loading:
    _set(stub, CATS)
    _set(stub, DOGS)
    return Loading([CATS, DOGS], Client(stub.url, stub.url), WorkerLog(tmp_path))


def test_each_is_followed_until_it_is_ready(stub: type[TorchServeStub], loading: Loading) -> None:
    assert _changes(loading) == []
    _set(stub, CATS, "READY", "UNLOADING", wanted=2)
    _set(stub, DOGS, "READY")
    assert _changes(loading) == [("dogs", State.READY, "")]
    assert loading.waiting == [CATS]
    _set(stub, CATS, "READY", "READY", wanted=2)
    assert _changes(loading) == [("cats", State.READY, "")]
    assert _changes(loading) == []
    assert loading.waiting == []


def test_a_failure_is_told_once_for_each_cause(stub: type[TorchServeStub], loading: Loading, tmp_path: Path) -> None:
    _die(tmp_path, CATS, "LoadError: no labels")
    assert _changes(loading) == [("cats", State.FAILED, "LoadError: no labels")]
    _die(tmp_path, CATS, "LoadError: no labels")
    assert _changes(loading) == []
    (tmp_path / LOG).rename(tmp_path / "rotated.log")
    (tmp_path / LOG).touch()
    assert _changes(loading) == [], "no change to an empty cause"
    _die(tmp_path, CATS, "MemoryError")
    assert _changes(loading) == [("cats", State.FAILED, "MemoryError")]
    _set(stub, CATS, "READY")
    assert _changes(loading) == [("cats", State.READY, "")]


def test_one_that_was_there_and_is_not_any_more_was_unregistered(
    stub: type[TorchServeStub], loading: Loading, tmp_path: Path
) -> None:
    _die(tmp_path, CATS, "LoadError: no labels")
    _changes(loading)
    del stub.answers["/models/cats/1.0"]
    assert _changes(loading) == [("cats", State.REMOVED, "")]
    assert loading.waiting == [DOGS]


def test_one_that_never_was_there_was_refused(stub: type[TorchServeStub], loading: Loading) -> None:
    del stub.answers["/models/cats/1.0"]
    assert _changes(loading) == [("cats", State.REFUSED, "")]


def test_a_server_that_does_not_listen_yet_has_refused_nothing(stub: type[TorchServeStub], tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports().inference}"
    loading = Loading([CATS], Client(nobody, nobody), WorkerLog(tmp_path))
    assert _changes(loading) == []
    _die(tmp_path, CATS, "SyntaxError: x")
    assert _changes(loading) == [("cats", State.FAILED, "SyntaxError: x")]


def test_without_an_answer_to_one_question_no_other_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes seconds until it gives up, and a stop waits for this round."""
    client = Client("", "")
    asked: list[str] = []

    def describe(model: str, version: str | None = None) -> dict[str, Any]:
        asked.append(model)
        raise ApiError("no answer")

    monkeypatch.setattr(client, "describe", describe)
    assert _changes(Loading([CATS, DOGS], client, WorkerLog(tmp_path))) == []
    assert asked == ["cats"]
