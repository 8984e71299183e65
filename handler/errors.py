"""What can go wrong, and what people are told of it.

An ItemError belongs to one image or to one request, never to its neighbours in the batch: it takes the item's place,
and the later stages pass it on. A LoadError stops a build or the start of a worker.
"""

import logging
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from handler.formats import SPELLED

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


def one_line(text: object) -> str:
    """An error's text, or any other, with each run of white space as one blank: messages are one line each."""
    return " ".join(str(text).split())


class LoadError(Exception):
    """A file is missing or wrong. The message is one line that names the file, the key and what was expected."""

    def __init__(self, source: object, problem: str) -> None:
        super().__init__(f"{source}: {problem}")


class Unavailable(LoadError):
    """Nothing is wrong, but it can't be had here: `handler.engine: auto` then takes another."""


class ItemError(Exception):
    """Owns its HTTP status, its machine-readable code and a message that is safe to send."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retry_after: ClassVar[int | None] = None  # seconds, where asking again may help
    default: ClassVar[str] = "The server failed on this image. Its log has the reason."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default)


class NoPayload(ItemError):
    status, code = 400, "no_payload"
    default = "No image was sent. Send its bytes as the body, or as a form field such as 'image'."


class BadJson(ItemError):
    status, code = 400, "bad_json"
    default = "The body is not valid JSON."


class BadBase64(ItemError):
    status, code = 400, "bad_base64"
    default = "The image is not valid base64."


class BadOption(ItemError):
    status, code = 400, "bad_option"


class BadRequest(ItemError):
    status, code = 400, "bad_request"


class ExplainUnsupported(ItemError):
    status, code = 400, "explain_unsupported"
    default = "This model gives no explanations. Use /predictions."


class TooManyBytes(ItemError):
    status, code = 413, "too_many_bytes"


class TooManyPixels(ItemError):
    status, code = 413, "too_many_pixels"


class TooManyImages(ItemError):
    status, code = 413, "too_many_images"


class NotAnImage(ItemError):
    status, code = 415, "not_an_image"
    default = f"The bytes are not an image in a supported format: {SPELLED}."


class UnsupportedImage(ItemError):
    status, code = 415, "unsupported_image"


class FormEncoded(ItemError):
    status, code = 415, "form_encoded"
    default = (
        "The body was sent as application/x-www-form-urlencoded, which curl --data-binary, axios and urllib add by "
        "themselves. Add the header 'Content-Type: application/octet-stream', or use `curl -T FILE` or a form."
    )


class UnsupportedEncoding(ItemError):
    status, code = 415, "unsupported_encoding"
    default = "The Content-Encoding is not supported. Send the body as it is, or as gzip or deflate."


class CorruptImage(ItemError):
    status, code = 422, "corrupt_image"
    default = "The image is truncated or corrupt."


class ExtremeAspectRatio(ItemError):
    status, code = 422, "extreme_aspect_ratio"


class TooCostly(ItemError):
    status, code = 422, "too_costly"


class UnsupportedSize(ItemError):
    status, code = 422, "unsupported_size"
    default = "This model's preprocessing can't bring an image of this size to its input shape."


class OutOfMemory(ItemError):
    status, code, retry_after = 503, "out_of_memory", 5
    default = "The server has no memory for this image now. Try again later."


def error_body(error: ItemError, index: int | None) -> dict[str, Any]:
    """The one shape of an error; index is the image's place in its request, None for the request as a whole."""
    return {"error": {"code": error.code, "message": str(error), "index": index}}


def attempt(stage: Callable[[In], Out], item: In | ItemError) -> Out | ItemError:
    """Runs a stage on an item, unless the item has failed already. A failure takes the item's place.

    An exception that is no ItemError is logged with its traceback. Its text may hold what a client sent: `log` writes
    it escaped, on one line.
    """
    if isinstance(item, ItemError):
        return item
    try:
        return stage(item)
    except ItemError as error:
        # Its traceback, and that of what caused it, hold the request's bytes, in a circle with the job that holds the
        # error: they would stay until Python's collector looks, which it seldom does.
        error.__context__ = None
        return error.with_traceback(None)
    except MemoryError:
        logger.exception("out of memory at an item")
        return OutOfMemory()
    except Exception:
        logger.exception("unforeseen failure of an item")
        return ItemError()
