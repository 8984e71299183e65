"""Whether a server can answer. TorchServe's own /ping doesn't tell: it says Healthy while a model loads, when its
workers are dead, and when there is no model at all. Where haproxy stands before it, haproxy answers /ping with the
truth."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.server.client import ApiError, Client


def unreadiness(client: Client, expected: Sequence[str] = ()) -> str | None:
    """Why the server can't answer now, or None if its models can answer and /ping says Healthy."""
    if (reason := models_unreadiness(client, expected)) is not None:
        return reason
    try:
        status = client.ping()
    except ApiError as error:
        return str(error)
    return None if status == "Healthy" else f"/ping says {status}"


def models_unreadiness(client: Client, expected: Sequence[str] = ()) -> str | None:
    """Why the models can't answer, or None if they can."""
    try:
        return next(iter(unready_models(client, expected).values()), None)
    except ApiError as error:
        return str(error)


def unready_models(client: Client, expected: Sequence[str] = ()) -> dict[str, str]:
    """Why models can't answer, by their names: an expected one isn't registered, or the default version has no READY
    worker. The name is empty where there is no model at all. Raises ApiError.

    Other versions don't count: one that is being tried out must not take a serving machine out of traffic.
    """
    models = client.models()
    if not models and not expected:
        return {"": "no model is registered"}
    reasons = {}
    for model in expected or models:
        if model not in models:
            reasons[model] = f"{model}: not registered"
            continue
        described = client.describe(model)
        if ready_workers(described) == 0:
            states = ", ".join(sorted(worker["status"] for worker in described["workers"])) or "none"
            reasons[model] = f"{model} {described['modelVersion']}: no READY worker (workers: {states})"
    return reasons


def ready_workers(described: Mapping[str, Any]) -> int:
    """How many workers of a version can answer. described: what Client.describe returns."""
    return sum(worker["status"] == "READY" for worker in described["workers"])


def has_its_workers(described: Mapping[str, Any]) -> bool:
    """Whether as many workers can answer as the version should have, one at least."""
    return ready_workers(described) >= max(1, int(described["minWorkers"]))
