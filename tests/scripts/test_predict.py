"""The command against a stand-in server, which the tests against the real one complement."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.predict import BAR, bar, main, table

MODEL = {"name": "tiny", "version": "1.0", "sha256": "0"}
ANT = {"name": "ant", "index": 0, "score": 0.9, "threshold": 0.5}
BEE = {"name": "bee", "index": 1, "score": 0.2, "threshold": 0.5}
ANSWER = {"labels": [ANT], "top_k": [ANT, BEE], "fallback": False, "model": MODEL}


class Server(HTTPServer):
    status = 200
    answer: bytes = json.dumps(ANSWER).encode()
    headers: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers = dict(self.headers)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def photo(tmp_path: Path) -> str:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    return str(tmp_path / "a.jpg")


def _url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/predictions/tiny"


def test_table(server: Server, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", _url(server), photo]) == 0
    head, ant, bee = capsys.readouterr().out.splitlines()
    assert head == f"{photo}  tiny 1.0"
    assert ant.split() == ["●", "ant", "█" * 21 + "▋", "0.900", "≥", "0.50"]
    assert bee.split()[0] == "bee"


def test_options_become_headers(server: Server, photo: str) -> None:
    main(["--url", _url(server), "--threshold", "0.2", "--top-k", "3", "--all", photo])
    sent = {name: value for name, value in server.headers.items() if name.startswith("X-")}
    assert sent == {"X-Threshold": "0.2", "X-Top-K": "3", "X-All-Scores": "true"}
    assert server.headers["Content-Type"] == "application/octet-stream"


def test_json_is_a_line_a_photo(server: Server, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", _url(server), "--json", photo, "gone.jpg"]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {"photo": photo, "status": 200, "answer": ANSWER, "exit_code": 0}
    assert second == {"photo": "gone.jpg", "status": None, "error": "No such file or directory", "exit_code": 1}


@pytest.mark.parametrize(
    ("status", "answer", "code", "shown"),
    [
        (415, {"error": {"code": "not_an_image", "message": "No.", "index": 0}}, 1, "error (415): not_an_image No."),
        (404, {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: x"}, 1, "Model not found"),
        (503, {"code": 503, "type": "ServiceUnavailableException", "message": "busy"}, 3, "error (503): 503 busy"),
        (200, {"tabby": 0.5}, 3, "error (200)"),
        (200, [1], 3, "error (200): OK"),
        (413, None, 1, "error (413): Request Entity Too Large"),
        (502, {"error": "upstream is gone"}, 3, "error (502): upstream is gone"),
        (400, {"error": None}, 1, "error (400)"),
        (200, 5, 3, "error (200): OK"),
        (200, {"top_k": []}, 3, "error (200): OK"),
    ],
)
def test_exit_codes(
    server: Server, photo: str, capsys: pytest.CaptureFixture[str], status: int, answer: Any, code: int, shown: str
) -> None:
    server.status, server.answer = status, b"" if answer is None else json.dumps(answer).encode()
    assert main(["--url", _url(server), photo]) == code
    assert shown in capsys.readouterr().out


def test_no_server(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9/predictions/x", photo]) == 3
    assert "no answer from http://127.0.0.1:9/predictions/x (ConnectionError)" in capsys.readouterr().out


def test_the_server_is_asked_without_a_proxy(server: Server, photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert main(["--url", _url(server), photo]) == 0


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


@pytest.mark.parametrize("score", [0.0, 0.004, 0.5, 0.999, 1.0])
def test_bars_are_of_one_length(score: float) -> None:
    assert len(bar(score)) == BAR
    assert bar(score).count("█") == round(score * BAR * 8) // 8


def test_all_scores_and_fallback() -> None:
    answer = {**ANSWER, "labels": [ANT], "top_k": [], "fallback": True, "scores": {"ant": 0.9, "bee": 0.2}}
    lines = table({"photo": "a.jpg", "answer": answer}).splitlines()
    assert lines[2].split() == ["bee", "████▊", "0.200"]
    assert lines[3].strip() == "no score reached its threshold: the best label stands in"
