"""Whether a server can answer. TorchServe's /ping doesn't tell: it says Healthy while a model loads, when its workers
are dead, and when there is no model at all."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.server.client import ApiError, Client


def unreadiness(client: Client, expected: Sequence[str] = ()) -> str | None:
    """Why the server can't answer now, or None if /ping says Healthy and its models can answer."""
    try:
        if (status := client.ping()) != "Healthy":
            return f"/ping says {status}"
    except ApiError as error:
        return str(error)
    return models_unreadiness(client, expected)


def models_unreadiness(client: Client, expected: Sequence[str] = ()) -> str | None:
    """Why the models can't answer, or None if at least one is registered, all expected ones are, and the default
    version of each has a READY worker.

    Other versions don't count: one that is being tried out must not take a serving machine out of traffic.
    """
    try:
        models = client.models()
        if missing := [model for model in expected if model not in models]:
            return f"{', '.join(missing)}: not registered"
        if not models:
            return "no model is registered"
        for model in expected or models:
            described = client.describe(model)
            if ready_workers(described) == 0:
                states = ", ".join(sorted(worker["status"] for worker in described["workers"])) or "none"
                return f"{model} {described['modelVersion']}: no READY worker (workers: {states})"
    except ApiError as error:
        return str(error)
    return None


def ready_workers(described: Mapping[str, Any]) -> int:
    """How many workers of a version can answer. described: what Client.describe returns."""
    return sum(worker["status"] == "READY" for worker in described["workers"])


def has_its_workers(described: Mapping[str, Any]) -> bool:
    """Whether as many workers can answer as the version should have, one at least."""
    return ready_workers(described) >= max(1, int(described["minWorkers"]))
