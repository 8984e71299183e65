import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.encoding import MAX_BODY
from handler.errors import ItemError
from handler.messages import Protocol, Request
from handler.options import Options
from handler.parser import Parser, Task
from handler.settings import Limits

LIMITS = Limits(max_images=3, max_image_bytes=1024)
PARSER = Parser(("ant", "bee", "cat"), Options(np.array([0.4, 0.5, 0.6]), 3, all_scores=False), LIMITS)
IMAGE = b"\x89PNG any bytes"
PNG = b"\x89PNG\r\n\x1a\n and more"
CHELSEA_START = b"\xff\xd8\xff\xe0"
B64 = base64.b64encode(IMAGE).decode()
JSON = {"content-type": "application/json"}


def _parse(body: object, headers: dict[str, str] | None = None, protocol: Protocol = "native") -> Task:
    return PARSER.parse(Request("id", "predict", headers or {}, body=body, protocol=protocol))


def _form(fields: dict[str, Any], headers: dict[str, str] | None = None) -> Task:
    return PARSER.parse(Request("id", "predict", headers or {}, tuple(fields.items())))


def _json(body: object) -> Task:
    """To the route that takes such a body."""
    keys = body if isinstance(body, dict) else {}
    return _parse(body, JSON, "v1" if "instances" in keys else "v2" if "inputs" in keys else "native")


def _error(task: Task) -> str:
    assert task.error is not None
    assert not task.payloads
    return task.error.code


def _v2(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [B64]} | changes
    return {"inputs": [{key: value for key, value in tensor.items() if value is not ...}]}


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_raw_bytes(kind: type) -> None:
    task = _parse(kind(IMAGE), {"content-type": "image/png"})
    assert (task.protocol, task.many, task.payloads, task.error) == ("native", False, (IMAGE,), None)


@pytest.mark.parametrize(
    "name", ["data", "image", "file", "images", "image1", "image_2", "file-3", "data[4]", "data[]"]
)
def test_form_fields_that_hold_an_image(name: str) -> None:
    task = _form({name: bytearray(IMAGE)})
    assert (task.payloads, task.many) == ((IMAGE,), False)


def test_several_images_in_a_form_keep_their_order() -> None:
    task = _form({"image2": b"2", "image1": b"1", "top_k": b"1"})
    assert (task.payloads, task.many) == ((b"2", b"1"), True)
    assert task.options is not None
    assert task.options.top_k == 1


def test_grpc_with_an_option() -> None:
    task = _form({"body": IMAGE, "threshold": b"0.2"})
    assert task.payloads == (IMAGE,)
    assert task.options is not None
    assert task.options.thresholds.tolist() == [0.2] * 3


@pytest.mark.parametrize("name", ["photo", "datum", "image12345", "xdata", "\n"])
def test_other_form_fields_are_refused(name: str) -> None:
    task = _form({"data": IMAGE, name: b"words"})
    assert _error(task) == "bad_option"
    assert "threshold, top_k, all_scores; a field named image, data or file" in str(task.error)


@pytest.mark.parametrize("name", ["photo", "img", "upload[]", "\n"])
def test_a_field_of_any_name_that_begins_as_an_image_is_one(name: str) -> None:
    assert _form({name: bytearray(PNG), "image": IMAGE}).payloads == (PNG, IMAGE)


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
    task = _json(body)
    assert (task.protocol, task.many, task.payloads) == ("native", False, (IMAGE,))


@pytest.mark.parametrize(
    "body",
    [[B64, B64], {"image": [B64, B64]}, {"images": [B64, {"b64": B64}]}, [{"image": B64}, {"data": B64}]],
)
def test_json_of_several_images(body: object) -> None:
    task = _json(body)
    assert (task.protocol, task.many, task.payloads) == ("native", True, (IMAGE, IMAGE))


def test_a_list_of_one_is_answered_with_a_list() -> None:
    assert _json([B64]).many


def test_json_options() -> None:
    options = _json({"image": B64, "threshold": {"cat": 0.1}, "top_k": 0, "all_scores": True}).options
    assert options is not None
    assert options.thresholds.tolist() == [0.4, 0.5, 0.1]
    assert (options.top_k, options.all_scores) == (0, True)


@pytest.mark.parametrize("instance", [B64, {"b64": B64}, {"image_bytes": {"b64": B64}}, {"data": B64}])
def test_kserve_v1(instance: object) -> None:
    task = _json({"instances": [instance], "top_k": 1})
    assert (task.protocol, task.many, task.payloads) == ("v1", True, (IMAGE,))
    assert task.options is not None
    assert task.options.top_k == 1


