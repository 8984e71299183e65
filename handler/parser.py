"""A request → its images and its options.

Forms that are understood: raw bytes; the fields of a form; JSON with base64; KServe v1 `instances`; KServe v2 `inputs`.
The route says which protocol it is.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handler.body import Body, read_body
from handler.encoding import MAX_BODY
from handler.errors import (
    BadBase64,
    BadOption,
    BadRequest,
    ExplainUnsupported,
    ItemError,
    NoPayload,
    TooManyBytes,
    TooManyImages,
    attempt,
)
from handler.formats import SIGNATURES
from handler.messages import Protocol, Request
from handler.options import HEADERS, Options, parse_options, quoted
from handler.settings import Limits
from handler.tensors import read_tensors

# data, image_2, file[3]. A field of another name is an image, too, if it begins as one.
IMAGE_FIELD = re.compile(r"(data|image|file|body)s?([._-]?\d{1,4}|\[\d{0,4}\])?")
OTHER_FIELDS = 16  # of a form, beside its images
DATA_URL = re.compile(r"data:[\w.+/-]*(;[\w=.+-]+)*;base64,", re.A)
JSON_IMAGE_KEYS = ("image", "images", "data")
WRAPPER_KEYS = ("b64", "image", "data", "image_bytes")
KSERVE_KEYS = {"instances": "/v1/models/MODEL:predict", "inputs": "/v2/models/MODEL/infer"}


@dataclass(frozen=True)
class Task:
    """What is to be done for one request. Either `error` refuses all of it, or each image has its bytes or an error."""

    protocol: Protocol
    payloads: tuple[bytes | ItemError, ...] = ()
    many: bool = True  # answered with a list, even of one image
    options: Options | None = None
    id: str | None = None  # KServe v2 sends it back
    outputs: tuple[tuple[str, bool], ...] = ()  # KServe v2: the tensors to send, and whether as bytes after the JSON
    error: ItemError | None = None


class Parser:
    """Knows what the model accepts. `parse` never raises: a refusal is part of the task."""

    def __init__(self, labels: Sequence[str], defaults: Options, limits: Limits, max_body: int = MAX_BODY) -> None:
        """max_body: bytes that a compressed body may become."""
        self._indices = {label: index for index, label in enumerate(labels)}
        self._defaults = defaults
        self._limits = limits
        self._max_body = max_body

    def parse(self, request: Request) -> Task:
        task = attempt(self._task, request)
        return Task(request.protocol, error=task) if isinstance(task, ItemError) else task

    def _task(self, request: Request) -> Task:
        if request.route == "explain":
            raise ExplainUnsupported
        body = read_body(request, self._max_body, self._limits.max_images + OTHER_FIELDS)
        if request.protocol == "v2":
            return self._v2(body, request.headers)
        if body.image is not None:
            return self._form((*request.fields, ("body", body.image)), request.headers)
        if body.json is not None:
            return self._json(body.json, request)
        return self._form(body.fields, request.headers)

    def _form(self, fields: Sequence[tuple[str, object]], headers: Mapping[str, str]) -> Task:
        images, options = [], {}
        for name, value in fields:
            if name in HEADERS:
                options[name] = value
            elif IMAGE_FIELD.fullmatch(name) or (isinstance(value, bytes | bytearray) and SIGNATURES.match(value)):
                images.append(value)
            else:
                raise BadOption(
                    f"{quoted(name)} is no option, and holds no image. Options are {', '.join(HEADERS)}; a field "
                    "named image, data or file always holds one."
                )
        images = [image for image in images if image not in (b"", "")]
        return self._images("native", images, len(images) > 1, options, headers)

    def _json(self, body: object, request: Request) -> Task:
        options = dict(request.fields)
        if request.protocol == "v1":
            if not isinstance(body, dict) or "instances" not in body:
                raise BadRequest('Expected {"instances": [{"b64": base64}]}.')
            options |= body
            instances = _sequence("instances", options.pop("instances"))
            return self._images("v1", instances, True, options, request.headers)
        if isinstance(body, list):
            return self._images("native", body, True, options, request.headers)
        if not isinstance(body, dict):
            raise BadRequest('Expected {"image": base64} or a list of base64 strings.')
        options |= body
        for key, route in KSERVE_KEYS.items():
            if key in body:
                raise BadRequest(f"{key} is KServe's: send it to {route}.")
        given = [key for key in JSON_IMAGE_KEYS if key in options]
        if len(given) > 1:
            raise BadRequest(f"{given[0]} and {given[1]} were both sent. Send one of them.")
        value = options.pop(given[0]) if given else []
        images = value if isinstance(value, list) else [value]
        return self._images("native", images, images is value, options, request.headers)

    def _v2(self, body: Body, headers: Mapping[str, str]) -> Task:
        tensors = read_tensors(body, self._limits.max_images)
        task = self._images("v2", tensors.images, True, tensors.options, headers)
        return replace(task, id=tensors.id, outputs=tensors.outputs)

    def _images(
        self,
        protocol: Protocol,
        images: Sequence[object],
        many: bool,
        fields: Mapping[str, object],
        headers: Mapping[str, str],
    ) -> Task:
        options = parse_options(fields, headers, self._indices, self._defaults)
        if not images:
            raise NoPayload
        if len(images) > self._limits.max_images:
            raise TooManyImages(f"The request has {len(images)} images, more than {self._limits.max_images}.")
        payloads = tuple(attempt(self._payload, image) for image in images)
        return Task(protocol, payloads, many, options)

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
