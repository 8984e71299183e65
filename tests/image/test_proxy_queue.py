"""Which requests haproxy lets through to TorchServe, and which wait, are refused or are ended."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Self

import pytest
import requests
from samples import free_ports, wait_for

from scripts.paths import CONFIG
from scripts.server.budget import MIB, SMALL_BODY, plan
from scripts.server.frontend import read_front_end
from scripts.server.proxy import Proxy

DIED = {"code": 507, "type": "InternalServerException", "message": "Worker died."}
FULL = {"code": 503, "type": "ServiceUnavailableException", "message": 'Model "full" has no worker.'}
FAILED = {"error": {"code": "internal_error", "message": "The server failed on this image.", "index": None}}
LARGE, SMALL = b"x" * (SMALL_BODY + 1), b"x"


class Backend:
    """Stands in for TorchServe: reads each request, and answers those for `slow` when told to."""

    def __init__(self, path: str) -> None:
        self.release = threading.Event()
        self.answers = {
            "/predictions/died": (507, DIED),
            "/predictions/failed": (500, FAILED),
            "/predictions/full": (503, FULL),
        }
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/predictions/slow":
                    backend.release.wait(60)
                status, body = backend.answers.get(self.path, (200, {"labels": []}))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingMixIn, UnixStreamServer):
            daemon_threads = True
            request_queue_size = 100

        self.server = Server(path, Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


class Doors:
    """haproxy with room for one large body and two small ones, and for one that waits."""

    def __init__(self, program: Path, home: Path) -> None:
        ports = free_ports()
        settings = {
            "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{ports.inference}",
            "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{ports.management}",
            "TS_METRICS_ADDRESS": f"http://127.0.0.1:{ports.metrics}",
            "TS_JOB_QUEUE_SIZE": "1",
        }
        budget = replace(plan(2048 * MIB, [], 16 * MIB), large_bodies=1, small_bodies=2)
        self.proxy = Proxy(program, read_front_end(CONFIG, settings), budget, home)
        self.backend = Backend(self.proxy.variables()["PROXY_INFERENCE_SOCKET"])
        self.port, self.metrics = ports.inference, ports.metrics
        self._pool = ThreadPoolExecutor(8)
        self.proxy.start()
        wait_for(lambda: ports.inference in ports.taken())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.close()
        self._pool.shutdown()
        self.proxy.stop(30)

    def post(self, model: str, body: bytes) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}/predictions/{model}", data=body, timeout=60)

    def begin(self, model: str, body: bytes) -> "Future[requests.Response]":
        return self._pool.submit(self.post, model, body)

    def places(self) -> tuple[int, int]:
        """How many requests TorchServe has, and how many wait before it."""
        inside = [session.in_server for session in self.proxy.sessions()]
        return sum(inside), len(inside) - sum(inside)


@pytest.fixture
def doors(haproxy: Path, tmp_path: Path) -> Iterator[Doors]:
    with Doors(haproxy, tmp_path) as doors:
        yield doors


def test_large_bodies_wait_for_room_and_small_ones_pass_them(doors: Doors) -> None:
    first = doors.begin("slow", LARGE)
    wait_for(lambda: doors.places() == (1, 0))
    second = doors.begin("cats", LARGE)
    wait_for(lambda: doors.places() == (1, 1))
    counted = requests.get(f"http://127.0.0.1:{doors.metrics}/metrics/haproxy", timeout=60).text
    assert 'haproxy_backend_current_queue{proxy="inference_large"} 1\n' in counted
    assert 'haproxy_server_current_sessions{proxy="inference_large",server="torchserve"} 1\n' in counted
    assert doors.post("cats", SMALL).status_code == 200
    doors.backend.release.set()
    assert [first.result().status_code, second.result().status_code] == [200, 200]
    assert doors.proxy.answers() == 3


@pytest.mark.parametrize("length", [f"Content-Length: {len(LARGE)}", "Transfer-Encoding: chunked"])
def test_beyond_the_queue_a_request_is_refused_before_its_body_is_read(doors: Doors, length: str) -> None:
    held = [doors.begin("slow", LARGE)]
    wait_for(lambda: doors.places() == (1, 0))
    held.append(doors.begin("slow", LARGE))
    wait_for(lambda: doors.places() == (1, 1))
    with socket.create_connection(("127.0.0.1", doors.port), timeout=60) as client:
        client.sendall(f"POST /predictions/cats HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        answer = HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert json.loads(answer.read())["error"]["code"] == "overloaded"
    assert doors.post("cats", SMALL).status_code == 200
    doors.backend.release.set()
    assert [each.result().status_code for each in held] == [200, 200]


BEGINNING = 16 * 1024  # bytes of a body after which it gets a place, with some to spare


def test_slow_bodies_take_no_place_from_others(doors: Doors) -> None:
    """More of them than there are places for large ones."""
    head = f"POST /predictions/cats HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LARGE)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", doors.port), timeout=60))
            client.sendall(head + b"x" * 1000)
        assert doors.post("cats", LARGE).status_code == 200
        answer = HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (408, "timeout")


def test_an_unfinished_body_is_seen_and_can_be_ended(doors: Doors) -> None:
    head = f"POST /predictions/cats HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * BEGINNING}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", doors.port), timeout=60) as client:
        client.sendall(head + b"x" * BEGINNING)
        wait_for(lambda: [each.in_server for each in doors.proxy.sessions()] == [True])
        [session] = doors.proxy.sessions()
        assert session.uploading
        assert BEGINNING < session.received < 2 * BEGINNING
        doors.proxy.end(session)
        assert b" 200 " not in client.recv(1000)
    wait_for(lambda: doors.proxy.sessions() == [])
    whole = doors.begin("slow", SMALL)
    wait_for(lambda: [each.uploading for each in doors.proxy.sessions()] == [False])
    doors.backend.release.set()
    assert whole.result().status_code == 200


def test_a_model_that_can_not_answer_is_refused_at_once(doors: Doors) -> None:
    doors.proxy.refuse({"cats", "", "two words; shutdown frontend inference"})
    for path in ("predictions/cats", "v1/models/cats:predict", "v2/models/cats/infer"):
        answer = requests.post(f"http://127.0.0.1:{doors.port}/{path}", data=SMALL, timeout=60)
        error = answer.json()["error"]
        code = error["code"] if path.startswith("predictions") else error.partition(":")[0]
        assert (answer.status_code, code) == (503, "unavailable"), path
        assert answer.headers["Retry-After"] == "5"
    assert [doors.post(model, SMALL).status_code for model in ("cats/1.0", "cats2", "dogs")] == [200] * 3
    doors.proxy.refuse({"dogs"})
    assert [doors.post(model, SMALL).status_code for model in ("cats", "dogs")] == [200, 503]


def test_what_torchserve_says_of_workers_becomes_503_with_a_code_and_other_errors_stay(doors: Doors) -> None:
    for model, code in (("died", "worker_died"), ("full", "unavailable")):
        answer = doors.post(model, SMALL)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["error"]["code"] == code
    failed = doors.post("failed", SMALL)
    assert (failed.status_code, failed.json()) == (500, FAILED)


def test_only_what_torchserve_answers_is_an_answer(doors: Doors) -> None:
    asked = doors.begin("slow", SMALL)
    wait_for(lambda: doors.places() == (1, 0))
    [session] = doors.proxy.sessions()
    doors.proxy.end(session)
    with contextlib.suppress(requests.ConnectionError):
        assert asked.result().status_code == 502
    doors.proxy.refuse({"cats"})
    assert doors.post("cats", SMALL).status_code == 503
    assert doors.proxy.answers() == 0
    assert doors.post("failed", SMALL).status_code == 500
    assert doors.proxy.answers() == 1


def test_ping_is_true(doors: Doors) -> None:
    def ping() -> tuple[int, dict[str, str]]:
        answer = requests.get(f"http://127.0.0.1:{doors.port}/ping", timeout=60)
        return answer.status_code, answer.json()

    assert ping() == (503, {"status": "Unhealthy"})
    doors.proxy.set_ready(True)
    assert ping() == (200, {"status": "Healthy"})
