"""What turns encoded images into scores: an archive in this process, or a running server."""

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import requests
import torch
from PIL import Image

from handler.classifier import Classifier
from handler.contents import sha256
from handler.cores import use_threads
from handler.errors import ItemError
from scripts.archive.manifest import read_archive
from scripts.archive.recipe import Recipe
from scripts.archive.sources import parse_labels
from scripts.archive.stage import write_stage
from scripts.archive.unpacking import unpacked
from scripts.quality.dataset import root
from scripts.quality.scores import Origin
from scripts.server.client import Client
from scripts.server.session import direct_session
from scripts.server.torchserve import ServerError

ATTEMPTS = 10  # at a server that is busy, or restarts its worker
PAUSE = 5.0  # seconds, where it doesn't say Retry-After
TIMEOUT = 120.0  # seconds

Outcome = list[float] | str  # scores [C], or the code of the error


class Scorer(Protocol):
    labels: tuple[str, ...]
    at_once: int  # images that are held in memory together

    def origin(self, data: Path) -> Origin: ...

    def score(self, images: Sequence[bytes]) -> list[Outcome]: ...


class InProcess:
    """The code that serves, without a server."""

    def __init__(self, source: Path, device: str, recipe: dict[str, Any]) -> None:
        """source: an archive, or a checkpoint, for which `recipe` holds what it doesn't say. Raises LoadError."""
        with ExitStack() as stack:
            if source.suffix == ".mar":
                archive = read_archive(source)
                name, version = archive.name, archive.version
                directory = stack.enter_context(unpacked(source))
                self.classifier = Classifier.load(directory, torch.device(device))
            else:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="score-")))
                name, version = source.stem, "checkpoint"
                write_stage(Recipe(source, name, **recipe), directory)
                self.classifier = Classifier.load(directory, torch.device(device))
        use_threads(self.classifier.torch_threads)
        self.labels = self.classifier.labels
        self.at_once = max(32, self.classifier.batch_size)
        self._model = {"name": name, "version": version, "sha256": self.classifier.weights_sha256}

    def origin(self, data: Path) -> Origin:
        thresholds = dict(zip(self.labels, self.classifier.thresholds.tolist(), strict=True))
        calibration = self.classifier.calibration.to_dict(self.labels)
        return Origin(list(self.labels), thresholds, calibration, self._model, *_data(data))

    def score(self, images: Sequence[bytes]) -> list[Outcome]:
        outcomes = self.classifier.classify(images)
        return [one.code if isinstance(one, ItemError) else one.tolist() for one in outcomes]


class OverHttp:
    """A server's predictions, several at a time."""

    def __init__(self, url: str, clients: int, management: str | None) -> None:
        """url: …/predictions/NAME. Raises ServerError, ApiError, LoadError."""
        self.url = url
        self.at_once = 4 * clients
        self._pool = ThreadPoolExecutor(clients, "client")
        self._local = threading.local()
        answer = self._ask(_probe(), {"X-All-Scores": "true"})
        if answer.status_code != 200:
            raise ServerError(f"{url}: {answer.status_code} {answer.text[:200]}, expected this project's answers")
        self.labels = parse_labels(list(answer.json()["scores"]), url)
        self._model: dict[str, Any] = answer.json()["model"]
        ranked = self._ask(_probe(), {"X-Top-K": str(len(self.labels))}).json()["top_k"]
        self._thresholds = {each["name"]: each["threshold"] for each in ranked}
        self._calibration = None
        if management is not None:
            described = Client("", management).details(self._model["name"], self._model["version"])
            self._calibration = described["calibration"]

    def origin(self, data: Path) -> Origin:
        thresholds = {name: self._thresholds[name] for name in self.labels}
        return Origin(list(self.labels), thresholds, self._calibration, self._model, *_data(data))

    def score(self, images: Sequence[bytes]) -> list[Outcome]:
        return list(self._pool.map(self._score, images))

    def _score(self, image: bytes) -> Outcome:
        """A 5xx other than 503 is this image's own, too: the handler answers for each apart."""
        answer = self._ask(image, {"X-All-Scores": "true"})
        try:
            content = answer.json()
            if answer.status_code == 200:
                if content["model"] != self._model:
                    raise ServerError(f"{self.url}: the model is another one than at the start: {content['model']}")
                return [content["scores"][name] for name in self.labels]
            return str(content["error"]["code"])
        except (ValueError, KeyError, TypeError):
            raise ServerError(f"{self.url}: {answer.status_code} {answer.text[:200]}, expected an answer") from None

    def _ask(self, image: bytes, headers: dict[str, str]) -> requests.Response:
        """Patient with 503, as a server that starts or is full says it; not with one that isn't there."""
        session = self._local.__dict__.setdefault("session", direct_session())
        for attempt in range(ATTEMPTS):
            try:
                answer: requests.Response = session.post(
                    self.url,
                    data=image,
                    headers={"Content-Type": "application/octet-stream", **headers},
                    timeout=TIMEOUT,
                )
            except requests.RequestException as error:
                raise ServerError(f"{self.url}: no answer ({type(error).__name__})") from None
            if answer.status_code != 503 or attempt == ATTEMPTS - 1:
                break
            time.sleep(float(answer.headers.get("Retry-After", PAUSE)))
        return answer


def _data(data: Path) -> tuple[str, str | None, str]:
    """Its name, its hash if it is a list, and what paths in it are relative to."""
    return data.name, None if data.is_dir() else sha256(data), str(root(data).resolve())


def _probe() -> bytes:
    """An image that every model takes."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "grey").save(buffer, "PNG")
    return buffer.getvalue()
