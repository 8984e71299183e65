"""Quantises the converted network of an unpacked archive to int8 with NNCF, which the server does not need."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.classifier import Classifier
from handler.converted import NETWORK_FILE, ORIGIN, QUANTISED, import_openvino, network_files, openvino_core, prove
from handler.errors import ItemError, LoadError, Unavailable, one_line
from handler.golden import GOLDEN_FILE, read_golden
from handler.hidden import hidden
from scripts.archive.conversion import EXAMPLES, rename
from scripts.archive.stage import write_json

LIBRARIES = ("nncf", "openvino")
ATTENTION = ("Softmax", "ScaledDotProductAttention")  # operations of a transformer


@dataclass(frozen=True)
class Method:
    """One way to quantise, by NNCF's names."""

    preset: str
    fast_bias_correction: bool

    def __str__(self) -> str:
        return f"{self.preset} preset, {'fast' if self.fast_bias_correction else 'accurate'} bias correction"


# In this order, until one is as good as the margin asks. A third would need a higher confidence of each: see
# scripts/quality/margin.py.
METHODS = (Method("performance", fast_bias_correction=True), Method("mixed", fast_bias_correction=False))


def import_nncf() -> Any:
    """Raises Unavailable where it isn't installed."""
    import_openvino()
    try:
        # As openvino's converter, it would report each use to the maker's statistics.
        with hidden("openvino_telemetry"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ImportError as error:
        cure = 'expected the extra "int8": make install'
        raise Unavailable("nncf", f"{one_line(error)}, {cure}") from None
    logging.getLogger("nncf").handlers.clear()  # its own, of an output that may be closed since
    return nncf


def quantise(directory: Path, method: Method, photos: Sequence[Path], plain: Classifier) -> None:
    """Writes the two files of the quantised network beside those of the network that was converted.

    plain: loaded from the directory; it prepares the photos. Raises LoadError.
    """
    path, constants = (directory / name for name in network_files(QUANTISED))
    for file in (path, constants):  # not written over: a network that is in use may be mapped from it
        file.unlink(missing_ok=True)
    try:
        nncf = import_nncf()
        model = openvino_core().read_model(directory / NETWORK_FILE)
        made_from = model.get_rt_info([ORIGIN]).astype(str)
        transformer = any(operation.get_type_name() in ATTENTION for operation in model.get_ops())
        with _quiet():
            quantised = nncf.quantize(
                model,
                nncf.Dataset(photos, lambda photo: _prepared(photo, plain)),
                preset=nncf.QuantizationPreset(method.preset),
                subset_size=len(photos),
                fast_bias_correction=method.fast_bias_correction,
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                # Weights of 7 bits: a processor without VNNI adds up those of 8 in too few, and gives other scores.
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )
        rename(quantised)
        quantised.set_rt_info(made_from, [ORIGIN])
        import_openvino().save_model(quantised, path, compress_to_fp16=False)
        prove(path, QUANTISED, plain.example(EXAMPLES))
    except (Unavailable, RuntimeError) as error:  # the second is of NNCF and OpenVINO themselves
        raise LoadError(directory / NETWORK_FILE, f"can't be quantised: {one_line(error)[:200]}") from None


def load_quantised(directory: Path) -> Classifier:
    """That of an unpacked archive, with the quantised network beside the other. Raises LoadError."""
    return Classifier.load(directory, torch.device("cpu"), precision=QUANTISED, engine="openvino")


def write_golden(directory: Path, quantised: Classifier) -> float:
    """Scores the golden inputs again, as each worker will. Returns the largest difference from those of before."""
    golden = read_golden(directory, len(quantised.labels))
    outcomes = quantised.classify([each.image for each in golden])
    expected, worst = {}, 0.0
    for each, scores in zip(golden, outcomes, strict=True):
        if isinstance(scores, ItemError):
            raise LoadError(directory / GOLDEN_FILE, f"{each.name}: {scores.code}: {scores}")
        expected[each.name] = [round(float(score), 4) for score in scores]
        worst = max(worst, float(np.abs(scores - each.scores).max()))
    write_json(directory / GOLDEN_FILE, expected)
    return worst


def remove_converted(directory: Path) -> None:
    """What the quantised archive doesn't run."""
    for name in network_files("float32"):
        (directory / name).unlink()


def _prepared(photo: Path, plain: Classifier) -> NDArray[Any]:
    """A batch of it alone."""
    item = plain.prepare(photo.read_bytes(), plain.options)
    if isinstance(item, ItemError):  # it was none when it was scored
        raise LoadError(photo, f"changed since it was scored: {item.code}")
    return item.content[np.newaxis]


def made_with() -> dict[str, str]:
    return {library: version(library) for library in LIBRARIES}


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws bars, and it and torch warn of what is meant."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield
