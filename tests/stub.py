"""A server that answers what a test says, in TorchServe's place."""

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


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
