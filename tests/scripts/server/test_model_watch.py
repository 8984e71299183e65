"""What the watch of the models logs, tells haproxy and does, with a stub for TorchServe."""

import logging
from pathlib import Path
from typing import Any

import pytest
from stub import TorchServeStub, register

from scripts.archive.manifest import Archive
from scripts.server import model_watch
from scripts.server.client import Client
from scripts.server.decisions import Decisions
from scripts.server.loading import Change, Loading, State
from scripts.server.model_watch import ModelWatch
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
    watch = ModelWatch(Loading([BROKEN], client, WorkerLog(logs)), client, readiness, Decisions(logs))  # type: ignore[arg-type]
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


def test_the_only_archive_that_torchserve_refuses_stops_the_container(
    stub: type[TorchServeStub], tmp_path: Path
) -> None:
    watch, _ = _watch(stub, tmp_path)
    with pytest.raises(ServerError, match=r"broken\.mar: TorchServe refused it; its log says why"):
        watch.look(Requests())  # type: ignore[arg-type]


def test_a_model_that_does_not_load_stops_the_server_where_that_is_asked_for(
    stub: type[TorchServeStub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(stub, "broken")
    stub.answers["/models/broken/1.0"] = _describe()
    monkeypatch.setattr(WorkerLog, "death", lambda *_: "ValueError: no weights")
    watch, _ = _watch(stub, tmp_path)
    watch.look(Requests())  # type: ignore[arg-type]
    assert not watch.starting
    watch, _ = _watch(stub, tmp_path)
    watch._fatal = {State.FAILED}
    with pytest.raises(ServerError, match=r"^broken 1\.0: does not load: ValueError: no weights$"):
        watch.look(Requests())  # type: ignore[arg-type]


def test_readiness_comes_and_goes(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_watch, "READY_POLL", 0.0)
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
    monkeypatch.setattr(model_watch, "RESTART", -1.0)
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


def _versions(stub: type[TorchServeStub], serving: str, states: dict[str, str]) -> None:
    """A model `broken` in several versions, as TorchServe describes it."""
    register(stub, "broken", states[serving])
    described = [
        {"modelVersion": version, "minWorkers": 1, "workers": [{"status": state}]} for version, state in states.items()
    ]
    for each in described:
        stub.answers[f"/models/broken/{each['modelVersion']}"] = [each]
    stub.answers["/models/broken"] = [each for each in described if each["modelVersion"] == serving]
    stub.answers["/models/broken/all"] = described


def _watch_of_a_version_that_does_not_load(
    stub: type[TorchServeStub], logs: Path, states: dict[str, str], *defaults: str
) -> ModelWatch:
    """Of 3.0, which serves. defaults: versions that TorchServe lets become the default."""
    _versions(stub, "3.0", {"3.0": "UNLOADING", **states})
    for version in defaults:
        stub.answers[f"/models/broken/{version}/set-default"] = {"status": "ok"}
    watch, _ = _watch(stub, logs)
    watch._failed = [Archive(Path("broken-3.mar"), "broken", "3.0")]
    return watch


def test_the_newest_version_that_loads_serves_in_place_of_one_that_does_not(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = _watch_of_a_version_that_does_not_load(stub, tmp_path, {"1.9": "READY", "1.10": "READY"}, "1.10")
    watch.look(Requests())  # type: ignore[arg-type]
    assert "broken 3.0: does not load, so 1.10 serves in its place" in caplog.text
    _versions(stub, "1.10", {"3.0": "UNLOADING", "1.10": "READY"})
    watch._looked = -100.0
    watch.look(Requests())  # type: ignore[arg-type]
    assert watch._failed == []
    assert caplog.text.count("serves in its place") == 1


def test_a_newer_version_that_is_ready_later_takes_over(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    states = {"1.0": "READY", "2.0": "LOADING"}
    watch = _watch_of_a_version_that_does_not_load(stub, tmp_path, states, "1.0", "2.0")
    watch.look(Requests())  # type: ignore[arg-type]
    _versions(stub, "1.0", {"3.0": "UNLOADING", "1.0": "READY", "2.0": "READY"})
    for version in ("1.0", "2.0"):  # the older one is READY once more, as after a death
        watch._report(Change(Archive(Path(f"broken-{version}.mar"), "broken", version), State.READY))
    assert "broken 2.0: newer than 1.0, so it serves in its place" in caplog.text
    assert caplog.text.count("serves in its place") == 2


def test_the_workers_that_were_asked_for_are_asked_for_again(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Decisions(tmp_path).keep_workers("broken", "1.0", 2)
    register(stub, "broken", "READY")
    stub.answers["/models/broken/1.0"] = _describe("READY")
    watch, _ = _watch(stub, tmp_path)
    watch.look(Requests())  # type: ignore[arg-type]
    assert "broken 1.0: 2 workers, were last asked for, and can't be had: " in caplog.text
    watch._scale(BROKEN)
    stub.answers["/models/broken/1.0?min_worker=2&max_worker=2&synchronous=false"] = {"status": "ok"}
    watch._scale(BROKEN)
    assert caplog.records[-1].message == "broken 1.0: 2 workers, as was last asked for"


def test_what_torchserve_refuses_stops_nothing_where_others_serve(
    stub: type[TorchServeStub], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(stub, "healthy", "READY")
    watch, readiness = _watch(stub, tmp_path)
    watch.look(Requests())  # type: ignore[arg-type]
    assert "broken.mar: TorchServe refused it; its log says why. The others serve" in caplog.text
    assert readiness.told == [True]
    watch, _ = _watch(stub, tmp_path)
    watch._fatal = {State.REFUSED}
    with pytest.raises(ServerError, match=r"broken\.mar: TorchServe refused it"):
        watch.look(Requests())  # type: ignore[arg-type]
