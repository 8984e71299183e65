"""What the worker counts and measures, written as the lines that TorchServe's front end reads from its output and shows
at /metrics.

A line whose metric frontend/metrics.yaml doesn't know, or whose dimensions stand in another order, is lost there
without a word. Every value of a dimension comes from the archive or from `errors`, none from a client, so that no
client can make the series grow.
"""

import re
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from handler.errors import ItemError
from handler.job import STAGES, Job
from handler.responses import OK

Kind = Literal["COUNTER", "HISTOGRAM"]

# By name: the kind, TorchServe's unit, and what it has beside the model's name and version.
METRICS: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    "classifier_requests_total": ("COUNTER", "Count", ("code",)),
    "classifier_images_total": ("COUNTER", "Count", ("code",)),
    "classifier_labels_total": ("COUNTER", "Count", ("label",)),
    "classifier_fallbacks_total": ("COUNTER", "Count", ()),
    "classifier_queue_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_decode_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_preprocess_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_inference_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_postprocess_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_batch_images": ("HISTOGRAM", "Count", ()),
    "classifier_top_score": ("HISTOGRAM", "Score", ()),
}
MODEL = ("model_name", "model_version")
# They part TorchServe's line; a name can hold them.
SEPARATORS = re.compile(r"[,:|#\x00-\x1f\x7f]+")


class Metrics:
    """Of one model version."""

    def __init__(self, model: str, version: str, labels: Sequence[str]) -> None:
        self._model = f"model_name:{_safe(model)},model_version:{_safe(version)}"
        self._labels = [_safe(label) for label in labels]
        self._host = socket.gethostname()

    def first_lines(self) -> list[str]:
        """The counters at 0, so that a first event is an increase and not a new series."""
        known = [("classifier_requests_total", OK), ("classifier_images_total", OK), ("classifier_fallbacks_total", "")]
        known += [("classifier_labels_total", label) for label in self._labels]
        return [self._line(name, "0", value) for name, value in known]

    def lines(self, batch: Sequence[Job], inference: float) -> list[str]:
        """The lines of one batch, whose forward passes took `inference` seconds."""
        counts: Counter[tuple[str, str]] = Counter()
        observed: list[tuple[str, float]] = []
        images = 0
        for job in batch:
            assert job.answer is not None
            counts["classifier_requests_total", job.answer.code] += 1
            for stage in STAGES:
                observed += [(f"classifier_{stage}_seconds", seconds) for seconds in job.seconds[stage]]
            if job.queued is not None:
                observed.append(("classifier_queue_seconds", job.queued))
            for outcome in job.outcomes:
                code = outcome.code if isinstance(outcome, ItemError) else OK
                counts["classifier_images_total", code] += 1
                if not isinstance(outcome, ItemError):
                    observed.append(("classifier_top_score", float(outcome.max())))
                    images += 1
            for decision in job.answer.decisions:
                counts["classifier_fallbacks_total", ""] += decision.fallback
                counts.update(("classifier_labels_total", self._labels[index]) for index in decision.labels)
        if images:
            observed += [("classifier_inference_seconds", inference), ("classifier_batch_images", images)]
        lines = [self._line(name, f"{value:.6f}") for name, value in observed]
        return lines + [self._line(name, str(count), value) for (name, value), count in counts.items()]

    def _line(self, name: str, number: str, value: str = "") -> str:
        """`value` is that of the metric's own dimension, if it has one."""
        kind, unit, own = METRICS[name]
        dimensions = ",".join([self._model, *(f"{key}:{value}" for key in own)])
        return f"[METRICS]{name}.{unit}:{number}|#{dimensions}|#type:{kind}|#hostname:{self._host},{int(time.time())}"


def _safe(text: str) -> str:
    return SEPARATORS.sub("_", text) or "_"
