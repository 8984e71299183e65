"""The questions to TorchServe, and what is made of its answers; tests/image has the real one, with tokens too."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports
from stub import TorchServeStub, register, time_from_now

from scripts.server.client import ApiError, Client
from scripts.server.readiness import unreadiness


def _client(stub: Any, keys: Path | None = None) -> Client:
    return Client(stub.url, stub.url, keys)


def test_ready_when_each_model_has_a_ready_worker(stub: type[TorchServeStub]) -> None:
    register(stub, "cats", "READY", "UNLOADING")
    register(stub, "dogs", "READY")
    assert unreadiness(_client(stub)) is None


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (("UNLOADING", "UNLOADING"), "cats 1.0: no READY worker (workers: UNLOADING, UNLOADING)"),
        ((), "cats 1.0: no READY worker (workers: none)"),
    ],
)
def test_unready_while_a_model_has_none(stub: type[TorchServeStub], states: tuple[str, ...], reason: str) -> None:
    register(stub, "dogs", "READY")
    register(stub, "cats", *states)
    assert unreadiness(_client(stub)) == reason


def test_unready_without_models_or_health_or_server(stub: type[TorchServeStub]) -> None:
    stub.answers["/models?limit=1000"] = {"models": []}
    assert unreadiness(_client(stub)) == "no model is registered"
    register(stub, "cats", "READY")
    stub.answers["/ping"] = {"status": "Unhealthy"}
    assert unreadiness(_client(stub)) == "/ping says Unhealthy"
    nobody = f"http://127.0.0.1:{free_ports().inference}"
    assert unreadiness(Client(nobody, nobody)) == "/models?limit=1000: no answer (ConnectionError)"


def test_an_unknown_model(stub: type[TorchServeStub]) -> None:
    with pytest.raises(ApiError, match=r"/models/cats/2\.0: status 404") as raised:
        _client(stub).describe("cats", "2.0")
    assert raised.value.status == 404


def test_expired_tokens_are_renewed_and_others_left_alone(stub: type[TorchServeStub], tmp_path: Path) -> None:
    register(stub, "cats", "READY")
    stub.keys = tmp_path / "key_file.json"

    def write(expires: int) -> None:
        entry = {"key": "old", "expiration time": time_from_now(expires)}
        keys = {"inference": entry, "management": entry, "API": {"key": "api"}}
        (tmp_path / "key_file.json").write_text(json.dumps(keys))

    write(expires=-1)
    assert unreadiness(_client(stub, stub.keys)) is None
    assert stub.renewed == ["management", "inference"]
    write(expires=60)
    assert unreadiness(_client(stub, stub.keys)) == "/models?limit=1000: status 400"
    assert stub.renewed == ["management", "inference"], "a token that clients may hold was ended"
    stub.another_renews = True
    assert unreadiness(_client(stub, stub.keys)) is None
    assert stub.renewed == ["management", "inference"]


def test_keys_that_can_not_be_read(stub: type[TorchServeStub], tmp_path: Path) -> None:
    register(stub, "cats", "READY")
    assert unreadiness(_client(stub, tmp_path / "none.json")) is None
    (tmp_path / "bad.json").write_text("{")
    assert "bad.json: not readable as TorchServe's keys" in str(unreadiness(_client(stub, tmp_path / "bad.json")))
