"""What a client takes for an answer, and whom it asks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports
from stub import TorchServeStub

from scripts.server.client import ApiError, Client


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/ping", lambda client: client.ping()),
        ("/models?limit=1000", lambda client: client.models()),
        ("/models/cats", lambda client: client.describe("cats")),
        ("/models/cats/all", lambda client: client.versions("cats")),
        ("/models/cats/1.0?customized=true", lambda client: client.details("cats", "1.0")),
    ],
)
@pytest.mark.parametrize("answer", [{}, [], [{}], "text", 5, [{"modelVersion": "1.0", "workers": [{}]}]])
def test_another_server_that_answers_200_is_an_api_error(
    stub: type[TorchServeStub], path: str, ask: Callable[[Client], Any], answer: Any
) -> None:
    stub.answers[path] = answer
    if path.endswith("/all") and not answer:
        assert ask(Client(stub.url, stub.url)) == []  # whatever is empty holds no version
        return
    with pytest.raises(ApiError):
        ask(Client(stub.url, stub.url))


@pytest.mark.parametrize("keys", ["[]", '{"inference": 1, "management": 1}', '{"inference": {}, "management": {}}'])
def test_a_key_file_of_another_form_is_an_api_error(stub: type[TorchServeStub], tmp_path: Path, keys: str) -> None:
    (tmp_path / "keys.json").write_text(keys)
    with pytest.raises(ApiError, match=r"keys.json: not readable as TorchServe's keys"):
        Client(stub.url, stub.url, tmp_path / "keys.json").ping()


def test_neither_proxy_nor_netrc_comes_between(
    stub: type[TorchServeStub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy isn't there: whoever asks it gets no answer. The stub accepts none but its own token."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports().inference}")
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    stub.keys = tmp_path / "keys.json"
    stub.keys.write_text('{"inference": {"key": "new token", "expiration time": "2999-01-01T00:00:00Z"}}')
    assert Client(stub.url, stub.url, stub.keys).ping() == "Healthy"
