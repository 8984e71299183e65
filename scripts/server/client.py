"""The server's inference and management APIs, with the token that each wants where tokens are on."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import requests

from handler.errors import one_line

Kind = Literal["inference", "management"]
KEY_FILE = "key_file.json"  # TorchServe writes it into its working directory
TIMEOUT = 5.0  # seconds for an answer to a small question


class ApiError(Exception):
    """No answer, or another one than expected; the message says which."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status  # of the answer, if there was one


class Client:
    """Asks a server. Every method raises ApiError."""

    def __init__(self, inference: str, management: str, keys: Path | None = None) -> None:
        """keys: where TorchServe writes its tokens. No such file means that tokens are off."""
        self.urls: dict[Kind, str] = {"inference": inference, "management": management}
        self.keys = keys

    def ping(self, timeout: float = TIMEOUT) -> str:
        """TorchServe's own word: "Healthy", also while a model loads or when there is none."""
        return str(self._get("inference", "/ping", timeout)["status"])

    def models(self) -> list[str]:
        return [str(model["modelName"]) for model in self._get("management", "/models?limit=1000")["models"]]

    def describe(self, model: str, version: str | None = None) -> dict[str, Any]:
        """One version's state, the default's unless it is named. ApiError with status 404 if there is no such model."""
        described: dict[str, Any] = self._get("management", _path(model, version))[0]
        return described

    def versions(self, model: str) -> list[dict[str, Any]]:
        """The state of every version, in no order; none if there is no such model."""
        try:
            return list(self._get("management", _path(model, "all")))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return []
            raise

    def details(self, model: str, version: str, timeout: float = 30.0) -> dict[str, Any]:
        """What the handler itself says of its model. A worker must be free to answer."""
        described = self._get("management", f"{_path(model, version)}?customized=true", timeout)[0]
        details = described.get("customizedMetadata")
        if not isinstance(details, dict):
            raise ApiError(f"{model} {version}: its handler does not describe itself")
        return details

    def register(self, file: str, timeout: float) -> None:
        """Registers an archive of the model store; returns when its workers are READY, as many as it wants, or one."""
        # The url comes first: the container's doors want it there.
        query = f"url={file}&initial_workers=1&synchronous=true"
        self._ask("POST", "management", f"/models?{query}", timeout)

    def scale(self, model: str, version: str, workers: int, timeout: float) -> None:
        """Returns when there are as many workers. Those that go drop what they have in hand."""
        query = f"min_worker={workers}&max_worker={workers}&synchronous=true"
        self._ask("PUT", "management", f"{_path(model, version)}?{query}", timeout)

    def set_default(self, model: str, version: str) -> None:
        self._ask("PUT", "management", f"{_path(model, version)}/set-default")

    def unregister(self, model: str, version: str, timeout: float = 30.0) -> None:
        """Its workers drop what they have in hand."""
        self._ask("DELETE", "management", _path(model, version), timeout)

    def scores(self, model: str, version: str, image: bytes, timeout: float) -> dict[str, float]:
        """An encoded image → the score of every label."""
        headers = {"Content-Type": "application/octet-stream", "X-All-Scores": "true", "X-Top-K": "0"}
        answer = self._json(self._ask("POST", "inference", f"/predictions/{model}/{version}", timeout, image, headers))
        return dict(answer["scores"])

    def _get(self, kind: Kind, path: str, timeout: float = TIMEOUT) -> Any:
        return self._json(self._ask("GET", kind, path, timeout))

    def _json(self, response: requests.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise ApiError(f"{response.request.path_url}: the answer is not JSON") from None

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
            # A new token ends the old one, which clients may hold: so not before it has expired. Somebody else may have
            # renewed it meanwhile.
            if self._expired(kind):
                renewal = requests.Request("GET", f"{self.urls['management']}/token?type={kind}")
                self._send(renewal, self._key("API"), TIMEOUT)
            if (renewed := self._key(kind)) != key:
                response = self._send(request, renewed, timeout)
        if not response.ok:
            raise ApiError(f"{path}: status {response.status_code}{_said(response)}", response.status_code)
        return response

    def _send(self, request: requests.Request, key: str | None, timeout: float) -> requests.Response:
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key}"
        try:
            with requests.Session() as session:
                return session.send(session.prepare_request(request), timeout=timeout)
        except requests.RequestException as error:
            path = request.url.partition("://")[2].partition("/")[2]
            raise ApiError(f"/{path}: no answer ({type(error).__name__})") from None

    def _key(self, kind: str) -> str | None:
        entry = self._entry(kind)
        return None if entry is None else str(entry["key"])

    def _expired(self, kind: Kind) -> bool:
        entry = self._entry(kind)
        return entry is not None and datetime.fromisoformat(entry["expiration time"]) <= datetime.now(UTC)

    def _entry(self, kind: str) -> dict[str, str] | None:
        if self.keys is None:
            return None
        try:
            entry: dict[str, str] = json.loads(self.keys.read_text())[kind]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise ApiError(f"{self.keys}: not readable as TorchServe's keys ({type(error).__name__})") from None
        return entry


def _path(model: str, version: str | None) -> str:
    return f"/models/{model}" if version is None else f"/models/{model}/{version}"


def _said(response: requests.Response) -> str:
    """The message of an error of TorchServe's or of the handler's, on one line."""
    try:
        body = response.json()
        error = body.get("error", body)
        message = error if isinstance(error, str) else error["message"]
        return f": {one_line(message)}"
    except (ValueError, AttributeError, KeyError, TypeError):
        return ""
