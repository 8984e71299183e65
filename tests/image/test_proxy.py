"""image/haproxy.cfg, read by each haproxy that is here: the system's, and that of the wheel."""

import json
import logging
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from samples import free_ports, wait_for

from handler.errors import FormEncoded, error_body
from handler.log import log_as_json
from scripts.paths import CONFIG, HAPROXY
from scripts.server.budget import MIB, Budget, plan
from scripts.server.frontend import read_front_end
from scripts.server.ports import Ports
from scripts.server.proxy import Proxy

BUDGET = plan(2048 * MIB, [], 16 * MIB)


def _addresses(ports: Ports) -> dict[str, str]:
    kinds = {"INFERENCE": ports.inference, "MANAGEMENT": ports.management, "METRICS": ports.metrics}
    return {f"TS_{kind}_ADDRESS": f"http://127.0.0.1:{port}" for kind, port in kinds.items()}


def _proxy(program: Path, ports: Ports, home: Path, budget: Budget = BUDGET) -> Proxy:
    return Proxy(program, read_front_end(CONFIG, _addresses(ports)), budget, home)


@contextmanager
def _running(program: Path, ports: Ports, home: Path) -> Iterator[Proxy]:
    proxy = _proxy(program, ports, home)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop(30)


def test_haproxy_accepts_its_configuration_without_a_warning(haproxy: Path, tmp_path: Path) -> None:
    """A warning would be printed to the container's console, whose lines are JSON."""
    variables = Proxy(haproxy, read_front_end(CONFIG, {}), BUDGET, tmp_path).variables()
    for name in ("PROXY_UNREADY", "PROXY_STORE", "PROXY_ORIGINS"):
        Path(variables[name]).touch()
    command = [str(haproxy), "-c", "-f", str(HAPROXY)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr


def test_ready_is_answered_as_it_was_set_and_all_that_is_printed_is_json(
    haproxy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ports = free_ports()
    log_as_json("haproxy")
    proxy = _proxy(haproxy, ports, tmp_path)
    proxy.start()
    try:
        wait_for(lambda: ports.inference in ports.taken())
        statuses = []
        for ready in (None, True, False):
            if ready is not None:
                proxy.set_ready(ready)
            statuses.append(requests.get(f"http://127.0.0.1:{ports.inference}/ready", timeout=30).status_code)
        assert statuses == [503, 200, 503]
        assert proxy.ended() is None
    finally:
        assert proxy.stop(30)
        logging.getLogger("haproxy").handlers = []
    assert ports.taken() == []
    printed = capfd.readouterr()
    assert printed.err == ""
    assert {json.loads(line)["logger"] for line in printed.out.splitlines()} == {"haproxy"}


def test_a_request_that_is_not_answered_in_time_is_cut_off(haproxy: Path, tmp_path: Path) -> None:
    ports = free_ports()
    proxy = _proxy(haproxy, ports, tmp_path)
    proxy.start()
    with socket.socket(socket.AF_UNIX) as torchserve:
        torchserve.bind(proxy.variables()["PROXY_INFERENCE_SOCKET"])
        torchserve.listen()
        torchserve.settimeout(60)
        wait_for(lambda: ports.inference in ports.taken())
        with socket.create_connection(("127.0.0.1", ports.inference), timeout=60) as client:
            client.sendall(b"POST /predictions/cats HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            with torchserve.accept()[0]:
                assert not proxy.stop(0.1)
                assert client.recv(1) == b""
    assert proxy.stop(0.1), "stopping twice is no error"


PAGE = "https://app.example:8443"
# What a browser asks before it sends a photo of a page's; and requests that haproxy answers itself.
ASKED = [
    ("OPTIONS", "/predictions/cats", {"Access-Control-Request-Method": "POST"}, 204),
    ("GET", "/ping", {}, 503),
    ("GET", "/predictions/cats", {}, 405),
    ("POST", "/predictions/cats", {}, 503),
]


def test_pages_of_the_origins_that_are_named_read_every_answer_and_no_others(haproxy: Path, tmp_path: Path) -> None:
    ports = free_ports()
    front = read_front_end(CONFIG, {**_addresses(ports), "CORS_ORIGINS": f"http://127.0.0.1:3000 {PAGE}"})
    proxy = Proxy(haproxy, front, BUDGET, tmp_path)
    proxy.start()
    try:
        wait_for(lambda: ports.inference in ports.taken())
        for method, path, headers, status in ASKED:
            for origin in (PAGE, "https://app.example", "null", f"{PAGE}.evil.example"):
                url = f"http://127.0.0.1:{ports.inference}{path}"
                answer = requests.request(method, url, headers={**headers, "Origin": origin}, timeout=60)
                allowed = answer.headers.get("Access-Control-Allow-Origin")
                assert allowed == (PAGE if origin == PAGE else None)
                assert answer.status_code == status or (origin != PAGE and status == 204)
    finally:
        proxy.stop(1)


LONG = "a" * 4000
REFUSED = [
    ("POST /predictions/cats HTTP/3.7", 400, "bad_request"),
    ("OPTIONS * HTTP/1.1", 400, "bad_request"),
    ("POST /predictions/cats/1.0/../../../models HTTP/1.1", 400, "bad_request"),
    ("POST /predictions/./cats HTTP/1.1", 400, "bad_request"),
    ("GET /predictions/%2e%2E HTTP/1.1", 400, "bad_request"),
    ("DELETE /predictions/cats HTTP/1.1", 405, "method_not_allowed"),
    ("GET /predictions/cats HTTP/1.1", 405, "method_not_allowed"),
    ("FOO /ping HTTP/1.1", 405, "method_not_allowed"),
    (f"POST /predictions/cats?{LONG} HTTP/1.1", 414, "too_long"),
    (f"POST /predictions/cats HTTP/1.1\r\nX-Long: {LONG}{LONG}", 431, "too_long"),
    ("PRI * HTTP/2.0", 400, "bad_request"),
]


def test_what_http_does_not_allow_is_refused_in_json(haproxy: Path, tmp_path: Path) -> None:
    """TorchServe isn't there, so nothing of it reaches TorchServe; what passes is answered with 503."""
    ports = free_ports()
    with _running(haproxy, ports, tmp_path):
        wait_for(lambda: ports.inference in ports.taken())
        answers = {}
        for start, *_ in REFUSED:
            with socket.create_connection(("127.0.0.1", ports.inference), timeout=60) as client:
                client.sendall(f"{start}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                answer = HTTPResponse(client)
                answer.begin()
                answers[start] = (answer.status, json.loads(answer.read())["error"]["code"])
                assert (answer.status == 405) == ("Allow" in answer.headers)
        assert answers == {start: (status, code) for start, status, code in REFUSED}
        for path in ("/predictions/cats.2/1.0", "/v2/models/a..b/infer", f"/predictions/cats?{'a' * 3900}"):
            assert requests.post(f"http://127.0.0.1:{ports.inference}{path}", timeout=60).status_code == 503


def _written(text: str, parts: tuple[str, str, str]) -> str:
    for name, part in zip(("opening", "middle", "closing"), parts, strict=True):
        text = text.replace(f"%[var(txn.{name})]", part)
    return text.replace("'\"'\"'", "'")


def test_every_answer_is_json_and_says_what_the_handler_says() -> None:
    """In this project's form, and in KServe's."""
    texts = re.findall(r" (?:lf-)?string '((?:[^']|'\"'\"')*)'", HAPROXY.read_text(encoding="utf-8"))
    native, kserve = ('{"error": {"code": "', '", "message": "', '", "index": null}}'), ('{"error": "', ": ", '"}')
    for answer in (json.loads(_written(text, kserve)) for text in texts if "txn" in text):
        assert isinstance(answer["error"], str)
    answers = [json.loads(_written(text, native)) for text in texts]
    assert len(answers) == 35
    [form_encoded] = [answer for answer in answers if answer.get("error", {}).get("code") == FormEncoded.code]
    assert form_encoded == error_body(FormEncoded(), None)


def test_every_variable_is_set(tmp_path: Path) -> None:
    used = set(re.findall(r"\$\{?(\w+)", re.sub(r"(?m)^\s*#.*", "", HAPROXY.read_text(encoding="utf-8"))))
    assert used == set(Proxy(Path("haproxy"), read_front_end(CONFIG, {}), BUDGET, tmp_path).variables())


def test_few_open_files_are_fewer_connections_and_no_failed_start(
    haproxy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of an ordinary user may be 1024, or 4096."""
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 1024\nexec {haproxy} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    ports = free_ports()
    with _running(limited, ports, tmp_path) as proxy:
        assert proxy.variables()["PROXY_CONNECTIONS"] == "462"
        wait_for(lambda: ports.inference in ports.taken() or proxy.ended() is not None)
        assert requests.get(f"http://127.0.0.1:{ports.inference}/ready", timeout=60).status_code == 503


def test_no_port_speaks_http_2(haproxy: Path, tmp_path: Path) -> None:
    """Not by prior knowledge either, which needs no TLS."""
    ports = free_ports()
    with _running(haproxy, ports, tmp_path):
        wait_for(lambda: {ports.inference, ports.management, ports.metrics} <= set(ports.taken()))
        for port in (ports.inference, ports.management, ports.metrics):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))  # and SETTINGS
                answer = client.recv(100)
                # HTTP/2 would answer with a frame of its own settings, of type 4.
                assert answer[3:4] != b"\x04"
                assert answer == b"" or answer.startswith(b"HTTP/1.")


def test_the_exporter_counts_and_the_broken_files_are_those_that_were_set(haproxy: Path, tmp_path: Path) -> None:
    ports = free_ports()

    def samples(path: str) -> dict[tuple[str, str | None, str | None], float]:
        answer = requests.get(f"http://127.0.0.1:{ports.metrics}{path}", timeout=60)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4")
        families = text_string_to_metric_families(answer.text)
        return {
            (sample.name, sample.labels.get("proxy"), sample.labels.get("state")): sample.value
            for family in families
            for sample in family.samples
        }

    with _running(haproxy, ports, tmp_path) as proxy:
        wait_for(lambda: ports.metrics in ports.taken())
        assert samples("/metrics/store") == {("classifier_store_broken_files", None, None): 0}
        proxy.set_broken_files(12)
        assert samples("/metrics/store") == {("classifier_store_broken_files", None, None): 12}
        for ready in (0, 1):
            proxy.set_ready(bool(ready))
            counted = samples("/metrics/haproxy")
            assert counted["haproxy_server_status", "readiness", "UP"] == ready
        for backend in ("inference", "inference_large"):
            assert counted["haproxy_backend_current_queue", backend, None] == 0
            assert counted["haproxy_server_current_sessions", backend, None] == 0
        assert requests.get(f"http://127.0.0.1:{ports.inference}/metrics/haproxy", timeout=60).status_code == 503
