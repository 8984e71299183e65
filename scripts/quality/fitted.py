"""Which images a calibration was fitted on, by their content, and with what settings.

calibrate.py writes it, the archive carries it, and score.py copies it beside the scores. So whoever measures knows
which images look better than they are, and can fit again without them.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint64]  # [N]: the first 8 bytes of the SHA-256 of each image's file
KEPT = 32_768  # hashes at the most, of 4 bytes: 175 kB in the archive
SETTINGS = (
    "objective_kind",
    "objective_value",
    "confidence",
    "otherwise",
    "method",
    "min_support",
    "folds",
    "seed",
    "applied",
    "fitted_on",
)


@dataclass(frozen=True)
class FittedOn:
    images: int
    hashes: NDArray[np.uint32]  # sorted: the lowest KEPT of the upper halves

    def includes(self, images: Images) -> NDArray[np.bool_]:
        """[N]: whether each was fitted on. Beyond the hashes that are kept: whether any of the others was."""
        keys = _keys(images)
        found = np.isin(keys, self.hashes)
        return np.where(keys <= self._cut, found, found.any())

    def within(self, images: Images) -> bool:
        """Whether all that were fitted on are among these, as far as their hashes are kept."""
        return bool(np.isin(self.hashes, _keys(images)).all())

    @property
    def _cut(self) -> int:
        return int(self.hashes[-1]) if self.images > len(self.hashes) else 2**32 - 1


def fit_settings(provenance: object) -> dict[str, Any] | None:
    """What is needed to fit again, of the record of a fit. None where it doesn't say which images it was fitted on."""
    if not isinstance(provenance, Mapping) or not provenance.keys() >= set(SETTINGS):
        return None
    return {key: provenance[key] for key in SETTINGS}


def describe_images(images: Images) -> dict[str, Any]:
    """For the record of a fit. images: distinct."""
    ordered = np.sort(images)
    return {
        "images": len(images),
        "sha256": hashlib.sha256(ordered.astype(">u8").tobytes()).hexdigest(),
        "hashes": base64.b64encode(_keys(ordered[:KEPT]).astype(">u4").tobytes()).decode(),
    }


def parse_fitted_on(settings: Mapping[str, Any]) -> FittedOn | None:
    """None where the record doesn't say, as those of before did."""
    described = settings.get("fitted_on")
    try:
        hashes = np.frombuffer(base64.b64decode(described["hashes"], validate=True), ">u4")  # type: ignore[index]
        return FittedOn(int(described["images"]), hashes.astype(np.uint32))  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return None


def _keys(images: Images) -> NDArray[np.uint32]:
    return (images >> np.uint64(32)).astype(np.uint32)
