import socket

from samples import CHELSEA
from ts.protocol.otf_message_handler import retrieve_msg
from ts.service import Service

from bench.worker_share import HEADERS, batch_message


def test_torchserve_reads_the_message_as_a_batch() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        here.sendall(batch_message(CHELSEA[:100], 3))
        command, batch = retrieve_msg(there)
    headers, rows, ids = Service.retrieve_data_for_inference(batch)
    assert command == b"I"
    assert rows == [{"body": CHELSEA[:100]}] * 3
    assert len(set(ids.values())) == 3
    assert all(HEADERS.items() <= each.get_request_properties().items() for each in headers)