def test_kserve_v2() -> None:
    task = _json({**_v2(shape=[2, 1], data=[B64, B64]), "id": "42", "parameters": {"top_k": 1}})
    assert (task.protocol, task.payloads, task.id) == ("v2", (IMAGE, IMAGE), "42")
    assert task.options is not None
    assert task.options.top_k == 1


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
    task = _json(body)
    assert _error(task) == "bad_request"
    assert task.protocol == "v2"


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (None, {}, "no_payload"),
        (b"", {}, "no_payload"),
        (bytearray(), {}, "no_payload"),
        ("", {}, "no_payload"),
        pytest.param(b"[" + b"{}," * 100_000 + b"{}]", JSON, "bad_request", id="many elements"),
        (b"{", JSON, "bad_json"),
        (b"{", {"content-type": "Application/JSON; charset=utf-8"}, "bad_json"),
        ("{", {"content-type": "text/plain"}, "bad_json"),
        (b'"words"', JSON, "bad_request"),
        ("words", JSON, "bad_request"),
        (5, JSON, "bad_request"),
        ({"garbage\ufffd": b""}, {}, "bad_option"),
        ({}, JSON, "no_payload"),
        ([], JSON, "no_payload"),
        ({"image": []}, JSON, "no_payload"),
        ({"instances": [B64]}, JSON, "bad_request"),
        (_v2(), JSON, "bad_request"),
        ({"image": B64, "data": B64}, JSON, "bad_request"),
        ({"image": B64, "treshold": 0.5}, JSON, "bad_option"),
        ([B64] * 4, JSON, "too_many_images"),
        (IMAGE, {"x-top-k": "9"}, "bad_option"),
        (IMAGE, {"content-encoding": "br"}, "unsupported_encoding"),
        (IMAGE, {"content-encoding": "gzip"}, "bad_request"),
        (zlib.compress(bytes(MAX_BODY + 1)), {"content-encoding": "deflate"}, "too_many_bytes"),
        (IMAGE, {"content-type": "multipart/form-data"}, "bad_request"),
        (b"a=b", {"x-content-type": "Application/X-WWW-Form-Urlencoded"}, "form_encoded"),
    ],
)
def test_refused_bodies(body: object, headers: dict[str, str], code: str) -> None:
    assert _error(_parse(body, headers)) == code


@pytest.mark.parametrize(
    ("fields", "headers", "code"),
    [
        ({"data": b""}, {}, "no_payload"),
        ({"threshold": b"0.5"}, {}, "no_payload"),
        ({"garbage\ufffd": b""}, {"content-type": "application/x-www-form-urlencoded"}, "form_encoded"),
        ({f"image{index}": IMAGE for index in range(4)}, {}, "too_many_images"),
        ({"data": IMAGE, "top_k": b"9"}, {}, "bad_option"),
    ],
)
def test_refused_forms(fields: dict[str, Any], headers: dict[str, str], code: str) -> None:
    assert _error(_form(fields, headers)) == code


def test_explanations_are_refused() -> None:
    assert _error(PARSER.parse(Request("id", "explain", {}, (("data", IMAGE),)))) == "explain_unsupported"


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
    task = _json([B64, image, B64])
    assert task.error is None
    first, second, third = task.payloads
    assert (first, third) == (IMAGE, IMAGE)
    assert isinstance(second, ItemError)
    assert second.code == code


def test_byte_limit_of_base64_is_that_of_the_bytes() -> None:
    for size, fits in ((1024, True), (1027, False)):
        [payload] = _json({"image": base64.b64encode(bytes(size)).decode()}).payloads
        assert isinstance(payload, bytes) == fits


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
    st.dictionaries(st.sampled_from(["content-type", "x-threshold", "x-top-k"]), st.text()),
)
def test_any_form_gives_payloads_or_a_4xx(fields: dict[str, Any], headers: dict[str, str]) -> None:
    _check(_form(fields, headers))


def _check(task: Task) -> None:
    errors = [result for result in (*task.payloads, task.error) if isinstance(result, ItemError)]
    assert all(400 <= error.status < 500 for error in errors)
    assert (task.error is None) == bool(task.payloads)
    assert len(task.payloads) <= LIMITS.max_images


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "Application/JSON; charset=utf-8"},
        {"x-content-type": "x/y"},
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \r\n\t"])
def test_json_is_json_whatever_it_is_called(headers: dict[str, str], start: bytes) -> None:
    assert _parse(start + json.dumps({"image": B64}).encode(), headers).payloads == (IMAGE,)
    assert _parse(start + json.dumps([B64, B64]).encode(), headers).payloads == (IMAGE, IMAGE)
    assert _parse(start + json.dumps({"instances": [B64]}).encode(), headers, "v1").payloads == (IMAGE,)
    assert _parse(start + json.dumps(_v2()).encode(), headers, "v2").payloads == (IMAGE,)


@pytest.mark.parametrize("body", [b'{"inputs": [', b"AAA", b'"AAA"', b"5", b"null", b"", b"\xff", CHELSEA_START])
@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_route_tells_the_protocol_also_of_what_is_broken(body: bytes, protocol: Protocol) -> None:
    task = _parse(body, {}, protocol)
    assert task.protocol == protocol
    assert _error(task) in ("bad_json", "bad_request", "no_payload")


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("Deflate", zlib.compress)])
def test_compressed_bodies(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    for content in (IMAGE, json.dumps({"image": B64}).encode()):
        assert _parse(compress(content), {"content-encoding": encoding}).payloads == (IMAGE,)


def test_the_query_of_invocations_goes_with_any_body() -> None:
    for body in (IMAGE, json.dumps({"image": B64}).encode(), {"image": B64}):
        task = PARSER.parse(Request("id", fields=(("top_k", "1"),), body=body))
        assert task.options is not None
        assert (task.payloads, task.options.top_k) == ((IMAGE,), 1)
