"""A packaged classifier, whole: image bytes → scores. It knows nothing of HTTP or TorchServe.

The server, the build, and any batch job run this same code.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from handler.calibration import Calibration, read_calibration
from handler.compiled import load_compiled
from handler.contents import WEIGHTS_FILE, contents_sha256, file_digests, read_metadata, weights_sha256
from handler.cores import share_cores
from handler.decode import decode
from handler.errors import ItemError, LoadError, OutOfMemory, attempt
from handler.golden import GOLDEN_FILE, read_golden
from handler.labels import read_labels
from handler.model import Model, create_network, load_weights, read_weights
from handler.preprocess import Pipeline, read_pipeline
from handler.settings import CONFIG_FILE, Settings, read_settings
from handler.thresholds import read_thresholds

logger = logging.getLogger(__name__)
NOISE = (300, 400, 3)  # [H, W, 3] of an example
WARM_UPS = 3  # passes until a frozen network runs at its speed

In = TypeVar("In")
Out = TypeVar("Out")
Prepared = NDArray[Any]  # [H, W, 3] uint8 where the batch is normalised, else [3, H, W] float32


@dataclass(frozen=True)
class Classifier:
    settings: Settings
    labels: tuple[str, ...]
    thresholds: NDArray[np.float64]  # [C]
    calibration: Calibration
    pipeline: Pipeline
    input_shape: tuple[int, int, int]  # (3, H, W)
    model: Model
    weights_sha256: str
    contents_sha256: str  # of the whole archive
    metadata: dict[str, Any]
    batch_size: int  # images in one forward pass, at the most
    torch_threads: int
    pool: ThreadPoolExecutor  # decodes and preprocesses; the codecs and OpenCV let other threads run meanwhile

    @classmethod
    def load(cls, directory: Path, device: torch.device, **changes: Any) -> "Classifier":
        """Loads an unpacked archive; raises LoadError naming the file, the key and what was expected.

        changes: of the settings, for those who compare.
        """
        settings, server = read_settings(directory)
        settings = replace(settings, **changes)
        labels = read_labels(directory)
        thresholds = read_thresholds(directory, labels)
        calibration = read_calibration(directory, labels)
        pipeline, input_shape = read_pipeline(directory)
        if settings.decode == "scaled" and pipeline.resize is None:
            raise LoadError(directory / CONFIG_FILE, "handler.decode: scaled, expected exact: no resize comes first")
        metadata = read_metadata(directory)
        tensors = read_weights(directory)
        digests = file_digests(directory)
        digest = weights_sha256(directory, digests, metadata)
        network = create_network(
            settings.architecture, len(labels), settings.model_kwargs, f"{directory / CONFIG_FILE}: handler"
        )
        load_weights(network, tensors, directory / WEIGHTS_FILE)
        cores = share_cores(server.minWorkers)
        classifier = cls(
            settings=settings,
            labels=labels,
            thresholds=thresholds,
            pipeline=pipeline,
            input_shape=input_shape,
            model=Model(network, device, pipeline.normalise, settings.precision, calibration),
            calibration=calibration,
            weights_sha256=digest,
            contents_sha256=contents_sha256(digests),
            metadata=metadata,
            batch_size=server.batchSize,
            torch_threads=settings.torch_threads or cores,
            pool=ThreadPoolExecutor(settings.decode_threads or cores, "decode"),
        )
        if settings.engine != "eager":
            classifier._speed_up(directory)
        return classifier

    def _speed_up(self, directory: Path) -> None:
        """Raises LoadError where the engine doesn't do for this network."""
        example, tolerance = self.example(self.batch_size), self.settings.golden_tolerance
        source = f"{directory / CONFIG_FILE}: handler"
        if self.settings.engine == "frozen":
            self.model.freeze(example, tolerance, source)
        else:
            compiled = load_compiled(
                directory, self.model.device, self.settings.precision, self.weights_sha256, example
            )
            self.model.replace(lambda _: compiled, example, tolerance, self.settings.engine, source)

    @property
    def shortest_side(self) -> int | None:
        """Pixels that scaled decoding must leave; None where images are decoded whole."""
        resize = self.pipeline.resize
        return resize.shortest_side if resize is not None and self.settings.decode == "scaled" else None

    def decode(self, payload: bytes) -> NDArray[np.uint8]:
        """One encoded image → [H, W, 3] uint8; raises ItemError."""
        return decode(payload, self.settings.limits, self.shortest_side)

    def preprocess(self, pixels: NDArray[np.uint8]) -> Prepared:
        """[H, W, 3] uint8 → what the network takes a batch of."""
        return self.pipeline.prepare(pixels)

    def side_by_side(self, function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        """The function of each item, in order, several at a time."""
        return list(self.pool.map(function, items))

    def score(self, images: Sequence[Prepared | ItemError]) -> list[NDArray[np.float32] | ItemError]:
        """Prepared images → scores [C] float32 each; what had failed before keeps its place."""
        outcomes: list[NDArray[np.float32] | ItemError] = [
            image if isinstance(image, ItemError) else ItemError() for image in images
        ]
        sound = [(index, image) for index, image in enumerate(images) if isinstance(image, np.ndarray)]
        for start in range(0, len(sound), self.batch_size):
            indices, chunk = zip(*sound[start : start + self.batch_size], strict=True)
            for index, scores in zip(indices, self._forward(chunk), strict=True):
                outcomes[index] = attempt(_finite, scores)
        return outcomes

    def _forward(self, images: Sequence[Prepared]) -> list[NDArray[np.float32] | ItemError]:
        """One pass for all of them; where the memory doesn't do for that, one for each, once."""

        def scores(images: Sequence[Prepared]) -> NDArray[np.float32]:
            return self.model.scores(np.stack(images))

        together = attempt(scores, images)
        if isinstance(together, OutOfMemory):
            logger.warning("out of memory with %d images together: trying them one by one", len(images))
            self.model.free_memory()
            apart = [attempt(scores, [image]) for image in images]
            return [one if isinstance(one, ItemError) else one[0] for one in apart]
        return [together] * len(images) if isinstance(together, ItemError) else list(together)

    def classify(self, payloads: Sequence[bytes | ItemError]) -> list[NDArray[np.float32] | ItemError]:
        """Encoded images → scores [C] float32 each, or the error of the one that failed."""

        def prepare(payload: bytes | ItemError) -> Prepared | ItemError:
            return attempt(self.preprocess, attempt(self.decode, payload))

        return self.score(self.side_by_side(prepare, payloads))

    def warm_up(self) -> None:
        """Runs the largest batch and a single image: the first passes are slow, and a lack of memory should show at
        load. Slow is the first file that is no image, too: Pillow then loads every codec that it has."""
        for size in (self.batch_size, 1):
            batch = self.example(size)
            for _ in range(WARM_UPS):
                self.model.scores(batch)
        attempt(self.decode, b"")

    def example(self, images: int) -> Prepared:
        """A batch of noise, prepared."""
        noise = np.random.default_rng(0)
        return np.stack([self.preprocess(noise.integers(0, 256, NOISE, dtype=np.uint8)) for _ in range(images)])

    def self_check(self, directory: Path) -> None:
        """Classifies the golden inputs; raises LoadError where a score is off by more than golden_tolerance."""
        path = directory / GOLDEN_FILE
        golden = read_golden(directory, len(self.labels))
        tolerance = self.settings.golden_tolerance
        for each, scores in zip(golden, self.classify([each.image for each in golden]), strict=True):
            if isinstance(scores, ItemError):
                raise LoadError(path, f"{each.name}: {scores.code}: {scores}")
            if (difference := each.difference(scores, self.labels, tolerance)) is not None:
                raise LoadError(path, f"{each.name}: golden self-check failed: {difference}")
        logger.info("golden self-check: %d inputs within %g", len(golden), tolerance)


def _finite(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(scores).all():
        logger.error("the model gave a score that is no number")
        raise ItemError("The model gave no finite score for this image.")
    return scores
