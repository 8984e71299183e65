"""Metrics as lines that TorchServe's front end reads from a worker's output and shows at /metrics.

A line is lost there without a word if frontend/metrics.yaml lacks its metric or has its dimensions in another order.
"""

import re
import socket
import time
from collections.abc import Mapping
from functools import cache

from handler.metrics import METRICS, Sample

HOST = socket.gethostname()
SEPARATORS = re.compile(r"[,:|#\x00-\x1f\x7f]+")  # they part the line; a name of a model or a label can hold them


def metric_line(sample: Sample, dimensions: Mapping[str, str]) -> str:
    """dimensions: those that every metric has, in their order."""
    kind, unit, own = METRICS[sample.name]
    number = f"{sample.number:.0f}" if kind == "COUNTER" else f"{sample.number:.6f}"
    pairs = [*dimensions.items(), *((name, sample.value) for name in own)]
    shown = ",".join(f"{name}:{_safe(value)}" for name, value in pairs)
    return f"[METRICS]{sample.name}.{unit}:{number}|#{shown}|#type:{kind}|#hostname:{HOST},{int(time.time())}\n"


@cache
def _safe(value: str) -> str:
    return SEPARATORS.sub("_", value) or "_"
