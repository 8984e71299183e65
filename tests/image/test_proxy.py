"""image/haproxy.cfg, read by haproxy where it is installed."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests
from samples import free_ports, wait_for

from handler.errors import FormEncoded, error_body
from handler.log import log_as_json
from scripts.paths import CONFIG, ROOT
from scripts.server.budget import MIB, Budget, plan
from scripts.server.frontend import read_front_end
from scripts.server.ports import Ports
from scripts.server.proxy import Proxy

HAPROXY = ROOT / "image" / "haproxy.cfg"
BUDGET = plan(2048 * MIB, [], 16 * MIB)


HAS_HAPROXY = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def _proxy(ports: Ports, home: Path, budget: Budget = BUDGET) -> Proxy:
    addresses = {
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{ports.inference}",
        "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{ports.management}",
    }
    return Proxy(HAPROXY, read_front_end(CONFIG, addresses), budget, home)


@HAS_HAPROXY
def test_haproxy_accepts_its_configuration_without_a_warning(tmp_path: Path) -> None:
    """A warning would be printed to the container's console, whose lines are JSON."""
    variables = Proxy(HAPROXY, read_front_end(CONFIG, {}), BUDGET, tmp_path).variables()
    Path(variables["PROXY_UNREADY"]).touch()
    command = ["haproxy", "-c", "-f", str(HAPROXY)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr


@HAS_HAPROXY
def test_ready_is_answered_as_it_was_set_and_all_that_is_printed_is_json(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ports = free_ports()
    log_as_json("haproxy")
    proxy = _proxy(ports, tmp_path)
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


@HAS_HAPROXY
def test_a_request_that_is_not_answered_in_time_is_cut_off(tmp_path: Path) -> None:
    ports = free_ports()
    proxy = _proxy(ports, tmp_path)
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


@HAS_HAPROXY
def test_what_http_does_not_allow_is_refused_in_json(tmp_path: Path) -> None:
    """TorchServe isn't there, so nothing of it reaches TorchServe; what passes is answered with 503."""
    ports = free_ports()
    proxy = _proxy(ports, tmp_path)
    proxy.start()
    try:
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
    finally:
        proxy.stop(30)


def test_every_answer_is_json_and_says_what_the_handler_says() -> None:
    texts = re.findall(r" string '((?:[^']|'\"'\"')*)'", HAPROXY.read_text(encoding="utf-8"))
    answers = [json.loads(text.replace("'\"'\"'", "'")) for text in texts]
    assert len(answers) == 26
    [form_encoded] = [answer for answer in answers if answer.get("error", {}).get("code") == FormEncoded.code]
    assert form_encoded == error_body(FormEncoded(), None)


def test_every_variable_is_set(tmp_path: Path) -> None:
    used = set(re.findall(r"\$\{?(\w+)", re.sub(r"(?m)^\s*#.*", "", HAPROXY.read_text(encoding="utf-8"))))
    assert used == set(Proxy(HAPROXY, read_front_end(CONFIG, {}), BUDGET, tmp_path).variables())
