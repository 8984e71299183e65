"""Servers in TorchServe's place: one answers what a test says, one keeps models and versions."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from samples import free_ports

from scripts.archive.outline import CheckedArchive
from scripts.server.worker_log import DIED, LOG


class TorchServeStub(BaseHTTPRequestHandler):
    """Answers what the test says, and wants the token that the test says."""

    url = ""
    answers: dict[str, Any] = {}
    keys: Path | None = None
    renewed: list[str] = []
    another_renews = False  # when it refuses a token

    def do_GET(self) -> None:
        status, answer = 200, self.answers.get(self.path)
        if self.keys is not None:
            held = json.loads(self.keys.read_text())
            if self.path.startswith("/token"):
                kind = self.path.partition("=")[2]
                self._renew(kind)
                self.renewed.append(kind)
                answer = ""
            else:
                key = held["inference" if self.path == "/ping" else "management"]["key"]
                status = 200 if self.headers["Authorization"] == f"Bearer {key}" and key.startswith("new") else 400
                if status == 400 and self.another_renews:
                    self._renew("inference", "management")
        if answer is None:
            status = 404
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.do_GET()

    def _renew(self, *kinds: str) -> None:
        assert self.keys is not None
        fresh = {kind: {"key": f"new {kind}", "expiration time": time_from_now(60)} for kind in kinds}
        self.keys.write_text(json.dumps({**json.loads(self.keys.read_text()), **fresh}))

    def log_message(self, *_: object) -> None:
        pass


def time_from_now(seconds: int) -> str:
    """As Java writes it, with nanoseconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")


def register(stub: Any, model: str, *states: str) -> None:
    models = stub.answers.setdefault("/models?limit=1000", {"models": []})["models"]
    models.append({"modelName": model, "modelUrl": f"{model}.mar"})
    described = {"modelVersion": "1.0", "workers": [{"status": state} for state in states]}
    stub.answers[f"/models/{model}"] = [described]


@dataclass
class Held:
    """A file of the stub's model store."""

    checked: CheckedArchive
    fails: bool = False  # its worker dies as it loads
    off: float = 0.0  # what its first label scores over HTTP beyond what its golden inputs say


@dataclass
class Served:
    """A registered version."""

    held: Held
    workers: int = 1
    ready: bool = True


class ManagedStub(BaseHTTPRequestHandler):
    """TorchServe's management API as far as scripts/manage_models.py asks it, with workers that load at once.
    tests/live/test_manage_models_served.py asks TorchServe 0.12 the same."""

    url = ""
    logs = Path()
    store: dict[str, Held] = {}
    versions: dict[str, dict[str, Served]] = {}
    default: dict[str, str] = {}
    calls: list[str] = []  # that changed something, or tried to

    def do_GET(self) -> None:
        match self._parts():
            case ["models"]:
                self._answer(200, {"models": [{"modelName": name} for name in self.versions]})
            case ["models", name, "all"] if name in self.versions:
                self._answer(200, [self._described(name, version) for version in self.versions[name]])
            case ["models", name, *given] if self._served(name, *given):
                self._answer(200, [self._described(name, *given)])
            case _:
                self._answer(404, {"code": 404, "message": "Model not found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self._parts():
            case ["models"]:
                self._register(parse_qs(urlsplit(self.path).query)["url"][0])
            case ["predictions", name, version] if (served := self._served(name, version)) is not None:
                [golden] = [each for each in served.held.checked.golden if each.image == body]
                scores = dict(zip(served.held.checked.labels, golden.scores.tolist(), strict=True))
                scores[served.held.checked.labels[0]] += served.held.off
                self._answer(200, {"scores": scores})
            case _:
                self._answer(404, {"code": 404, "message": "Model not found"})

    def _register(self, file: str) -> None:
        self.calls.append(f"register {file}")
        if file not in self.store:
            self._answer(404, {"code": 404, "message": f"Model not found in model store: {file}"})
            return
        held = self.store[file]
        name, version = held.checked.archive.name, held.checked.archive.version
        if self._served(name, version) is not None:
            self._answer(409, {"code": 409, "message": f"Model version {version} is already registered"})
            return
        if held.fails:
            lines = (DIED, "Traceback (most recent call last):", f"handler.errors.LoadError: {file}: as the test says")
            with (self.logs / LOG).open("a") as log:
                for line in lines:
                    log.write(json.dumps({"thread": f"W-9000-{name}_{version}-stdout", "message": line}) + "\n")
        self.versions.setdefault(name, {})[version] = Served(held, ready=not held.fails)
        self.default.setdefault(name, version)
        self._answer(202, {"status": "Processing worker updates..."})

    def do_PUT(self) -> None:
        match self._parts():
            case ["models", name, version, "set-default"]:
                self.calls.append(f"set-default {name} {version}")
                self.default[name] = version
            case ["models", name, version]:
                workers = int(parse_qs(urlsplit(self.path).query)["min_worker"][0])
                self.calls.append(f"scale {name} {version} {workers}")
                self.versions[name][version].workers = workers
        self._answer(200, {"status": "done"})

    def do_DELETE(self) -> None:
        _, name, version = self._parts()
        self.calls.append(f"unregister {name} {version}")
        del self.versions[name][version]
        if not self.versions[name]:
            del self.versions[name], self.default[name]
        self._answer(200, {"status": "unregistered"})

    def _parts(self) -> list[str]:
        return urlsplit(self.path).path.strip("/").split("/")

    def _served(self, name: str, version: str | None = None) -> Served | None:
        return self.versions.get(name, {}).get(version or self.default.get(name, ""))

    def _described(self, name: str, version: str | None = None) -> dict[str, Any]:
        served = self._served(name, version)
        assert served is not None
        return {
            "modelName": name,
            "modelVersion": served.held.checked.archive.version,
            "modelUrl": served.held.checked.archive.path.name,
            "minWorkers": served.workers,
            "maxWorkers": served.workers,
            "batchSize": served.held.checked.server.batchSize,
            "workers": [
                {"id": str(9000 + index), "status": "READY" if served.ready else "UNLOADING"}
                for index in range(served.workers)
            ],
            "jobQueueStatus": {"remainingCapacity": 100, "pendingRequests": 0},
            "customizedMetadata": {"contents_sha256": served.held.checked.contents_sha256},
        }

    def _answer(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its URL, while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", free_ports().inference), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
