"""How an attack's outcome is told, of servers that answer wrongly or not at all."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from samples import first_free_port

from bench import attacks
from bench.attacks import SILENT, post

MUCH = b"x" * 20_000_000  # more than fits into the buffers between a client and a server that reads nothing
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accepts one connection, does with it what `answer` does, and keeps it until the block is over."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            kept.append(listener.accept()[0])
            answer(kept[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()
        for connection in kept:
            connection.close()


def silent(_: socket.socket) -> None:
    pass


def stopping(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(BEGUN)


def closed(connection: socket.socket) -> None:
    connection.close()


def closed_in_the_answer(connection: socket.socket) -> None:
    stopping(connection)
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "body", "outcome"),
    [
        (silent, b"photo", SILENT),
        (silent, MUCH, SILENT),
        (stopping, b"photo", SILENT),
        (closed, b"photo", "closed"),
        (closed, MUCH, "closed"),
        (closed_in_the_answer, b"photo", "closed"),
    ],
)
def test_no_answer_is_not_a_closed_connection(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[socket.socket], None], body: bytes, outcome: str
) -> None:
    if outcome == SILENT:
        monkeypatch.setattr(attacks, "PATIENCE", 0.5)
    with server(answer) as url:
        assert post(url, data=body) == outcome


def test_where_nobody_listens_there_is_no_answer() -> None:
    assert post(f"http://127.0.0.1:{first_free_port(1)}/", data=b"photo") == SILENT
