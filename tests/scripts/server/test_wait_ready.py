"""What is made of a worker's death at the start, without Java: tests/live/test_foreign_archives.py has a real one."""

import json
from pathlib import Path

import pytest
from samples import free_ports

from scripts.archive.manifest import Archive
from scripts.server.torchserve import ServerError, TorchServe
from scripts.server.worker_log import DIED, LOG


def _log(logs: Path, *messages: str) -> None:
    lines = (json.dumps({"thread": "W-9000-tiny_1.0-stdout", "message": message}) for message in messages)
    (logs / LOG).write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TorchServe:
    """One whose Java is a program that waits, and never answers."""
    monkeypatch.setattr(TorchServe, "_command", lambda *_: ["sleep", "600"])
    return TorchServe([Archive(tmp_path / "tiny.mar", "tiny", "1.0")], tmp_path, free_ports(), tmp_path)


def test_the_workers_own_words_are_the_error(server: TorchServe, tmp_path: Path) -> None:
    cause = "handler.errors.LoadError: thresholds.json: missing"
    with server:
        _log(tmp_path, DIED, "Traceback (most recent call last):", "    worker.run_server()", cause)
        with pytest.raises(ServerError, match=r"tiny 1\.0: .*LoadError: .*thresholds.json: missing"):
            server.wait_ready()
    assert server.ports.taken() == []


def test_what_takes_too_long_is_named(server: TorchServe) -> None:
    with server, pytest.raises(ServerError, match=r"tiny 1\.0: not ready after 0 s"):
        server.wait_ready(0.01)
