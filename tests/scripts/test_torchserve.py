"""What is decided without a running server; tests/server has the rest."""

import socket
from pathlib import Path

import pytest
from samples import free_ports

from scripts.archive.manifest import Archive
from scripts.server.torchserve import MODEL_LOG, ServerError, TorchServe

LOG = """\
2026 [INFO ] W-9000-tiny_1.0-stdout MODEL_LOG - Torch worker started.
2026 [INFO ] W-9001-other_1.0-stdout MODEL_LOG - Backend worker process died.
2026 [INFO ] W-9001-other_1.0-stdout MODEL_LOG - Traceback (most recent call last):
2026 [INFO ] W-9001-other_1.0-stdout MODEL_LOG - ValueError: not this one
2026 [INFO ] W-9000-tiny_1.0-stdout MODEL_LOG - Backend worker process died.
2026 [INFO ] W-9000-tiny_1.0-stdout MODEL_LOG - Traceback (most recent call last):
2026 [INFO ] W-9000-tiny_1.0-stdout MODEL_LOG -   File "worker.py", line 263, in <module>
2026 [INFO ] W-9000-tiny_1.0-stdout MODEL_LOG -     worker.run_server()
2026 [INFO ] W-9000-tiny_1.0-stdout MODEL_LOG - handler.errors.LoadError: golden.json: noise.bmp: failed
2026 [INFO ] epollEventLoopGroup-5-1 org.pytorch.serve.wlm.WorkerThread - 9000 Worker disconnected.
"""


def _archive(name: str) -> Archive:
    return Archive(Path(f"{name}.mar"), name, "1.0")


@pytest.fixture
def server(tmp_path: Path) -> TorchServe:
    return TorchServe([_archive("tiny")], tmp_path, free_ports(), tmp_path / "logs")


def test_cause_of_a_dead_worker_is_the_exceptions_own_line(server: TorchServe) -> None:
    assert server.worker_failure(_archive("tiny")) is None
    server.logs.mkdir()
    (server.logs / MODEL_LOG).write_text(LOG)
    assert server.worker_failure(_archive("tiny")) == "handler.errors.LoadError: golden.json: noise.bmp: failed"
    assert server.worker_failure(_archive("other")) == "ValueError: not this one"
    assert server.worker_failure(_archive("third")) is None
    assert server.worker_failure(Archive(Path("tiny-2.mar"), "tiny", "2.0")) is None


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports()
    assert len(set(vars(ports).values())) == 5
    assert ports.taken() == []


def test_a_taken_port_is_named_before_anything_starts(server: TorchServe) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", server.ports.metrics))
        occupant.listen()
        with pytest.raises(ServerError, match=f"port {server.ports.metrics}: already in use"):
            server.start()


def test_stopping_what_never_started_is_no_error(server: TorchServe) -> None:
    server.stop()
