"""Scores from a server, over HTTP: a stub in its place, since only the questions and answers matter here."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from predictions import Answer, Server, always, serving

from scripts.quality.scorers import ATTEMPTS, PAUSE, OverHttp
from scripts.server.torchserve import ServerError

MODEL = {"name": "cats", "version": "1.0", "sha256": "5" * 64}
SCORES = {"ant": 0.25, "bee": 0.5}
THRESHOLDS = {"ant": 0.3, "bee": 0.6}
PREDICTION = {
    "scores": SCORES,
    "model": MODEL,
    "top_k": [{"name": name, "threshold": threshold} for name, threshold in THRESHOLDS.items()],
}
CALIBRATION = {name: {"scale": 2.0, "shift": 0.0} for name in SCORES}
DESCRIBED = [{"customizedMetadata": {"calibration": CALIBRATION}}]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(always(200, PREDICTION), DESCRIBED) as state:
        yield state


def scorer(server: Server, management: bool = False, clients: int = 2) -> OverHttp:
    return OverHttp(f"{server.url}/predictions/cats", clients, server.url if management else None)


def test_what_a_server_says_of_its_model(server: Server, tmp_path: Path) -> None:
    asked = scorer(server, management=True)
    origin = asked.origin(tmp_path)
    assert (asked.labels, origin.labels) == (("ant", "bee"), ["ant", "bee"])
    assert (origin.thresholds, origin.calibration, origin.model) == (THRESHOLDS, CALIBRATION, MODEL)
    assert scorer(server).origin(tmp_path).calibration is None


def test_scores_and_codes_in_the_order_of_the_images(server: Server) -> None:
    def answer(body: bytes) -> Answer:
        if body.isdigit():
            return 200, {**PREDICTION, "scores": {"bee": int(body) / 10, "ant": 0.0}}, {}
        status = 415 if body == b"text" else 500
        return status, {"error": {"code": "not_an_image" if body == b"text" else "internal_error"}}, {}

    asked = scorer(server)
    server.answer = answer
    found = asked.score([b"1", b"text", b"2", b"crash", b"3"])
    assert found == [[0.0, 0.1], "not_an_image", [0.0, 0.2], "internal_error", [0.0, 0.3]]


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        {},
        [],
        "ok",
        {"scores": {"ant": 1.0}},
        {"scores": 3, "model": MODEL},
        {"scores": ["ant"], "model": MODEL, "top_k": []},
        {"scores": SCORES, "model": {"name": "cats"}, "top_k": PREDICTION["top_k"]},
        {"scores": SCORES, "model": "cats", "top_k": PREDICTION["top_k"]},
        {"scores": SCORES, "model": MODEL},
        {"scores": SCORES, "model": MODEL, "top_k": [{"name": "ant"}]},
        {"scores": SCORES, "model": MODEL, "top_k": []},
    ],
)
def test_another_service_is_named(server: Server, content: Any) -> None:
    server.answer = always(200, content)
    with pytest.raises(
        ServerError, match=rf"^{server.url}/predictions/cats: 200 .*, expected an answer of this project"
    ):
        scorer(server)


def test_no_such_model(server: Server) -> None:
    server.answer = always(404, {"code": 404})
    with pytest.raises(ServerError, match=r'cats: 404 \{"code": 404\}, expected an answer of this project'):
        scorer(server)


@pytest.mark.parametrize("content", [{}, [], {"scores": SCORES}, b"<html>", {"scores": {"ant": 1}, "model": MODEL}])
def test_another_answer_to_an_image_is_named(server: Server, content: Any) -> None:
    asked = scorer(server)
    server.answer = always(200, content)
    with pytest.raises(ServerError, match=r"cats: 200 .*, expected an answer of this project"):
        asked.score([b"image"])


def test_a_handler_that_describes_no_calibration(server: Server) -> None:
    server.described = [{"customizedMetadata": {}}]
    with pytest.raises(ServerError, match="calibration: not described, expected an archive of this project"):
        scorer(server, management=True)


def test_a_model_that_changes_meanwhile(server: Server) -> None:
    asked = scorer(server)
    server.answer = always(200, {**PREDICTION, "model": {**MODEL, "version": "2.0"}})
    with pytest.raises(ServerError, match=r"cats: the model changed during the run, to .*'2\.0'"):
        asked.score([b"image"])


def test_the_environment_says_nothing_of_the_way_there(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy doesn't see the images, and a .netrc adds no password."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password secret\n")
    with serving(always(200, PREDICTION)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NETRC", str(netrc))
        assert scorer(server).score([b"1", b"2"]) == [list(SCORES.values())] * 2
        assert proxy.seen == []
    assert len(server.seen) == 4
    assert not [headers for headers in server.seen if "authorization" in headers]


def test_each_thread_keeps_its_session(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[requests.Session] = []

    class Session(requests.Session):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(requests, "Session", Session)
    scorer(server, clients=2).score([b"image"] * 12)
    assert len(made) <= 3, "the main thread and two clients"


@pytest.mark.parametrize("header", [{}, {"Retry-After": "0"}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}])
def test_a_busy_server_is_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch, header: dict[str, str]) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    asked = scorer(server, clients=1)
    server.answer = _busy(2, header)
    assert asked.score([b"image"]) == [list(SCORES.values())]
    assert pauses == [0.0 if header.get("Retry-After") == "0" else PAUSE] * 2


def test_a_server_that_stays_busy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    asked = scorer(server, clients=1)
    server.answer = _busy(10**6, {})
    assert asked.score([b"image"]) == ["out_of_memory"], "the error of the image, after the last attempt"
    assert len(server.seen) == 2 + ATTEMPTS


def _busy(times: int, header: dict[str, str]) -> Callable[[bytes], Answer]:
    """503 so often, then scores."""
    left = iter(range(times))

    def answer(_: bytes) -> Answer:
        if next(left, None) is None:
            return 200, PREDICTION, {}
        return 503, {"error": {"code": "out_of_memory"}}, header

    return answer
