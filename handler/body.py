"""A request → what it carries: an image's bytes, JSON, or the fields of a form.

The route and the headers tell which. A body without a telling Content-Type is JSON where the route takes nothing else,
or where it begins as no image does.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.encoding import decoded
from handler.errors import BadJson, BadRequest, FormEncoded, NoPayload
from handler.form import read_form
from handler.messages import Request

JSON_START = re.compile(rb"(\xef\xbb\xbf)?[ \t\r\n]*[\[{]")
JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json")
# KServe v2's binary extension: so many bytes of JSON, and then the tensors that it names.
JSON_LENGTH = "inference-header-content-length"

MOST_ELEMENTS = 100_000  # of JSON; an image in base64 is one


@dataclass(frozen=True)
class Body:
    """One of the three."""

    image: bytes | None = None
    json: Any = None
    fields: Sequence[tuple[str, object]] = ()
    tensors: bytes = b""  # KServe v2: what follows the JSON


def read_body(request: Request, max_bytes: int, max_fields: int) -> Body:
    """max_bytes: what a compressed body may become. max_fields: of a form. Raises ItemError."""
    body, headers = request.body, request.headers
    media = content_type(headers).partition(";")[0].strip().lower()
    if media == "application/x-www-form-urlencoded":
        raise FormEncoded
    if isinstance(body, str) and not JSON_TYPE.fullmatch(media):  # text/*, where TorchServe stands alone
        body = body.encode("utf-8", "surrogatepass")
    if not isinstance(body, bytes | bytearray):
        return Body(fields=request.fields) if body is None else Body(json=body)
    content = decoded(bytes(body), headers.get("content-encoding", ""), max_bytes)
    if not content:
        raise NoPayload
    if request.protocol == "native" and media == "multipart/form-data":
        return Body(fields=(*request.fields, *read_form(content, content_type(headers), max_fields)))
    if request.protocol == "v2" and JSON_LENGTH in headers:
        length = headers[JSON_LENGTH]
        if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > len(content):
            raise BadRequest("Inference-Header-Content-Length: expected the number of bytes of JSON in the body.")
        return Body(json=_parsed(content[: int(length)]), tensors=content[int(length) :])
    if request.protocol != "native" or JSON_TYPE.fullmatch(media) or JSON_START.match(content):
        return Body(json=_parsed(content))
    return Body(image=content)


def content_type(headers: Mapping[str, str]) -> str:
    """That of the client: haproxy gives TorchServe another, so that it hands over the body as it came."""
    return headers.get("x-content-type", headers.get("content-type", ""))


def _parsed(content: bytes) -> Any:
    # Base64 has none of these characters. Of 15 MB of empty objects Python would make 360.
    if sum(map(content.count, (b",", b"{", b"["))) > MOST_ELEMENTS:
        raise BadRequest(f"The JSON has more than {MOST_ELEMENTS:,} elements.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadJson from None
