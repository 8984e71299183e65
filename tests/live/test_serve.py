"""scripts/serve.py from start to Ctrl-C."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import requests
from samples import CHELSEA, PATIENCE, free_ports, wait_for

from scripts.paths import ROOT
from scripts.server.ports import Ports
from scripts.server.torchserve import TorchServe


def _serve(archive: Path, ports: Ports, logs: Path) -> "subprocess.Popen[str]":
    options = {
        "--archive": archive,
        "--port": ports.inference,
        "--management-port": ports.management,
        "--metrics-port": ports.metrics,
        "--grpc-port": ports.grpc_inference,
        "--logs": logs,
        "--timeout": PATIENCE,
    }
    arguments = [str(part) for pair in options.items() for part in pair]
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _end(process: "subprocess.Popen[str]") -> None:
    """Also after a failed test: asked to stop, it stops Java and the workers, which a kill would leave behind."""
    process.terminate()
    process.communicate(timeout=PATIENCE)


def _is_over(family: list[psutil.Process], ports: Ports) -> None:
    """None of the family is left, and nobody listens. A worker that was killed may take a moment to end."""
    wait_for(lambda: not psutil.wait_procs(family, timeout=0)[1])
    assert ports.taken() == []


def test_it_prints_a_command_that_works_and_stops_all_it_started(tiny_mar: Path, tmp_path: Path) -> None:
    ports = free_ports()
    process = _serve(tiny_mar, ports, tmp_path / "logs")
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        [url] = re.findall(r"curl -T \S+ (\S+)", "".join(lines))
        assert requests.post(url, data=CHELSEA, timeout=PATIENCE).status_code == 200
        family = psutil.Process(process.pid).children(recursive=True)
        assert {"java"} <= {each.name() for each in family}
        assert len(family) >= 2  # Java and a worker
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        _is_over(family, ports)
    finally:
        _end(process)


def test_it_stops_all_it_started_while_a_worker_loads(tiny_mar: Path, tmp_path: Path) -> None:
    ports = free_ports()
    process = _serve(tiny_mar, ports, tmp_path / "logs")
    try:
        wait_for(lambda: bool(_servers(process)) and bool(_servers(process)[0].children()))
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        _is_over(family, ports)
    finally:
        _end(process)


def test_without_an_archive(tmp_path: Path) -> None:
    process = _serve(tmp_path / "gone.mar", free_ports(), tmp_path / "logs")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "gone.mar: missing, expected a .mar" in output


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
    process = _serve(tiny_mar, free_ports(), tmp_path / "logs")
    try:
        wait_for(lambda: bool(_servers(process)))
        _servers(process)[0].kill()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "error: TorchServe ended" in output
    finally:
        _end(process)


def test_only_loopback_is_listened_on(server: TorchServe) -> None:
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    addresses = {each.laddr[0] for each in listening if each.laddr and each.laddr[1] in vars(server.ports).values()}
    assert addresses
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
