"""One fuzzed input on the whole way of a client's bytes before the network: request → images and options → pixels.

The first byte says how the request came (seeds.py writes such inputs). Nothing may raise, and nothing may end as
`internal_error`, which is what an unforeseen exception becomes.
"""

import json
from typing import cast, get_args

import numpy as np

from handler.decode import decode
from handler.errors import ItemError, attempt
from handler.messages import Protocol, Request
from handler.meter import Allowance
from handler.options import Options
from handler.parser import Parser, Task
from handler.settings import Limits

LABELS = ("tabby", "tiger cat", "Persian")
# Small enough that no image takes long: bench/decoding.py measures what the costly ones take.
LIMITS = Limits(max_image_bytes=2**17, max_pixels=2**18, max_pixels_other=2**16, max_decode_seconds=1)
SIDE = 32  # pixels, so that large JPEGs are decoded at a part of their size
RAW, JSON, FORM, HEADERS = range(4)

_parser = Parser(LABELS, Options(np.full(len(LABELS), 0.5), len(LABELS), all_scores=False), LIMITS)


def send(content: bytes) -> list[str]:
    """The codes of what became of the request, one an image; `ok` where it was decoded."""
    request = _request(content)
    if request is None:
        return []
    task = _parser.parse(request)
    codes = [task.error.code] if task.error else _decoded(task)
    assert "internal_error" not in codes, "an exception that nobody foresaw; its traceback is in the log"
    return codes


def _request(content: bytes) -> Request | None:
    """None where a server would have refused the body before the handler saw it."""
    kind, rest = content[0] % 4 if content else RAW, content[1:]
    if kind == JSON:
        try:
            body = json.loads(rest)
        except (ValueError, RecursionError):
            return None
        keys = body if isinstance(body, dict) else ()
        protocol: Protocol = "v1" if "instances" in keys else "v2" if "inputs" in keys else "native"
        return Request("fuzz", headers={"content-type": "application/json"}, body=body, protocol=protocol)
    if kind == FORM:
        parts = rest.split(b"\0\0\0")
        names = [part.decode(errors="replace") for part in parts[::2]]
        return Request("fuzz", fields=tuple(zip(names, map(bytearray, parts[1::2]), strict=False)))
    if kind == HEADERS:
        head, _, body = rest.partition(b"\n\n")
        lines = [line.partition(":") for line in head.decode("latin-1").split("\n")]
        headers = {name.lower(): value for name, _, value in lines}
        said = headers.get("x-protocol")
        protocol = cast(Protocol, said) if said in get_args(Protocol) else "native"
        return Request("fuzz", headers=headers, body=bytearray(body), protocol=protocol)
    return Request("fuzz", body=bytearray(rest))


def _decoded(task: Task) -> list[str]:
    allowance = Allowance(LIMITS.max_decode_seconds)
    codes = []
    for payload in task.payloads:
        pixels = attempt(lambda payload: decode(payload, LIMITS, SIDE, allowance=allowance), payload)
        if isinstance(pixels, ItemError):
            codes.append(pixels.code)
        else:
            height, width, channels = pixels.shape
            assert (channels, pixels.dtype.name) == (3, "uint8")
            assert height * width <= LIMITS.max_pixels
            codes.append("ok")
    return codes
