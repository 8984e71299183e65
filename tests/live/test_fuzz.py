"""A thousand requests that nobody would send. None gets a 5xx, and the fixture `server` fails if one cost a worker."""

import json
import random
import uuid
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from samples import CATS, CHELSEA, Send, chelsea, encode, noise

# What a mutation begins with: each format that is read, small.
SEEDS = [
    chelsea(90, "JPEG", quality=60),
    chelsea(90, "JPEG", progressive=True),
    chelsea(60, "PNG"),
    chelsea(60, "WEBP"),
    chelsea(60, "GIF"),
    chelsea(40, "BMP"),
    chelsea(40, "TIFF", compression="tiff_lzw"),
    chelsea(40, "TIFF", compression="jpeg"),
    encode(noise(), "PNG", compress_level=0),
]
MUTATED, STRUCTURED = 600, 400
# Form-encoded bodies get a 500 from TorchServe itself (docs/api.md); in the container haproxy answers.
TYPES = [
    "application/json",
    "application/octet-stream",
    "image/jpeg",
    "text/plain",
    "multipart/form-data",
    "x/y;z=\t",
    "",
]

NAMES = ("image", "images", "data", "instances", "inputs", "b64", "shape", "datatype", "parameters", "id")
KEYS = st.sampled_from((*NAMES, "threshold", "top_k", "all_scores", "tabby"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _mutated(chance: random.Random) -> bytes:
    """A file with bytes changed, cut out, doubled or put in from another, mostly behind its head."""
    content = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 2, 5, 50))):
        place = chance.randrange(len(content)) if content else 0
        match chance.randrange(6):
            case 0:
                content[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                content[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            case 2:
                del content[place : place + chance.choice((1, 10, 1000))]
            case 3:
                content[place:place] = content[place : place + chance.choice((1, 10, 1000))]
            case 4:
                other = chance.choice(SEEDS)
                content[place:] = other[min(place, len(other)) :]
            case 5:
                del content[place:]
    return bytes(content)


def _check(response: requests.Response) -> None:
    """An answer, or a refusal with a code."""
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        body = response.json()
        assert {"error", "code", "predictions"} & set(body), body


def test_mutated_images(send: Send) -> None:
    seed = uuid.uuid4().int
    print(f"seed {seed}")
    chance = random.Random(seed)
    codes: dict[str, int] = {}
    for _ in range(MUTATED):
        content = _mutated(chance)
        try:
            response = send(data=content, headers={"Content-Type": "application/octet-stream"})
            _check(response)
        except Exception:
            print(f"body {content.hex()}")
            raise
        code = response.json().get("error", {}).get("code", "ok")
        codes[code] = codes.get(code, 0) + 1
    assert codes["ok"] > 10, codes
    assert codes["corrupt_image"] > 10, codes


# TorchServe answers 500 to a form with a name such as ":" (docs/api.md); in the container haproxy makes a 400 of it.
field_names = st.text("abcXYZ019_.-[]", min_size=1, max_size=30)
header_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


@settings(max_examples=STRUCTURED, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=False)
@given(
    body=st.one_of(
        st.fixed_dictionaries({"json": json_values}),
        st.fixed_dictionaries({"data": st.binary(max_size=200)}),
        st.fixed_dictionaries({"files": st.dictionaries(KEYS | field_names, st.binary(max_size=50), max_size=4)}),
    ),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "Content-Type": st.sampled_from(TYPES),
            "X-Threshold": header_text,
            "X-Top-K": header_text,
            "X-All-Scores": header_text,
            "X-Request-Start": header_text,
            "describe": header_text,
            "explain": header_text,
            "Accept": header_text,
        },
    ),
    path=st.sampled_from(["/predictions/cat-breeds", "/predictions/cat-breeds/1.0", "/v1/models/cat-breeds:predict"])
    | st.sampled_from(["/v2/models/cat-breeds/infer", "/explanations/cat-breeds", "/predictions/cat-breeds/1.0/a/b"]),
)
def test_structured_requests(send: Send, body: dict[str, Any], headers: dict[str, str], path: str) -> None:
    if "json" in body:
        body = {"data": json.dumps(body["json"])}
        headers = {"Content-Type": "application/json", **headers}
    _check(send(path, headers=headers, **body))


@pytest.fixture(autouse=True)
def serves_on(send: Send) -> Any:
    yield
    assert [label["name"] for label in send(data=CHELSEA).json()["labels"]] == CATS
