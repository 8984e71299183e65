"""What the Open Inference Protocol and KServe v1 tell of models: TorchServe's management API says it.

https://github.com/kserve/open-inference-protocol
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from scripts.server.client import Client
from scripts.server.readiness import ready_workers

Value = TypeVar("Value")

FRESH = 1.0  # seconds that an answer is kept
MOST = 1000  # answers that are kept
DETAILS_TIMEOUT = 10.0  # seconds; a worker answers after the batches that wait
INPUT = "images"


class UnknownModelError(Exception):
    """There is no such model or version."""


class Catalog:
    """Its methods raise UnknownModelError, or ApiError where TorchServe gives no answer. They may run in threads."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        # TorchServe is asked one question at a time, and a worker likewise: readiness must not wait for a busy worker.
        self._lock, self._worker_lock = threading.Lock(), threading.Lock()
        self._answers: dict[tuple[str, str | None] | None, tuple[float, Any]] = {}
        self._labels: dict[str, tuple[str, int]] = {}

    def models(self) -> list[str]:
        return self._kept(None, self._client.models)

    def ready(self, model: str, version: str | None = None) -> bool:
        """Whether a worker of that version can answer, by default of the default version."""
        return ready_workers(self._state(model, version)) > 0

    def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """The model's tensors, by default those of the default version."""
        state = self._state(model, version)
        labels = self._number_of_labels(model, state)
        return {
            "name": model,
            "versions": self._versions(model),
            "platform": "pytorch_torchserve",
            "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [-1, labels]},
                {"name": "fired", "datatype": "BOOL", "shape": [-1, labels]},
                {"name": "fallback", "datatype": "BOOL", "shape": [-1]},
                {"name": "labels", "datatype": "BYTES", "shape": [labels]},
            ],
        }

    def _state(self, model: str, version: str | None) -> dict[str, Any]:
        state = self._kept((model, version), lambda: self._client.state(model, version))
        if state is None:
            raise UnknownModelError
        return state

    def _kept(self, question: tuple[str, str | None] | None, ask: Callable[[], Value]) -> Value:
        """What TorchServe answers, or has answered just now. question: model and version, or None for all models."""
        with self._lock:
            at, answer = self._answers.get(question, (-FRESH, None))
            if self._clock() - at < FRESH:
                return cast(Value, answer)
            answer = ask()
            if len(self._answers) >= MOST:
                self._answers.clear()
            self._answers[question] = (self._clock(), answer)
            return answer

    def _versions(self, model: str) -> list[str]:
        with self._lock:
            return sorted(str(state["modelVersion"]) for state in self._client.versions(model))

    def _number_of_labels(self, model: str, state: Mapping[str, Any]) -> int:
        """Of a version as it was registered: its handler says it, for which a worker must be free."""
        version = str(state["modelVersion"])
        registered = str(state.get("modelUrl")), [worker.get("startTime") for worker in state["workers"]]
        key, mark = f"{model}/{version}", str(registered)
        with self._worker_lock:
            known, number = self._labels.get(key, ("", 0))
            if known != mark:
                number = len(self._client.details(model, version, DETAILS_TIMEOUT)["labels"])
                self._labels[key] = mark, number
            return number
