"""Encoded images → scores, by an archive or a checkpoint in this process, or by a running server."""

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, Self

import requests
import torch
from PIL import Image

from handler.classifier import Classifier
from handler.cores import use_threads
from handler.errors import ItemError, one_line
from handler.responses import speed
from scripts.archive.labels import parse_labels
from scripts.archive.manifest import read_archive
from scripts.archive.recipe import Recipe
from scripts.archive.stage import write_stage
from scripts.archive.unpacking import unpacked
from scripts.quality.dataset import data_digest, root
from scripts.quality.fitted import fit_settings
from scripts.quality.scores import Origin
from scripts.server.client import Client
from scripts.server.session import direct_session
from scripts.server.torchserve import ServerError

ATTEMPTS = 10  # before a 503 counts as the answer
PAUSE = 5.0  # seconds between two attempts, unless the server sends Retry-After
TIMEOUT = 120.0  # seconds for an answer

Outcome = list[float] | str  # scores [C], or the code of the error
MODEL_KEYS = ("name", "version", "sha256")
UNEXPECTED = (ValueError, KeyError, TypeError, AttributeError)  # from taking an answer of another service apart


class Scorer(Protocol):
    labels: tuple[str, ...]
    at_once: int  # images that are held in memory together

    def origin(self, data: Path) -> Origin:
        """What the scores of this data will have been made by. Its `images` are not counted yet."""

    def score(self, images: Sequence[bytes]) -> list[Outcome]:
        """One outcome for each encoded image, in their order."""


class InProcess:
    """The classifier in this process, by the same code as on a server."""

    def __init__(self, classifier: Classifier, name: str, version: str) -> None:
        use_threads(classifier.torch_threads)
        self.classifier = classifier
        self.labels = classifier.labels
        self.at_once = max(32, classifier.batch_size)
        self._model = {"name": name, "version": version, "sha256": classifier.weights_sha256}

    @classmethod
    def load(cls, source: Path, device: str, recipe: dict[str, Any]) -> Self:
        """source: an archive, or a checkpoint, whose missing facts `recipe` holds. Raises LoadError."""
        if source.suffix == ".mar":
            archive = read_archive(source)
            with unpacked(source) as directory:
                return cls(Classifier.load(directory, torch.device(device)), archive.name, archive.version)
        with tempfile.TemporaryDirectory(prefix="score-") as stage:
            classifier = write_stage(Recipe(source, source.stem, **recipe), Path(stage)).classifier
            if device != "cpu":  # the stage has been loaded on the CPU
                classifier = Classifier.load(Path(stage), torch.device(device))
            return cls(classifier, source.stem, "checkpoint")

    def origin(self, data: Path) -> Origin:
        thresholds = dict(zip(self.labels, self.classifier.thresholds.tolist(), strict=True))
        calibration = self.classifier.calibration.to_dict(self.labels)
        fit = fit_settings(self.classifier.metadata.get("calibration"))
        archive = _built(self.classifier.contents_sha256, speed(self.classifier))
        return Origin(list(self.labels), thresholds, calibration, self._model, *_describe(data), fit, archive)

    def score(self, images: Sequence[bytes]) -> list[Outcome]:
        outcomes = self.classifier.classify(images)
        return [outcome.code if isinstance(outcome, ItemError) else outcome.tolist() for outcome in outcomes]


