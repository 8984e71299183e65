"""The questions to TorchServe, and what is made of its answers; tests/image has the real one, with tokens too."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports

from scripts.server.client import ApiError, Client
from scripts.server.readiness import unreadiness


class TorchServeStub(BaseHTTPRequestHandler):
    """Answers what the test says, and wants the token that the test says."""

    answers: dict[str, Any] = {}
    keys: Path | None = None
    renewed: list[str] = []
    another_renews = False  # when it refuses a token

    def do_GET(self) -> None:
        status, answer = 200, self.answers.get(self.path)
        if self.keys is not None:
            held = json.loads(self.keys.read_text())
            if self.path.startswith("/token"):
                kind = self.path.partition("=")[2]
                self._renew(kind)
                self.renewed.append(kind)
                answer = ""
            else:
                key = held["inference" if self.path == "/ping" else "management"]["key"]
                status = 200 if self.headers["Authorization"] == f"Bearer {key}" and key.startswith("new") else 400
                if status == 400 and self.another_renews:
                    self._renew("inference", "management")
        if answer is None:
            status = 404
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _renew(self, *kinds: str) -> None:
        assert self.keys is not None
        fresh = {kind: {"key": f"new {kind}", "expiration time": _time(60)} for kind in kinds}
        self.keys.write_text(json.dumps({**json.loads(self.keys.read_text()), **fresh}))

    def log_message(self, *_: object) -> None:
        pass


def _time(seconds: int) -> str:
    """As Java writes it, with nanoseconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")


@pytest.fixture
def stub() -> Iterator[type[TorchServeStub]]:
    class Stub(TorchServeStub):
        answers: dict[str, Any] = {"/ping": {"status": "Healthy"}}
        renewed: list[str] = []
        url = ""

    with ThreadingHTTPServer(("127.0.0.1", free_ports().inference), Stub) as server:
        Stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Stub
        server.shutdown()
        thread.join()


def _client(stub: Any, keys: Path | None = None) -> Client:
    return Client(stub.url, stub.url, keys)


def _register(stub: Any, model: str, *states: str) -> None:
    models = stub.answers.setdefault("/models?limit=1000", {"models": []})["models"]
    models.append({"modelName": model, "modelUrl": f"{model}.mar"})
    described = {"modelVersion": "1.0", "workers": [{"status": state} for state in states]}
    stub.answers[f"/models/{model}"] = [described]


def test_ready_when_each_model_has_a_ready_worker(stub: type[TorchServeStub]) -> None:
    _register(stub, "cats", "READY", "UNLOADING")
    _register(stub, "dogs", "READY")
    assert unreadiness(_client(stub)) is None


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (("UNLOADING", "UNLOADING"), "cats 1.0: no READY worker (workers: UNLOADING, UNLOADING)"),
        ((), "cats 1.0: no READY worker (workers: none)"),
    ],
)
def test_unready_while_a_model_has_none(stub: type[TorchServeStub], states: tuple[str, ...], reason: str) -> None:
    _register(stub, "dogs", "READY")
    _register(stub, "cats", *states)
    assert unreadiness(_client(stub)) == reason


def test_unready_without_models_or_health_or_server(stub: type[TorchServeStub]) -> None:
    stub.answers["/models?limit=1000"] = {"models": []}
    assert unreadiness(_client(stub)) == "no model is registered"
    stub.answers["/ping"] = {"status": "Unhealthy"}
    assert unreadiness(_client(stub)) == "/ping says Unhealthy"
    nobody = f"http://127.0.0.1:{free_ports().inference}"
    assert unreadiness(Client(nobody, nobody)) == "/ping: no answer (ConnectionError)"


def test_an_unknown_model(stub: type[TorchServeStub]) -> None:
    with pytest.raises(ApiError, match=r"/models/cats/2\.0: status 404") as raised:
        _client(stub).describe("cats", "2.0")
    assert raised.value.status == 404


def test_expired_tokens_are_renewed_and_others_left_alone(stub: type[TorchServeStub], tmp_path: Path) -> None:
    _register(stub, "cats", "READY")
    stub.keys = tmp_path / "key_file.json"

    def write(expires: int) -> None:
        entry = {"key": "old", "expiration time": _time(expires)}
        keys = {"inference": entry, "management": entry, "API": {"key": "api"}}
        (tmp_path / "key_file.json").write_text(json.dumps(keys))

    write(expires=-1)
    assert unreadiness(_client(stub, stub.keys)) is None
    assert stub.renewed == ["inference", "management"]
    write(expires=60)
    assert unreadiness(_client(stub, stub.keys)) == "/ping: status 400"
    assert stub.renewed == ["inference", "management"], "a token that clients may hold was ended"
    stub.another_renews = True
    assert unreadiness(_client(stub, stub.keys)) is None
    assert stub.renewed == ["inference", "management"]


def test_keys_that_can_not_be_read(stub: type[TorchServeStub], tmp_path: Path) -> None:
    _register(stub, "cats", "READY")
    assert unreadiness(_client(stub, tmp_path / "none.json")) is None
    (tmp_path / "bad.json").write_text("{")
    assert "bad.json: not readable as TorchServe's keys" in str(unreadiness(_client(stub, tmp_path / "bad.json")))
