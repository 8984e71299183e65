"""What is decided without a running server; tests/live has the rest."""

import socket
from pathlib import Path

import pytest
from samples import free_ports

from scripts.archive.manifest import Archive
from scripts.server.java import JavaNotFoundError
from scripts.server.torchserve import ServerError, TorchServe


def _archive(name: str) -> Archive:
    return Archive(Path(f"{name}.mar"), name, "1.0")


@pytest.fixture
def server(tmp_path: Path) -> TorchServe:
    return TorchServe([_archive("tiny")], tmp_path, free_ports(), tmp_path / "logs")


def test_a_taken_port_is_named_before_anything_starts(server: TorchServe) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", server.ports.metrics))
        occupant.listen()
        with pytest.raises(ServerError, match=f"port {server.ports.metrics}: already in use"):
            server.start()


def test_stopping_what_never_started_is_no_error(server: TorchServe) -> None:
    server.stop()


@pytest.mark.parametrize("program", ["find_java", "subprocess.Popen"])
def test_a_start_that_fails_leaves_no_temporary_files(
    server: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise JavaNotFoundError("no Java")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("scripts.server.torchserve.find_java", lambda: Path("java"))
    monkeypatch.setattr(f"scripts.server.torchserve.{program}", fail)
    with pytest.raises(JavaNotFoundError), server:
        pass
    assert list(tmp_path.glob("ts-*")) == []


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1000"), ("7", "7")])
def test_threads_give_way_unless_somebody_chose_otherwise(
    server: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: str
) -> None:
    environments = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    class Started:
        def __init__(self, *_: object, env: dict[str, str], **__: object) -> None:
            environments.append(env)

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if chosen is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", chosen)
    monkeypatch.setattr("scripts.server.torchserve.find_java", lambda: Path("java"))
    monkeypatch.setattr("scripts.server.torchserve.subprocess.Popen", Started)
    server.start()
    assert [environment["GOMP_SPINCOUNT"] for environment in environments] == [expected]
