"""What the Open Inference Protocol and KServe v1 tell of models: TorchServe's management API says it.

https://github.com/kserve/open-inference-protocol
"""

import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from scripts.server.client import ApiError, Client
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
        self._states: dict[tuple[str, str | None], tuple[float, dict[str, Any] | None]] = {}
        self._names: tuple[float, list[str]] = (-FRESH, [])
        self._labels: dict[str, tuple[str, int]] = {}

    def models(self) -> list[str]:
        with self._lock:
            at, names = self._names
            if self._clock() - at >= FRESH:
                names = self._client.models()
                self._names = (self._clock(), names)
            return names

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
        key = (model, version)
        with self._lock:
            at, state = self._states.get(key, (-FRESH, None))
            if self._clock() - at >= FRESH:
                state = self._described(model, version)
                if len(self._states) >= MOST:
                    self._states.clear()
                self._states[key] = (self._clock(), state)
        if state is None:
            raise UnknownModelError
        return state

    def _described(self, model: str, version: str | None) -> dict[str, Any] | None:
        try:
            return self._client.describe(model, version)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

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
