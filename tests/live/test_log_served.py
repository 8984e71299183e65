"""One event is one line of JSON, whatever a client sends."""

import http.client

from logbook import events, requests_of, said
from samples import CHELSEA, PATIENCE, Send, wait_for

from scripts.server.torchserve import TorchServe

CLIENT = 'zebra"}\\n{"time": "x'


def test_each_line_is_json_and_one_request_is_one_line(server: TorchServe, send: Send) -> None:
    before = len(requests_of(server, "cat-breeds"))
    answer = send(data=CHELSEA)
    send(files={CLIENT: CLIENT.encode()}, headers={"X-Top-K": CLIENT, "Authorization": f"Bearer {CLIENT}"})
    send(json={CLIENT: [CLIENT]})
    send(data=CLIENT.encode(), headers={"Content-Type": CLIENT})
    wait_for(lambda: len(requests_of(server, "cat-breeds")) >= before + 4)
    lines = requests_of(server, "cat-breeds")[before:]
    assert [(line["status"], line["code"]) for line in lines] == [
        (200, "ok"),
        (400, "bad_option"),
        (400, "bad_option"),
        (415, "not_an_image"),
    ]
    assert lines[0]["request_id"] == answer.headers["x-request-id"]
    assert lines[0]["version"] == "1.0"
    assert "zebra" not in str(said(server))


def test_what_the_front_end_refuses_is_one_line_in_the_access_log(server: TorchServe) -> None:
    path = f"/predictions/{CLIENT.replace(' ', '')}"
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.inference, timeout=PATIENCE)  # escapes nothing
    connection.request("POST", path, b"x")
    assert connection.getresponse().status == 404
    connection.close()

    def found() -> list[str]:
        return [line["message"] for line in events(server.logs / "access_log.log") if "zebra" in line["message"]]

    wait_for(lambda: bool(found()))
    [line] = found()
    assert path in line
    assert " 404 " in line
    assert "zebra" not in str(said(server))
