"""Whether a version answers its archive's golden inputs as it did when it was built: over HTTP, the whole way."""

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
    """The first answer that is off by more than the tolerance, failed, or came after `timeout` seconds for all of
    them; None if there is none."""
    deadline = time.monotonic() + timeout
    for each in golden:
        left = deadline - time.monotonic()
        try:
            scores = client.scores(model, version, each.image, max(left, 0.001))
        except ApiError as error:
            return f"{each.name}: {error}" if left > 0 else f"{each.name}: no answer within {timeout:g} s"
        if set(scores) != set(labels):
            return f"{each.name}: scores of other labels than the archive has"
        difference = each.difference(np.array([scores[label] for label in labels]), labels, tolerance)
        if difference is not None:
            return f"{each.name}: {difference}"
    return None
