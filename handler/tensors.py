"""KServe v2, the Open Inference Protocol: its request → images as they came, and the answer's tensors → a body.

Tensors are JSON, or bytes after the JSON (Triton's binary tensor extension):
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.body import JSON_LENGTH, Body
from handler.errors import BadRequest, TooManyImages
from handler.options import HEADERS

# The tensors of an answer.
OUTPUTS = ("scores", "fired", "fallback", "labels")
BINARY = "application/octet-stream"
LENGTH = 4  # bytes before each element of BYTES
MOST_SIDES = 8


@dataclass(frozen=True)
class Tensors:
    """What a request holds and asks for."""

    images: Sequence[object]  # base64 as JSON has it, or bytes
    options: Mapping[str, object]
    outputs: tuple[tuple[str, bool], ...]  # names of the tensors to send, and whether as bytes after the JSON
    id: str | None


def read_tensors(body: Body, max_images: int) -> Tensors:
    """Raises BadRequest or TooManyImages."""
    content = body.json
    if not isinstance(content, dict):
        raise BadRequest('Expected an object: {"inputs": [{"name", "shape", "datatype": "BYTES", "data"}]}.')
    inputs, request_id = content.get("inputs"), content.get("id")
    parameters = _parameters("parameters", content)
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadRequest("inputs: expected one tensor of BYTES, each an image in base64.")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 256):
        raise BadRequest("id: expected a string of at most 256 characters.")
    [tensor] = inputs
    if tensor.get("datatype") != "BYTES":
        raise BadRequest("inputs[0].datatype: expected BYTES.")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise BadRequest("inputs[0].shape: expected a list of integers.")
    size = _parameters("inputs[0].parameters", tensor).get("binary_data_size")
    images: list[object]
    if size is None:
        if body.tensors:
            raise BadRequest("Bytes follow the JSON, and inputs[0].parameters.binary_data_size does not say how many.")
        images = _flat(tensor.get("data"), shape)
    elif type(size) is not int or size != len(body.tensors) or "data" in tensor:
        raise BadRequest("inputs[0].parameters.binary_data_size: expected the number of bytes after the JSON, no data.")
    else:
        images = list(_elements(body.tensors, max_images))
    if len(shape) > MOST_SIDES or math.prod(shape) != len(images):
        raise BadRequest("inputs[0].shape: does not fit the number of elements in data.")
    # Other servers ignore what they don't know, and clients send it: timeouts, priorities, ids of sequences.
    options = {name: value for name, value in parameters.items() if name in HEADERS}
    return Tensors(images, options, _outputs(content.get("outputs"), parameters), request_id)


def _parameters(name: str, holder: Mapping[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest(f"{name}: expected an object.")
    return parameters


def _flat(data: object, shape: Sequence[int]) -> list[object]:
    """Data may be nested as the shape is, or flat."""
    if not isinstance(data, list):
        raise BadRequest("inputs[0].data: expected a list.")
    for side in shape[1 : MOST_SIDES + 1]:
        if not any(isinstance(row, list) for row in data):
            break
        if not all(isinstance(row, list) and len(row) == side for row in data):
            raise BadRequest("inputs[0].data: is not nested as its shape says.")
        data = [element for row in data for element in row]
    return data


def _elements(content: bytes, most: int) -> Sequence[bytes]:
    elements: list[bytes] = []
    position = 0
    while position < len(content):
        if len(elements) == most:
            raise TooManyImages(f"The request has more than {most} images.")
        length = int.from_bytes(content[position : position + LENGTH], "little")
        position += LENGTH + length
        if position > len(content):
            raise BadRequest("The bytes after the JSON end inside an element of inputs[0].")
        elements.append(content[position - length : position])
    return elements


def _outputs(asked: object, parameters: Mapping[str, Any]) -> tuple[tuple[str, bool], ...]:
    binary = parameters.get("binary_data_output") is True
    if asked is None or asked == []:
        return tuple((name, binary) for name in OUTPUTS)
    if not isinstance(asked, list) or not all(isinstance(output, dict) for output in asked):
        raise BadRequest("outputs: expected a list of objects with a name.")
    outputs: dict[str, bool] = {}
    for index, output in enumerate(asked[: len(OUTPUTS) + 1]):
        name = output.get("name")
        if name not in OUTPUTS or name in outputs:
            raise BadRequest(f"outputs[{index}].name: expected one of {', '.join(OUTPUTS)}, once.")
        own = _parameters(f"outputs[{index}].parameters", output).get("binary_data")
        outputs[name] = own if isinstance(own, bool) else binary
    return tuple(outputs.items())


def write_tensors(
    head: Mapping[str, Any], tensors: Mapping[str, NDArray[Any] | Sequence[str]], outputs: Sequence[tuple[str, bool]]
) -> tuple[bytes, str, dict[str, str]]:
    """The body, its type and its headers. head: what the JSON has beside `outputs`. A sequence is BYTES."""
    described: list[dict[str, Any]] = []
    appended: list[bytes] = []
    for name, binary in outputs:
        tensor = tensors[name]
        shape = list(tensor.shape) if isinstance(tensor, np.ndarray) else [len(tensor)]
        entry: dict[str, Any] = {"name": name, "datatype": _datatype(tensor), "shape": shape}
        if binary:
            appended.append(_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(appended[-1])}
        else:
            entry["data"] = tensor.ravel().tolist() if isinstance(tensor, np.ndarray) else list(tensor)
        described.append(entry)
    text = json.dumps({**head, "outputs": described}, allow_nan=False).encode()
    if not appended:
        return text, "application/json", {}
    return b"".join((text, *appended)), BINARY, {JSON_LENGTH.title(): str(len(text))}


def _datatype(tensor: NDArray[Any] | Sequence[str]) -> str:
    if not isinstance(tensor, np.ndarray):
        return "BYTES"
    return "BOOL" if tensor.dtype == bool else "FP32"


def _bytes(tensor: NDArray[Any] | Sequence[str]) -> bytes:
    if isinstance(tensor, np.ndarray):
        return tensor.astype("?" if tensor.dtype == bool else "<f4").tobytes()
    elements = [element.encode() for element in tensor]
    return b"".join(len(element).to_bytes(LENGTH, "little") + element for element in elements)
