"""Compares the scores that a version gives its golden inputs over HTTP with those that they had at build."""

import time
from collections.abc import Sequence

import numpy as np

from handler.golden import Golden
from scripts.server.client import ApiError, Client


def golden_difference(
    client: Client,
    model: str,
    version: str,
    labels: Sequence[str],
    golden: Sequence[Golden],
    tolerance: float,
    timeout: float,
) -> str | None:
    """Says which golden input failed first: its scores differ by more than the tolerance, or it got no answer within
    `timeout` seconds for all of them. None if all are answered as expected."""
    deadline = time.monotonic() + timeout
    for example in golden:
        left = deadline - time.monotonic()
        if left <= 0:
            return f"{example.name}: no answer within {timeout:g} s"
        try:
            scores = client.scores(model, version, example.image, left)
        except ApiError as error:
            return f"{example.name}: {error}"
        if set(scores) != set(labels):
            return f"{example.name}: the server's labels differ from the archive's"
        difference = example.difference(np.array([scores[label] for label in labels]), labels, tolerance)
        if difference is not None:
            return f"{example.name}: {difference}"
    return None