class OverHttp:
    """A running server, with several requests at a time."""

    def __init__(self, url: str, clients: int, management: str | None) -> None:
        """url: …/predictions/NAME. management: where the calibration is described, if that is wanted.

        Raises ServerError, ApiError, LoadError.
        """
        self.url = url
        self.at_once = 4 * clients
        self._pool = ThreadPoolExecutor(clients, "client")
        self._connection = _Connection()
        answer = self._ask(_probe(), {"X-All-Scores": "true"})
        try:
            content = _successful(answer)
            self.labels = parse_labels(list(content["scores"].keys()), url)
            self._model = {key: content["model"][key] for key in MODEL_KEYS}
            answer = self._ask(_probe(), {"X-Top-K": str(len(self.labels))})
            ranked = {label["name"]: label["threshold"] for label in _successful(answer)["top_k"]}
            self._thresholds = {name: ranked[name] for name in self.labels}
        except UNEXPECTED:
            raise self._unexpected(answer) from None
        self._described = {} if management is None else self._describe_model(management)

    def origin(self, data: Path) -> Origin:
        described = self._described
        archive = None
        if described:
            archive = _built(described.get("contents_sha256"), described.get("speed", {}))
        fit = fit_settings(described.get("metadata", {}).get("calibration"))
        calibration = described.get("calibration")
        return Origin(list(self.labels), self._thresholds, calibration, self._model, *_describe(data), fit, archive)

    def score(self, images: Sequence[bytes]) -> list[Outcome]:
        """Raises ServerError."""
        return list(self._pool.map(self._score, images))

    def _score(self, image: bytes) -> Outcome:
        answer = self._ask(image, {"X-All-Scores": "true"})
        try:
            content = answer.json()
            # A 500 is an outcome as well: the handler answers for each image separately.
            if answer.status_code != 200:
                return str(content["error"]["code"])
            model = {key: content["model"][key] for key in MODEL_KEYS}
            scores = [_checked(content["scores"][name]) for name in self.labels]
        except UNEXPECTED:
            raise self._unexpected(answer) from None
        if model != self._model:
            raise ServerError(f"{self.url}: the model changed during the run, to {model}")
        return scores

    def _describe_model(self, management: str) -> dict[str, Any]:
        name, version = self._model["name"], self._model["version"]
        details = Client("", management).details(name, version)
        if not isinstance(details.get("calibration"), dict):
            problem = "calibration: not described, expected an archive of this project"
            raise ServerError(f"{management}: {name} {version}: {problem}")
        return details

    def _ask(self, image: bytes, headers: dict[str, str]) -> requests.Response:
        """Asks again while the answer is 503: the server is full or restarts its worker. Raises ServerError."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._connection.session.post(
                    self.url,
                    data=image,
                    headers={"Content-Type": "application/octet-stream", **headers},
                    timeout=TIMEOUT,
                )
            except requests.RequestException as error:
                raise ServerError(f"{self.url}: no answer ({type(error).__name__})") from None
            if answer.status_code != 503 or attempt == ATTEMPTS:
                break
            time.sleep(_retry_after(answer))
        return answer

    def _unexpected(self, answer: requests.Response) -> ServerError:
        text = one_line(answer.text)[:200]
        return ServerError(f"{self.url}: {answer.status_code} {text}, expected an answer of this project's handler")


class _Connection(threading.local):
    """A session for each thread, which keeps its connection open."""

    def __init__(self) -> None:
        self.session = direct_session()


def _successful(answer: requests.Response) -> Any:
    """The JSON of an answer. Raises ValueError where its status isn't 200."""
    if answer.status_code != 200:
        raise ValueError(answer.status_code)
    return answer.json()


def _retry_after(answer: requests.Response) -> float:
    """Seconds. The header may hold a date instead, which counts as none."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else PAUSE


def _checked(score: Any) -> float:
    """Raises ValueError where it isn't a number from 0 to 1."""
    if type(score) not in (int, float) or not 0 <= score <= 1:
        raise ValueError(score)
    return float(score)


def _built(contents_sha256: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What an archive is, the same from this process and from a server, whose Java leaves null out."""
    return {"contents_sha256": contents_sha256, **{key: value for key, value in settings.items() if value is not None}}


def _describe(data: Path) -> tuple[str, str, str]:
    """The data's name, its hash, and the folder that its paths are relative to."""
    return data.name, data_digest(data), str(root(data).resolve())


def _probe() -> bytes:
    """An image that every model takes."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "grey").save(buffer, "PNG")
    return buffer.getvalue()
