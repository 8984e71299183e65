"""What is decided without a running server; tests/live has the rest."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from samples import free_ports

from scripts.archive.manifest import Archive, read_archive
from scripts.archive.outline import read_outline
from scripts.paths import CONFIG
from scripts.server.budget import MIB, plan
from scripts.server.frontend import read_front_end
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


@dataclass
class Started:
    """What Java was started with."""

    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started()

    def start(command: list[str], env: dict[str, str], **_: object) -> None:
        started.command, started.environment = command, env

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("scripts.server.torchserve.find_java", lambda: Path("java"))
    monkeypatch.setattr("scripts.server.torchserve.subprocess.Popen", start)
    return started


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1000"), ("7", "7")])
def test_threads_give_way_unless_somebody_chose_otherwise(
    server: TorchServe, started: Started, monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: str
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if chosen is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", chosen)
    server.start()
    assert started.environment["GOMP_SPINCOUNT"] == expected


def test_by_default_the_memory_is_divided_as_for_users(
    tiny_mar: Path, tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = 4000 * MIB
    monkeypatch.setattr("scripts.server.torchserve.available_memory", lambda: available)
    archive = read_archive(tiny_mar)
    budget = plan(available, [read_outline(archive)], read_front_end(CONFIG, {}).max_request_size)
    TorchServe([archive], tiny_mar.parent, free_ports(), tmp_path / "logs").start()
    assert started.command[1 : len(budget.java_options()) + 1] == budget.java_options()
    assert started.environment.items() >= budget.variables().items()


def test_too_little_memory_is_said_before_anything_starts(
    server: TorchServe, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.server.torchserve.available_memory", lambda: 300 * MIB)
    with pytest.raises(ServerError, match="memory: 300 MiB is too little for 1 worker"):
        server.start()
    assert started.command == []
