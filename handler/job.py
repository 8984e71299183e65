"""One request on its way from its row to its answer, with what each stage took: metrics and log are made of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from handler.classifier import Prepared
from handler.errors import ItemError
from handler.requests import Request
from handler.responses import Answer, Outcome

Result = TypeVar("Result")
Stage = Literal["decode", "preprocess", "postprocess"]
STAGES: tuple[Stage, ...] = ("decode", "preprocess", "postprocess")
# A proxy says with it when the request reached it, in milliseconds since 1970: image/haproxy.cfg does.
ARRIVAL = "x-request-start"
LONGEST_QUEUE = 3600.0  # seconds; what claims more is no arrival but another clock


@dataclass
class Job:
    id: str  # TorchServe's, which it also sends as the header x-request-id
    request: Request
    queued: float | None = None  # seconds from the proxy to the handler, where there is a proxy
    seconds: dict[Stage, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    images: list[Prepared | ItemError] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answer: Answer | None = None

    def timed(self, stage: Stage, function: Callable[..., Result]) -> Callable[..., Result]:
        """The function, with each call's time added to the stage's, also when it raises."""

        def call(*arguments: Any) -> Result:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[stage].append(time.perf_counter() - started)

        return call

    def log_fields(self, batch: int, inference: float) -> dict[str, Any]:
        """What the log says of it: nothing that the client wrote. `batch`: requests that shared `inference` seconds."""
        assert self.answer is not None
        seconds = {stage: sum(taken) for stage, taken in self.seconds.items()} | {"inference": inference}
        if self.queued is not None:
            seconds["queue"] = self.queued
        return {
            "request_id": self.id,
            "status": self.answer.status,
            "code": self.answer.code,
            "protocol": self.request.protocol,
            "images": len(self.request.payloads),
            "bytes": sum(len(payload) for payload in self.request.payloads if isinstance(payload, bytes)),
            "batch": batch,
            "seconds": {name: round(value, 6) for name, value in seconds.items()},
        }


def queued_seconds(headers: Mapping[str, object], now: float) -> float | None:
    """Seconds since the arrival that a header claims, or None if it claims none that can be. `now` is time.time()."""
    for name, value in headers.items():
        if name.lower() == ARRIVAL and isinstance(value, str) and value.isascii() and value.isdecimal():
            seconds = now - int(value[:20]) / 1000
            # The header has whole milliseconds, so a request may seem to come from the future, but not by much.
            return max(seconds, 0.0) if -0.01 < seconds < LONGEST_QUEUE else None
    return None
