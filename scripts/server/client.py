"""The server's inference and management APIs, with the token that each wants where tokens are on."""

import json
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import requests

Kind = Literal["inference", "management"]
KEY_FILE = "key_file.json"  # TorchServe writes it into its working directory
TIMEOUT = 5.0  # seconds for an answer: these are small questions


class ApiError(Exception):
    """No answer, or another one than expected; the message says which."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status  # of the answer, if there was one


class Client:
    """Reads a server's state."""

    def __init__(self, inference: str, management: str, keys: Path | None = None) -> None:
        """keys: where TorchServe writes its tokens. No such file means that tokens are off."""
        self.urls: dict[Kind, str] = {"inference": inference, "management": management}
        self.keys = keys

    def ping(self) -> str:
        """TorchServe's own word: "Healthy", also while a model loads or when there is none."""
        return str(self._get("inference", "/ping")["status"])

    def models(self) -> list[str]:
        return [str(model["modelName"]) for model in self._get("management", "/models?limit=1000")["models"]]

    def describe(self, model: str, version: str | None = None) -> dict[str, Any]:
        """One version's state, the default's unless it is named. Raises ApiError if there is no such model."""
        path = f"/models/{model}" if version is None else f"/models/{model}/{version}"
        described: dict[str, Any] = self._get("management", path)[0]
        return described

    def _get(self, kind: Kind, path: str) -> Any:
        key = self._key(kind)
        response = self._request(kind, path, key)
        if response.status_code == HTTPStatus.BAD_REQUEST and key is not None:
            # A new token ends the old one, which clients may hold: so not before it has expired. Somebody else may have
            # renewed it meanwhile.
            if self._expired(kind):
                self._request("management", f"/token?type={kind}", self._key("API"))
            if (renewed := self._key(kind)) != key:
                response = self._request(kind, path, renewed)
        if response.status_code != HTTPStatus.OK:
            raise ApiError(f"{path}: status {response.status_code}", response.status_code)
        try:
            return response.json()
        except ValueError:
            raise ApiError(f"{path}: the answer is not JSON") from None

    def _request(self, kind: Kind, path: str, key: str | None) -> requests.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            return requests.get(self.urls[kind] + path, headers=headers, timeout=TIMEOUT)
        except requests.RequestException as error:
            raise ApiError(f"{path}: no answer ({type(error).__name__})") from None

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
