"""A request → its images and its options.

Forms that are understood: raw bytes; the fields of a form; JSON with base64; KServe v1 `instances`; KServe v2 `inputs`.
The shape of the body tells them apart.
"""

import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handler.errors import (
    BadBase64,
    BadJson,
    BadRequest,
    ExplainUnsupported,
    FormEncoded,
    ItemError,
    NoPayload,
    NotAnImage,
    TooManyBytes,
    TooManyImages,
    attempt,
)
from handler.messages import Request
from handler.options import Options, parse_options
from handler.settings import Limits

Protocol = Literal["native", "v1", "v2"]

# data, image_2, file[3]: a server may keep one field of each name alone, so several images need several names.
IMAGE_FIELD = re.compile(r"(data|image|file|body)s?([._-]?\d{1,4}|\[\d{0,4}\])?")
DATA_URL = re.compile(r"data:[\w.+/-]*(;[\w=.+-]+)*;base64,", re.A)
JSON_IMAGE_KEYS = ("image", "images", "data")
WRAPPER_KEYS = ("b64", "image", "data", "image_bytes")


@dataclass(frozen=True)
class Task:
    """What is to be done for one request. Either `error` refuses all of it, or each image has its bytes or an error."""

    protocol: Protocol
    payloads: tuple[bytes | ItemError, ...] = ()
    many: bool = True  # answered with a list, even of one image
    options: Options | None = None
    id: str | None = None  # KServe v2 sends it back
    error: ItemError | None = None


class Parser:
    """Knows what the model accepts. `parse` never raises: a refusal is part of the task."""

    def __init__(self, labels: Sequence[str], defaults: Options, limits: Limits) -> None:
        self._indices = {label: index for index, label in enumerate(labels)}
        self._defaults = defaults
        self._limits = limits

    def parse(self, request: Request) -> Task:
        protocol = _protocol(request)
        task = attempt(lambda request: self._task(request, protocol), request)
        return Task(protocol, error=task) if isinstance(task, ItemError) else task

    def _task(self, request: Request, protocol: Protocol) -> Task:
        body, headers = request.body, request.headers
        if request.route == "explain":
            raise ExplainUnsupported
        if headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
            raise FormEncoded
        if request.fields:
            return self._form(request.fields, headers)
        if isinstance(body, dict):
            return self._json_object(body, protocol, headers)
        if isinstance(body, list):
            return self._images(protocol, body, True, {}, headers)
        return self._raw(body, headers)

    def _raw(self, body: object, headers: Mapping[str, str]) -> Task:
        is_json = headers.get("content-type", "").lower().startswith("application/json")
        if body is None or body in (b"", ""):
            raise NoPayload
        if isinstance(body, bytes | bytearray):
            if is_json:
                raise BadJson
            return self._images("native", [bytes(body)], False, {}, headers)
        if is_json:
            raise BadRequest('Expected {"image": base64}, a list of base64 strings, or a KServe request.')
        raise NotAnImage

    def _form(self, fields: Sequence[tuple[str, object]], headers: Mapping[str, str]) -> Task:
        images = [value for name, value in fields if IMAGE_FIELD.fullmatch(name) and value not in (b"", "")]
        options = {name: value for name, value in fields if not IMAGE_FIELD.fullmatch(name)}
        return self._images("native", images, len(images) > 1, options, headers)

    def _json_object(self, body: dict[str, Any], protocol: Protocol, headers: Mapping[str, str]) -> Task:
        fields = dict(body)
        if protocol == "v1":
            return self._images(protocol, _sequence("instances", fields.pop("instances")), True, fields, headers)
        if protocol == "v2":
            return self._v2(body, headers)
        given = [key for key in JSON_IMAGE_KEYS if key in fields]
        if len(given) > 1:
            raise BadRequest(f"{given[0]} and {given[1]} were both sent. Send one of them.")
        images = fields.pop(given[0]) if given else []
        many = isinstance(images, list)
        return self._images(protocol, images if many else [images], many, fields, headers)

    def _v2(self, body: dict[str, Any], headers: Mapping[str, str]) -> Task:
        inputs, fields, request_id = body["inputs"], body.get("parameters", {}), body.get("id")
        if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
            raise BadRequest("inputs: expected one tensor of BYTES, each an image in base64.")
        if not isinstance(fields, dict):
            raise BadRequest("parameters: expected an object.")
        if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 256):
            raise BadRequest("id: expected a string of at most 256 characters.")
        if inputs[0].get("datatype") != "BYTES":
            raise BadRequest("inputs[0].datatype: expected BYTES.")
        data = _sequence("inputs[0].data", inputs[0].get("data"))
        shape = inputs[0].get("shape")
        if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 2**31 for side in shape):
            raise BadRequest("inputs[0].shape: expected a list of integers.")
        if len(shape) > 8 or math.prod(shape) != len(data):
            raise BadRequest("inputs[0].shape: does not fit the number of elements in data.")
        return self._images("v2", data, True, fields, headers, request_id)

    def _images(
        self,
        protocol: Protocol,
        images: Sequence[object],
        many: bool,
        fields: Mapping[str, object],
        headers: Mapping[str, str],
        request_id: str | None = None,
    ) -> Task:
        options = parse_options(fields, headers, self._indices, self._defaults)
        if not images:
            raise NoPayload
        if len(images) > self._limits.max_images:
            raise TooManyImages(f"The request has {len(images)} images, more than {self._limits.max_images}.")
        payloads = tuple(attempt(self._payload, image) for image in images)
        return Task(protocol, payloads, many, options, request_id)

    def _payload(self, image: object) -> bytes:
        if isinstance(image, bytes | bytearray):
            return bytes(image)
        for _ in range(2):  # {"b64": …}, or TensorFlow Serving's {"image_bytes": {"b64": …}}
            if isinstance(image, dict) and len(image) == 1:
                key, inner = next(iter(image.items()))
                image = inner if key in WRAPPER_KEYS else image
        if not isinstance(image, str):
            raise BadRequest('Expected the image as a base64 string, a data URL or {"b64": base64}.')
        return _from_base64(image, self._limits.max_image_bytes)


def _protocol(request: Request) -> Protocol:
    if isinstance(request.body, dict):
        return "v1" if "instances" in request.body else "v2" if "inputs" in request.body else "native"
    return "native"


def _from_base64(text: str, max_bytes: int) -> bytes:
    if text.startswith("data:"):
        prefix = DATA_URL.match(text)
        if prefix is None:
            raise BadBase64("The data URL is not one of base64: expected data:image/…;base64,…")
        text = text[prefix.end() :]
    text = "".join(text.split())
    if not text:
        raise NoPayload
    if len(text) // 4 * 3 - 2 > max_bytes:
        raise TooManyBytes(f"The image has more than {max_bytes} bytes.")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise BadBase64 from None


def _sequence(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequest(f"{name}: expected a list.")
    return value
