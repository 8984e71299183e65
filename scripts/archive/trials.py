"""Trials of an archive's network in this process: how fast each engine runs at each precision, and how far it moves the
scores."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.classifier import WARM_UPS, Classifier, Share
from handler.converted import QUANTISED
from handler.cores import available_cores, use_threads
from handler.engines import engines_for
from handler.errors import ItemError, LoadError
from handler.server_settings import read_server_settings
from handler.settings import read_settings
from scripts.archive.stage import PLAIN
from scripts.archive.unpacking import unpacked

PASSES = 7  # of each network; the median counts
HOPELESS = 5.0  # a network that is this many times slower than the fastest one gets a single pass
CLOSE = 0.97  # trials within this share of the best rate count as equal
OUT_OF_MEMORY = (MemoryError, torch.cuda.OutOfMemoryError)


@dataclass(frozen=True)
class Trial:
    settings: dict[str, Any]
    rate: float  # images a second of a network, answers a second of a server
    difference: float | None = None  # of a network: the largest difference of a score from the plain settings

    def evidence(self) -> dict[str, Any]:
        shown = {} if self.difference is None else {"largest_difference": round(self.difference, 4)}
        return {**self.settings, "per_second": round(self.rate, 1), **shown}


def best_network(trials: Sequence[Trial], tolerance: float) -> Trial:
    """The best of those whose scores stay within the tolerance. Raises LoadError if there is none."""
    # An int8 network was judged by photos with labels.
    judged = [trial for trial in trials if trial.settings.get("precision") == QUANTISED]
    within = judged or [trial for trial in trials if trial.difference is not None and trial.difference <= tolerance]
    if not within:
        raise LoadError("networks", f"none ran with all scores within {tolerance:g} of the plain ones")
    return best(within)


def best(trials: Sequence[Trial]) -> Trial:
    """The first that is close to the fastest: trials are ordered from cheap to costly."""
    fastest = max(trial.rate for trial in trials)
    return next(trial for trial in trials if trial.rate >= CLOSE * fastest)


def try_networks(
    archive: Path, photos: Sequence[bytes], device: torch.device, show: Callable[[dict[str, Any], str], None]
) -> list[Trial]:
    """Each engine and precision that runs here, with all cores, at the archive's batch size.

    show: is told the settings of each, and its result or why it was skipped. Raises LoadError if the plain network
    can't classify a photo.
    """
    engines = engines_for(device)[::-1]  # the plain one first
    trials: list[Trial] = []
    use_threads(available_cores())
    with unpacked(archive) as directory:
        precisions = ["float32", "bfloat16", *(["float16"] if device.type == "cuda" else [])]
        if read_settings(directory).precision == QUANTISED:  # judged by photos with labels, and it has no other network
            precisions, engines = [QUANTISED], ["openvino"]
        share = Share(read_server_settings(directory).batchSize)
        plain = _scores(Classifier.load(directory, device, share, **PLAIN), photos)
        for precision in precisions:
            for engine in engines:
                settings = {"engine": engine, "precision": precision}
                fastest = max((trial.rate for trial in trials), default=1e-9)
                try:
                    trial = _try_network(directory, device, share, settings, photos, plain, fastest)
                except (LoadError, *OUT_OF_MEMORY) as error:
                    show(settings, f"skipped: {str(error) or 'out of memory'}")
                    continue
                trials.append(trial)
                show(settings, f"{trial.rate:7.1f} images/s  largest difference {trial.difference:.4f}")
    return trials


def _try_network(
    directory: Path,
    device: torch.device,
    share: Share,
    settings: dict[str, Any],
    photos: Sequence[bytes],
    plain: NDArray[np.float32],
    fastest: float,
) -> Trial:
    """Raises LoadError or one of OUT_OF_MEMORY where this network does not run, or gives a score that is not finite."""
    # The widest tolerance: what is measured here decides.
    classifier = Classifier.load(directory, device, share, **settings, decode="exact", golden_tolerance=0.5)
    seconds = _seconds(classifier, HOPELESS * classifier.batch_size / fastest)
    difference = float(np.abs(_scores(classifier, photos) - plain).max())
    return Trial(settings, classifier.batch_size / seconds, difference)


def _seconds(classifier: Classifier, limit: float) -> float:
    """The median pass of a whole batch, or the first pass after the warm-up if that took longer than the limit."""
    batch = classifier.example(classifier.batch_size)
    for _ in range(WARM_UPS):
        classifier.model.scores(batch)
    taken: list[float] = []
    while len(taken) < PASSES and (not taken or taken[0] <= limit):
        started = time.perf_counter()
        classifier.model.scores(batch)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _scores(classifier: Classifier, photos: Sequence[bytes]) -> NDArray[np.float32]:
    """[photos, C]. Raises LoadError if a photo can't be classified."""
    scores = []
    for number, outcome in enumerate(classifier.classify(photos), 1):
        if isinstance(outcome, ItemError):
            raise LoadError(f"photo {number}", f"{outcome.code}: {outcome}")
        scores.append(outcome)
    return np.stack(scores)
