import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.errors import ItemError
from handler.requests import Parser, Request
from handler.settings import Limits, Settings

LIMITS = Limits(max_images=3, max_image_bytes=1024)
PARSER = Parser(("ant", "bee", "cat"), np.array([0.4, 0.5, 0.6]), Settings("x", limits=LIMITS))
IMAGE = b"\x89PNG any bytes"
B64 = base64.b64encode(IMAGE).decode()
JSON = {"Content-Type": "application/json"}


def _json(body: object) -> Request:
    return PARSER.parse({"body": body}, JSON)


def _error(request: Request) -> str:
    assert request.error is not None
    assert not request.payloads
    return request.error.code


def _v2(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [B64]} | changes
    return {"inputs": [{key: value for key, value in tensor.items() if value is not ...}]}


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_raw_bytes(kind: type) -> None:
    request = PARSER.parse({"body": kind(IMAGE)}, {"Content-Type": "image/png"})
    assert (request.protocol, request.many, request.payloads, request.error) == ("native", False, (IMAGE,), None)


@pytest.mark.parametrize(
    "name", ["data", "image", "file", "images", "image1", "image_2", "file-3", "data[4]", "data[]"]
)
def test_form_fields_that_hold_an_image(name: str) -> None:
    request = PARSER.parse({name: bytearray(IMAGE)}, {})
    assert (request.payloads, request.many) == ((IMAGE,), False)


def test_several_images_in_a_form_keep_their_order() -> None:
    request = PARSER.parse({"image2": b"2", "image1": b"1", "top_k": b"1"}, {})
    assert (request.payloads, request.many) == ((b"2", b"1"), True)
    assert request.options is not None
    assert request.options.top_k == 1


def test_grpc_with_an_option() -> None:
    request = PARSER.parse({"body": IMAGE, "threshold": b"0.2"}, {})
    assert request.payloads == (IMAGE,)
    assert request.options is not None
    assert request.options.thresholds.tolist() == [0.2] * 3


@pytest.mark.parametrize("name", ["photo", "datum", "image12345", "xdata", "\n"])
def test_other_form_fields_are_refused(name: str) -> None:
    assert _error(PARSER.parse({"data": IMAGE, name: IMAGE}, {})) == "bad_option"


@pytest.mark.parametrize(
    "body",
    [
        {"image": B64},
        {"data": B64},
        {"image": {"b64": B64}},
        {"image": f"data:image/png;base64,{B64}"},
        {"image": f"data:;base64,{B64}"},
        {"image": f"data:image/svg+xml;charset=utf-8;base64,{B64}"},
        {"image": "\n".join(B64)},
    ],
)
def test_json_of_one_image(body: object) -> None:
    request = _json(body)
    assert (request.protocol, request.many, request.payloads) == ("native", False, (IMAGE,))


@pytest.mark.parametrize(
    "body",
    [[B64, B64], {"image": [B64, B64]}, {"images": [B64, {"b64": B64}]}, [{"image": B64}, {"data": B64}]],
)
def test_json_of_several_images(body: object) -> None:
    request = _json(body)
    assert (request.protocol, request.many, request.payloads) == ("native", True, (IMAGE, IMAGE))


def test_a_list_of_one_is_answered_with_a_list() -> None:
    assert _json([B64]).many


def test_json_options() -> None:
    options = _json({"image": B64, "threshold": {"cat": 0.1}, "top_k": 0, "all_scores": True}).options
    assert options is not None
    assert options.thresholds.tolist() == [0.4, 0.5, 0.1]
    assert (options.top_k, options.all_scores) == (0, True)


@pytest.mark.parametrize("instance", [B64, {"b64": B64}, {"image_bytes": {"b64": B64}}, {"data": B64}])
def test_kserve_v1(instance: object) -> None:
    request = _json({"instances": [instance], "top_k": 1})
    assert (request.protocol, request.many, request.payloads) == ("v1", True, (IMAGE,))
    assert request.options is not None
    assert request.options.top_k == 1


def test_kserve_v2() -> None:
    request = _json({**_v2(shape=[2, 1], data=[B64, B64]), "id": "42", "parameters": {"top_k": 1}})
    assert (request.protocol, request.payloads, request.id) == ("v2", (IMAGE, IMAGE), "42")
    assert request.options is not None
    assert request.options.top_k == 1


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": []},
        {"inputs": [{}, {}]},
        {"inputs": {}},
        {"inputs": ["x"]},
        _v2(datatype="FP32"),
        _v2(datatype=...),
        _v2(data=...),
        _v2(data=B64),
        _v2(shape=...),
        _v2(shape=[2]),
        _v2(shape=[-1, -1]),
        _v2(shape=[1.0]),
        _v2(shape=[True]),
        _v2(shape=[2**31, 2**31]),
        _v2(shape=[1] * 9),
        {**_v2(), "id": 5},
        {**_v2(), "id": "x" * 257},
        {**_v2(), "parameters": []},
    ],
)
def test_malformed_kserve_v2(body: object) -> None:
    request = _json(body)
    assert _error(request) == "bad_request"
    assert request.protocol == "v2"


