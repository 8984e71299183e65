"""Converts the network of an unpacked archive, so that a worker on a CPU needs neither timm nor torch's compiler."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from handler.classifier import Classifier
from handler.contents import file_digests
from handler.converted import CONSTANTS_FILE, NETWORK_FILE, ORIGIN, compile_converted, import_openvino, origin, prove
from handler.cores import available_cores
from handler.engines import Logits, as_logits, largest_difference
from handler.errors import Unavailable, one_line
from handler.hidden import hidden

# Scores of the converted network may differ by so much from those of the network as Python runs it: rounding, in
# another order.
TOLERANCE = 1e-4
EXAMPLES = 2  # images; with one, the size of the batch would be recorded as a constant


def convert_network(directory: Path, plain: Classifier) -> str | None:
    """Writes the two files that handler.converted reads. Returns why it can't, or None.

    plain: loaded from the directory, eager and in float32.
    """
    path, example = directory / NETWORK_FILE, plain.example(EXAMPLES)
    try:
        openvino = import_openvino()
        model = convert(plain.model.logits, example)
        model.set_rt_info(origin(file_digests(directory), plain.settings, len(plain.labels)), [ORIGIN])
        openvino.save_model(model, path, compress_to_fp16=False)
        prove(path, "float32", example)  # a crash would end the build
        _compare(path, plain)
    except (Unavailable, RuntimeError) as error:  # the second is of OpenVINO itself
        for name in (NETWORK_FILE, CONSTANTS_FILE):
            (directory / name).unlink(missing_ok=True)
        return one_line(error)
    return None


@torch.inference_mode()
def convert(network: Logits, example: NDArray[Any]) -> Any:
    """Returns OpenVINO's model of a network as Python runs it, for any size of a batch. Raises Unavailable.

    example: prepared images [N, ...], more than one.
    """
    openvino = import_openvino()
    with hidden("openvino_telemetry"):  # reports each conversion to the maker's statistics
        from openvino.tools.ovc import convert_model
    root = logging.getLogger()
    logs = root.level, root.handlers[:], root.filters[:]
    shape = openvino.PartialShape([-1, *example.shape[1:]])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's doubts: the scores are compared
            model = convert_model(network, example_input=torch.from_numpy(example), input=[shape])
    except Exception as error:  # whatever the network raises under the tracer, and OpenVINO for an operation
        raise Unavailable("openvino", f"can't convert this architecture: {one_line(error)[:200]}") from None
    finally:
        # It sets up the logs of the whole process, to errors alone.
        root.setLevel(logs[0])
        root.handlers[:], root.filters[:] = logs[1:]
    rename(model)
    return model


def rename(model: Any) -> None:
    """The names are numbers that count through the process; the same network shall give the same file."""
    model.set_friendly_name("network")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(str(number))


@torch.inference_mode()
def _compare(path: Path, plain: Classifier) -> None:
    converted = as_logits(compile_converted(path, "float32", available_cores()))
    for images in (EXAMPLES, 1, EXAMPLES + 1):
        worst = largest_difference(converted, plain.model.logits, torch.from_numpy(plain.example(images)))
        if not worst <= TOLERANCE:
            raise Unavailable("openvino", f"scores of a batch of {images} differ by {worst:.6f}")
