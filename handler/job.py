"""One request between its arrival and its answer, with what each stage took: log and metrics are made of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from handler.errors import ItemError
from handler.item import Outcome
from handler.messages import Answer, Request
from handler.meter import Allowance
from handler.parser import Task

Result = TypeVar("Result")
Stage = Literal["decode", "preprocess", "postprocess"]
STAGES: tuple[Stage, ...] = ("decode", "preprocess", "postprocess")
# A proxy's header with the time at which the request reached it, in milliseconds since 1970 (image/haproxy.cfg).
ARRIVAL = "x-request-start"
LONGEST_QUEUE = 3600.0  # seconds; a longer time comes from a wrong clock


@dataclass
class Job:
    request: Request
    task: Task
    queued: float | None = None  # seconds from the proxy to the handler, where there is a proxy
    allowance: Allowance | None = None  # what its images may take of a processor together
    seconds: dict[Stage, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    outcomes: Sequence[Outcome | ItemError] = ()  # one an image
    answer: Answer | None = None  # set when the batch is reported

    def timed(self, stage: Stage, function: Callable[..., Result]) -> Callable[..., Result]:
        """The function, with each call's time added to the stage's, also when it raises."""

        def call(*arguments: Any) -> Result:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[stage].append(time.perf_counter() - started)

        return call


@dataclass(frozen=True)
class Batch:
    """What was answered together: the event of which an adapter makes log lines and metrics."""

    jobs: Sequence[Job]
    inference: float  # seconds of the forward passes

    def log_fields(self, job: Job) -> dict[str, Any]:
        """What the log says of a job: nothing that the client wrote."""
        assert job.answer is not None
        seconds = {stage: sum(taken) for stage, taken in job.seconds.items()} | {"inference": self.inference}
        if job.queued is not None:
            seconds["queue"] = job.queued
        return {
            "request_id": job.request.id,
            "status": job.answer.status,
            "code": job.answer.code,
            "protocol": job.task.protocol,
            "images": len(job.task.payloads),
            "bytes": sum(len(payload) for payload in job.task.payloads if isinstance(payload, bytes)),
            "batch": len(self.jobs),
            "seconds": {name: round(value, 6) for name, value in seconds.items()},
        }


def queued_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds since the arrival that the header names; None without a plausible one. `now` is time.time()."""
    arrival = headers.get(ARRIVAL, "")
    if not (arrival.isascii() and arrival.isdecimal()):
        return None
    seconds = now - int(arrival[:20]) / 1000
    # The header has whole milliseconds, so a request may seem to come from the future, but not by much.
    return max(seconds, 0.0) if -0.01 < seconds < LONGEST_QUEUE else None