@pytest.mark.parametrize(
    ("row", "headers", "code"),
    [
        ({"body": b""}, {}, "no_payload"),
        ({"body": bytearray()}, {}, "no_payload"),
        ({"body": ""}, {}, "no_payload"),
        ({}, {}, "no_payload"),
        ({"data": b""}, {}, "no_payload"),
        ({"threshold": b"0.5"}, {}, "no_payload"),
        ({"body": b"{"}, JSON, "bad_json"),
        ({"body": b"{"}, {"content-type": "Application/JSON; charset=utf-8"}, "bad_json"),
        ({"body": "words"}, {"Content-Type": "text/plain"}, "not_an_image"),
        ({"body": "words"}, JSON, "bad_request"),
        ({"body": 5}, JSON, "bad_request"),
        ({"body": {"garbage\ufffd": b""}}, {}, "bad_option"),
        ({"garbage\ufffd": b""}, {"Content-Type": "application/x-www-form-urlencoded"}, "form_encoded"),
        ({"data": IMAGE}, {"explain": "True"}, "explain_unsupported"),
        ({"body": {}}, JSON, "no_payload"),
        ({"body": []}, JSON, "no_payload"),
        ({"body": {"image": []}}, JSON, "no_payload"),
        ({"body": {"instances": []}}, JSON, "no_payload"),
        ({"body": {"instances": B64}}, JSON, "bad_request"),
        ({"body": {"image": B64, "data": B64}}, JSON, "bad_request"),
        ({"body": {"image": B64, "treshold": 0.5}}, JSON, "bad_option"),
        ({"body": [B64] * 4}, JSON, "too_many_images"),
        ({f"image{index}": IMAGE for index in range(4)}, {}, "too_many_images"),
        ({"data": IMAGE, "top_k": b"9"}, {}, "bad_option"),
        ({"body": IMAGE}, {"X-Top-K": "9"}, "bad_option"),
    ],
)
def test_refusals(row: dict[str, Any], headers: dict[str, object], code: str) -> None:
    assert _error(PARSER.parse(row, headers)) == code


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("!!!", "bad_base64"),
        ("QUJ", "bad_base64"),
        ("QU==JD", "bad_base64"),
        ("é", "bad_base64"),
        ("data:image/png,abc", "bad_base64"),
        ("", "no_payload"),
        ("data:image/png;base64,", "no_payload"),
        ("A" * 2000, "too_many_bytes"),
        (None, "bad_request"),
        (5, "bad_request"),
        ([B64], "bad_request"),
        ({"url": "http://127.0.0.1/"}, "bad_request"),
        ({"b64": {"b64": {"b64": {"b64": B64}}}}, "bad_request"),
    ],
)
def test_a_bad_image_fails_alone(image: object, code: str) -> None:
    request = _json([B64, image, B64])
    assert request.error is None
    first, second, third = request.payloads
    assert (first, third) == (IMAGE, IMAGE)
    assert isinstance(second, ItemError)
    assert second.code == code


def test_byte_limit_of_base64_is_that_of_the_bytes() -> None:
    for size, fits in ((1024, True), (1027, False)):
        [payload] = _json({"image": base64.b64encode(bytes(size)).decode()}).payloads
        assert isinstance(payload, bytes) == fits


def test_form_fields_mixed_into_the_headers_are_not_taken_for_headers() -> None:
    headers: dict[str, object] = {"x-top-k": {"content-type": "text/plain"}, "explain": {"content-type": None}}
    assert PARSER.parse({"data": IMAGE}, headers).error is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(B64),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["image", "images", "data", "instances", "inputs", "threshold", "b64", "shape", "datatype"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(VALUES)
def test_any_json_gives_payloads_or_a_4xx(body: object) -> None:
    _check(_json(json.loads(json.dumps(body))))


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(["data", "image", "body", "top_k", "threshold"]) | st.text(), st.binary()),
    st.dictionaries(st.sampled_from(["Content-Type", "explain", "X-Threshold", "x-top-k"]), st.text()),
)
def test_any_form_gives_payloads_or_a_4xx(row: dict[str, Any], headers: dict[str, object]) -> None:
    _check(PARSER.parse(row, headers))


def _check(request: Request) -> None:
    errors = [one for one in (*request.payloads, request.error) if isinstance(one, ItemError)]
    assert all(400 <= error.status < 500 for error in errors)
    assert (request.error is None) == bool(request.payloads)
    assert len(request.payloads) <= LIMITS.max_images
