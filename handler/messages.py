"""What a server's adapter hands to the service, and what it gets back. Nothing here knows which server it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.thresholds import Decision

Route = Literal["predict", "explain", "describe"]
Protocol = Literal["native", "v1", "v2"]  # what the client speaks: this project's own, or KServe's
OK = "ok"  # the code of an answer without an error


@dataclass(frozen=True)
class Request:
    """One request as a client sent it: a `body`, the `fields` of a form or of a query, or both."""

    id: str  # stands in the log, and goes to the client as x-request-id
    route: Route = "predict"
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    fields: Sequence[tuple[str, object]] = ()  # names and values of a form, in the client's order; or of a query
    body: Any = None  # bytes, or what JSON or text was parsed to; None if there is none
    protocol: Protocol = "native"  # by the route


@dataclass(frozen=True)
class Answer:
    """What the client gets, and what log and metrics tell of it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = OK  # or that of the error which decided the status
    decisions: tuple[Decision, ...] = ()  # of the images that were classified
