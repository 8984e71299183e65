"""A client of TorchServe's inference and management APIs. Where tokens are on, it sends the one that the API wants."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeVar

import requests

from handler.errors import one_line
from scripts.server.session import direct_session

T = TypeVar("T")
Kind = Literal["inference", "management"]
KEY_FILE = "key_file.json"  # TorchServe writes it into its working directory
TIMEOUT = 5.0  # seconds for an answer that needs no worker


class ApiError(Exception):
    """The server gave no answer or an unexpected one; the message says which."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status  # the HTTP status, None if there was no answer


class Client:
    """Every method raises ApiError."""

    def __init__(self, inference: str, management: str, keys: Path | None = None) -> None:
        """keys: the file into which TorchServe writes its tokens. If there is no such file, tokens are off."""
        self.urls: dict[Kind, str] = {"inference": inference, "management": management}
        self.keys = keys

    def ping(self, timeout: float = TIMEOUT) -> str:
        """TorchServe's own status, where nothing stands before it: "Healthy" even while a model loads, and without any
        model."""
        return self._get("inference", "/ping", lambda answer: str(answer["status"]), timeout)

    def models(self, timeout: float = TIMEOUT) -> list[str]:
        """The names of the registered models."""
        return self._get(
            "management",
            "/models?limit=1000",
            lambda answer: [str(model["modelName"]) for model in answer["models"]],
            timeout,
        )

    def describe(self, model: str, version: str | None = None) -> dict[str, Any]:
        """The state of one version, by default of the default version. ApiError with status 404 if it isn't there."""
        return self._get("management", _path(model, version), lambda answer: _check_state(answer[0]))

    def state(self, model: str, version: str | None = None) -> dict[str, Any] | None:
        """The same; None if it is not registered."""
        try:
            return self.describe(model, version)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def versions(self, model: str) -> list[dict[str, Any]]:
        """The state of every version, in no order; empty if there is no such model."""
        try:
            return self._get(
                "management", _path(model, "all"), lambda answer: [_check_state(state) for state in answer]
            )
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return []
            raise

    def details(self, model: str, version: str, timeout: float = 30.0) -> dict[str, Any]:
        """What the version's handler says of its model. A worker must be free to answer."""
        path = f"{_path(model, version)}?customized=true"
        details = self._get("management", path, lambda answer: answer[0].get("customizedMetadata"), timeout)
        if not isinstance(details, dict):
            raise ApiError(f"{model} {version}: its handler does not describe itself")
        return details

    # TorchServe would answer `synchronous=true` when the workers are READY, and block a thread of its event loop until
    # then: whoever's connection lives on that thread gets no answer. So ask without, and look at the state.
    def register(self, file: str, timeout: float) -> None:
        """Registers an archive of the model store. Returns when TorchServe has unpacked it; its workers, minWorkers and
        at least one, then load."""
        # haproxy.cfg accepts the url only as the first parameter.
        self._ask("POST", "management", f"/models?url={file}&initial_workers=1&synchronous=false", timeout)

    def scale(self, model: str, version: str, workers: int, timeout: float, most: int | None = None) -> None:
        """Sets minWorkers, and maxWorkers to `most` or to the same. Returns before new ones are READY. A worker that is
        stopped drops its current batch."""
        query = f"min_worker={workers}&max_worker={workers if most is None else most}&synchronous=false"
        self._ask("PUT", "management", f"{_path(model, version)}?{query}", timeout)

    def set_default(self, model: str, version: str) -> None:
        self._ask("PUT", "management", f"{_path(model, version)}/set-default")

    def unregister(self, model: str, version: str, timeout: float = 30.0) -> None:
        """Stops the version's workers, which drop their current batches."""
        self._ask("DELETE", "management", _path(model, version), timeout)

    def scores(self, model: str, version: str, image: bytes, timeout: float) -> dict[str, float]:
        """Classifies an encoded image. Returns the score of every label by its name."""
        path = f"/predictions/{model}/{version}"
        headers = {"Content-Type": "application/octet-stream", "X-All-Scores": "true", "X-Top-K": "0"}
        response = self._ask("POST", "inference", path, timeout, image, headers)
        return _read(response, lambda answer: {name: float(score) for name, score in answer["scores"].items()})

    def _get(self, kind: Kind, path: str, read: Callable[[Any], T], timeout: float = TIMEOUT) -> T:
        return _read(self._ask("GET", kind, path, timeout), read)

    def _ask(
        self,
        method: str,
        kind: Kind,
        path: str,
        timeout: float = TIMEOUT,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        request = requests.Request(method, self.urls[kind] + path, dict(headers or {}), data=body)
        key = self._key(kind)
        response = self._send(request, key, timeout)
        if response.status_code == HTTPStatus.BAD_REQUEST and key is not None:
            # A new token invalidates the old one, which other clients may hold: so renew only an expired one. Another
            # process may have renewed it already.
            if self._expired(kind):
                renewal = requests.Request("GET", f"{self.urls['management']}/token?type={kind}")
                self._send(renewal, self._key("API"), TIMEOUT)
            if (renewed := self._key(kind)) != key:
                response = self._send(request, renewed, timeout)
        if not response.ok:
            raise ApiError(f"{path}: status {response.status_code}{_error_text(response)}", response.status_code)
        return response

    def _send(self, request: requests.Request, key: str | None, timeout: float) -> requests.Response:
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key}"
        try:
            with direct_session() as session:
                return session.send(session.prepare_request(request), timeout=timeout)
        except requests.RequestException as error:
            path = request.url.partition("://")[2].partition("/")[2]
            raise ApiError(f"/{path}: no answer ({type(error).__name__})") from None

    def _key(self, kind: str) -> str | None:
        return self._read_keys(lambda keys: str(keys[kind]["key"]))

    def _expired(self, kind: Kind) -> bool | None:
        now = datetime.now(UTC)
        return self._read_keys(lambda keys: datetime.fromisoformat(keys[kind]["expiration time"]) <= now)

    def _read_keys(self, read: Callable[[Any], T]) -> T | None:
        """None where tokens are off."""
        if self.keys is None:
            return None
        try:
            return read(json.loads(self.keys.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ApiError(f"{self.keys}: not readable as TorchServe's keys ({type(error).__name__})") from None


def _path(model: str, version: str | None) -> str:
    return f"/models/{model}" if version is None else f"/models/{model}/{version}"


def _read(response: requests.Response, read: Callable[[Any], T]) -> T:
    """What `read` takes from the JSON of an answer. Any server may have answered 200."""
    try:
        return read(response.json())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ApiError(
            f"{response.request.path_url}: not an answer of TorchServe with this project's handler"
        ) from None


def _check_state(state: Any) -> dict[str, Any]:
    """The state of a version, which holds at least its version and the status of each of its workers."""
    if "modelVersion" not in state or not all("status" in worker for worker in state["workers"]):
        raise ValueError("not the state of a version")
    return dict(state)


def _error_text(response: requests.Response) -> str:
    """The message of an error that TorchServe or the handler sent, on one line."""
    try:
        body = response.json()
        error = body.get("error", body)
        message = error if isinstance(error, str) else error["message"]
        return f": {one_line(message)}" if isinstance(message, str) else ""
    except (ValueError, AttributeError, KeyError, TypeError):
        return ""
