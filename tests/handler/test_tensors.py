import base64
import json
from typing import Any

import numpy as np
import pytest

from handler.body import Body
from handler.errors import ItemError
from handler.tensors import OUTPUTS, read_tensors, write_tensors

B64 = base64.b64encode(b"image").decode()


def _request(tensor: dict[str, Any] | None = None, tensors: bytes = b"", **others: Any) -> Body:
    plain = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [B64]} | (tensor or {})
    return Body(
        json={"inputs": [{key: value for key, value in plain.items() if value is not ...}], **others}, tensors=tensors
    )


def _binary(*images: bytes) -> Body:
    content = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    changed = {"data": ..., "shape": [len(images)], "parameters": {"binary_data_size": len(content)}}
    return _request(changed, content)


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2], ["a", "b"]), ([2, 1], ["a", "b"]), ([2, 1], [["a"], ["b"]]), ([1, 2, 1], [[["a"], ["b"]]])],
)
def test_data_is_flat_or_nested(shape: list[int], data: Any) -> None:
    assert read_tensors(_request({"shape": shape, "data": data}), 9).images == ["a", "b"]


def test_images_as_bytes() -> None:
    assert read_tensors(_binary(b"one", b"", b"three"), 3).images == [b"one", b"", b"three"]


def test_own_options_are_kept_and_others_ignored() -> None:
    sent = {"top_k": 1, "binary_data_output": False, "timeout": 5, "content_type": "base64"}
    assert read_tensors(_request(parameters=sent), 9).options == {"top_k": 1}


def test_outputs_that_are_asked_for() -> None:
    assert read_tensors(_request(), 9).outputs == tuple((name, False) for name in OUTPUTS)
    asked = [{"name": "labels", "parameters": {"binary_data": False}}, {"name": "scores"}]
    tensors = read_tensors(_request(outputs=asked, parameters={"binary_data_output": True}), 9)
    assert tensors.outputs == (("labels", False), ("scores", True))


@pytest.mark.parametrize(
    "body",
    [
        Body(json=[]),
        Body(json={}),
        _request({"shape": [2, 2], "data": [["a", "b"], ["c"]]}),
        _request({"shape": [2], "data": [["a"]]}),
        _request({"parameters": 5}),
        _request({"parameters": {"binary_data_size": 3}}, b"abc"),
        _request({"data": ..., "parameters": {"binary_data_size": 4}}, b"\1\0\0"),
        _request({"data": ..., "parameters": {"binary_data_size": True}}, b"\0"),
        _request({"data": ..., "parameters": {"binary_data_size": 5}}, b"\xff\xff\xff\xffa"),
        _request({"data": ..., "parameters": {"binary_data_size": 2}}, b"\1\0"),
        _request(tensors=b"more"),
        _binary(*[b""] * 4),
        _request(outputs={}),
        _request(outputs=["scores"]),
        _request(outputs=[{"name": "nope"}]),
        _request(outputs=[{"name": ["scores"]}]),
        _request(outputs=[{"name": "scores"}] * 1000),
        _request(parameters=[]),
    ],
)
def test_refused(body: Body) -> None:
    with pytest.raises(ItemError) as raised:
        read_tensors(body, 3)
    assert raised.value.code in ("bad_request", "too_many_images")


def test_an_answer_in_bytes() -> None:
    tensors: dict[str, Any] = {
        "scores": np.array([[0.5, 1]], dtype=np.float32),
        "labels": ("é", "b"),
        "fired": np.array([[True, False]]),
    }
    asked = (("labels", True), ("scores", False), ("fired", True))
    body, kind, headers = write_tensors({"id": "1"}, tensors, asked)
    length = int(headers["Inference-Header-Content-Length"])
    assert kind == "application/octet-stream"
    assert body[length:] == b"\2\0\0\0\xc3\xa9\1\0\0\0b" + b"\1\0"
    assert json.loads(body[:length]) == {
        "id": "1",
        "outputs": [
            {"name": "labels", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}},
            {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.0]},
            {"name": "fired", "datatype": "BOOL", "shape": [1, 2], "parameters": {"binary_data_size": 2}},
        ],
    }
