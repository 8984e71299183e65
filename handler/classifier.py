"""A packaged classifier: image bytes → scores. It knows nothing of HTTP or TorchServe.

The server, the build and every batch job run this same code.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from handler.calibration import Calibration, read_calibration
from handler.contents import WEIGHTS_FILE, contents_sha256, file_digests, read_metadata, weights_sha256
from handler.cores import share_cores
from handler.decode import decode
from handler.errors import ItemError, LoadError, OutOfMemory, UnsupportedSize, attempt
from handler.golden import GOLDEN_FILE, read_golden
from handler.head import attach_head
from handler.item import Item, Outcome
from handler.labels import read_labels
from handler.memory import Room, decoding_memory
from handler.meter import Allowance
from handler.model import Model, create_network, load_weights, read_weights
from handler.options import Options
from handler.preprocess import Pipeline, read_pipeline
from handler.settings import CONFIG_FILE, Settings, read_settings
from handler.thresholds import read_thresholds

logger = logging.getLogger(__name__)
NOISE = (300, 400, 3)  # [H, W, 3] of an example
WARM_UPS = 3  # passes until a frozen network runs at its speed

In = TypeVar("In")
Out = TypeVar("Out")
Stage = Callable[[Item[Any]], Item[Any]]
Prepared = NDArray[Any]  # [H, W, 3] uint8 where the batch is normalised, else [3, H, W] float32


def _untimed(name: str, stage: Stage) -> Stage:
    return stage


@dataclass(frozen=True)
class Share:
    """What one process takes of its machine."""

    batch_size: int = 8  # images in one forward pass, at the most
    workers: int = 1  # processes that share the cores
    decoding: int | None = None  # bytes for what is being decoded; None: enough for any image within the limits


ALONE = Share()


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
    room: Room  # for what is being decoded
    pool: ThreadPoolExecutor  # decodes and preprocesses; the codecs and OpenCV let other threads run meanwhile

    @classmethod
    def load(cls, directory: Path, device: torch.device, share: Share = ALONE, /, **changes: Any) -> "Classifier":
        """Loads an unpacked archive. Raises LoadError, which names the file, the key and what was expected.

        changes: of the settings, for comparisons.
        """
        settings = replace(read_settings(directory), **changes)
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
        source = f"{directory / CONFIG_FILE}: handler"
        network = create_network(settings.architecture, len(labels), settings.model_kwargs, source)
        if settings.head:
            attach_head(network, settings.head, tensors, source)
        load_weights(network, tensors, directory / WEIGHTS_FILE)
        cores = share_cores(share.workers)
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
            batch_size=share.batch_size,
            torch_threads=settings.torch_threads or cores,
            room=Room(share.decoding or decoding_memory(settings.limits, scaled=False)),
            pool=ThreadPoolExecutor(settings.decode_threads or cores, "decode"),
        )
        example = classifier.example(share.batch_size)
        classifier.model.use(settings.engine, example, settings.golden_tolerance, source, directory, digest)
        return classifier

    @property
    def options(self) -> Options:
        """Those of a request that asks for nothing else."""
        return Options(self.thresholds, min(self.settings.top_k, len(self.labels)), all_scores=False)

    @property
    def shortest_side(self) -> int | None:
        """Pixels that scaled decoding must leave. None where images are decoded whole."""
        resize = self.pipeline.resize
        return resize.shortest_side if resize is not None and self.settings.decode == "scaled" else None

    def decode(self, item: Item[bytes]) -> Item[NDArray[np.uint8]]:
        """Encoded bytes → [H, W, 3] uint8. Raises ItemError."""
        limits, room = self.settings.limits, self.room
        return item.map(lambda payload: decode(payload, limits, self.shortest_side, room, item.allowance))

    def preprocess(self, item: Item[NDArray[np.uint8]]) -> Item[Prepared]:
        """[H, W, 3] uint8 → what the network takes a batch of. Raises UnsupportedSize."""
        prepared = item.map(self.pipeline.prepare)
        expected = self.pipeline.prepared_shape(self.input_shape)
        # The batch is one array, so another shape would fail all of its images.
        if prepared.content.shape != expected:
            raise UnsupportedSize
        return prepared

    def prepare(
        self,
        payload: bytes | ItemError,
        options: Options,
        timed: Callable[[Any, Stage], Stage] = _untimed,
        allowance: Allowance | None = None,
    ) -> Item[Prepared] | ItemError:
        """Decodes and preprocesses one encoded image. `timed` may wrap a stage, whose name it is told."""
        item = attempt(lambda payload: Item(payload, options, allowance), payload)
        return attempt(timed("preprocess", self.preprocess), attempt(timed("decode", self.decode), item))

    def side_by_side(self, function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        """The function of each item, in order, several at a time."""
        return list(self.pool.map(function, items))

    def score(self, items: Sequence[Item[Prepared] | ItemError]) -> list[Outcome | ItemError]:
        """Prepared images → one outcome each. What had failed before keeps its place."""
        outcomes: list[Outcome | ItemError] = [item if isinstance(item, ItemError) else ItemError() for item in items]
        sound = [(index, item) for index, item in enumerate(items) if not isinstance(item, ItemError)]
        for start in range(0, len(sound), self.batch_size):
            indices, chunk = zip(*sound[start : start + self.batch_size], strict=True)
            for index, scores in zip(indices, self._forward(chunk), strict=True):
                outcomes[index] = attempt(_outcome, scores)
        return outcomes

    def _forward(self, items: Sequence[Item[Prepared]]) -> list[NDArray[np.float32] | ItemError]:
        """One pass for all of them. Where the memory is too small for that: one pass each, once."""

        def scores(images: Sequence[Prepared]) -> NDArray[np.float32]:
            return self.model.scores(np.stack(images))

        images = [item.content for item in items]
        together = attempt(scores, images)
        if isinstance(together, OutOfMemory):
            logger.warning("out of memory with %d images together: trying them one by one", len(images))
            self.model.free_memory()
            apart = [attempt(scores, [image]) for image in images]
            return [result if isinstance(result, ItemError) else result[0] for result in apart]
        return [together] * len(images) if isinstance(together, ItemError) else list(together)

    def classify(self, payloads: Sequence[bytes | ItemError]) -> list[NDArray[np.float32] | ItemError]:
        """Encoded images → scores [C] float32 each, or the error of the one that failed."""
        options = self.options
        items = self.side_by_side(lambda payload: self.prepare(payload, options), payloads)
        return [outcome if isinstance(outcome, ItemError) else outcome.scores for outcome in self.score(items)]

    def warm_up(self) -> float:
        """Runs the largest batch and a single image, so that slow first passes and a lack of memory show at load.
        Returns the seconds of the last pass of that batch.

        The first undecodable file is slow as well: Pillow then imports all its plugins.
        """
        seconds = []
        for size in (self.batch_size, 1):
            batch = self.example(size)
            for _ in range(WARM_UPS):
                started = time.perf_counter()
                self.model.scores(batch)
                seconds.append(time.perf_counter() - started)
        self.prepare(b"", self.options)
        return seconds[WARM_UPS - 1]

    def example(self, images: int) -> Prepared:
        """A batch of noise, prepared: [N, ...]."""
        noise = np.random.default_rng(0)
        return np.stack([self.pipeline.prepare(noise.integers(0, 256, NOISE, dtype=np.uint8)) for _ in range(images)])

    def self_check(self, directory: Path) -> None:
        """Classifies the golden inputs. Raises LoadError where a score is off by more than golden_tolerance."""
        path = directory / GOLDEN_FILE
        inputs = read_golden(directory, len(self.labels))
        tolerance = self.settings.golden_tolerance
        for golden, scores in zip(inputs, self.classify([golden.image for golden in inputs]), strict=True):
            if isinstance(scores, ItemError):
                raise LoadError(path, f"{golden.name}: {scores.code}: {scores}")
            if (difference := golden.difference(scores, self.labels, tolerance)) is not None:
                raise LoadError(path, f"{golden.name}: golden self-check failed: {difference}")
        logger.info("golden self-check: %d inputs within %g", len(inputs), tolerance)


def _outcome(scores: NDArray[np.float32]) -> Outcome:
    if not np.isfinite(scores).all():
        logger.error("the model gave a score that is not a number")
        raise ItemError("The model gave no finite score for this image.")
    return Outcome(scores)
