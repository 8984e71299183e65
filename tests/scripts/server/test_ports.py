"""Which ports a server gets, and which of them are taken."""

import socket

from samples import free_ports

from scripts.server.ports import Ports


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports()
    assert len(set(vars(ports).values())) == 5
    assert ports.taken() == []


def test_five_in_a_row() -> None:
    assert Ports.from_first(9000) == Ports(9000, 9001, 9002, 9003, 9004)


def test_the_taken_ones_are_named() -> None:
    ports = free_ports()
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", ports.management))
        occupant.listen()
        assert ports.taken() == [ports.management]
