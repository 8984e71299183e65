"""The fields of a form, multipart/form-data (RFC 7578).

TorchServe keeps the last of two fields with one name, so haproxy hides forms from it, and they are read here. Each step
is one search of the whole body in C: parsers that look at each byte in Python take seconds of a hostile body.
"""

import re
from email.message import Message

from handler.errors import BadRequest, TooManyImages

MOST_HEADERS = 1024  # bytes of one field's; what `email` makes of them takes time by the square
UNREADABLE = "The form can not be read."


def read_form(body: bytes, content_type: str, most: int) -> tuple[tuple[str, bytes], ...]:
    """Names and values, in the client's order. most: fields. Raises BadRequest or TooManyImages."""
    boundary = _parameter(content_type, "content-type", "boundary")
    if boundary is None or not 0 < len(boundary) <= 200:
        raise BadRequest(f"{UNREADABLE} Its Content-Type has no boundary: let the client's library write that header.")
    delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
    start = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if start == 1:
        raise BadRequest(f"{UNREADABLE} Its boundary is not that of its Content-Type.")
    fields: list[tuple[str, bytes]] = []
    position = start + len(delimiter)
    while not body.startswith(b"--", position):
        if len(fields) == most:
            raise TooManyImages(f"The form has more than {most} fields.")
        end = body.find(b"\r\n" + delimiter, position)
        # White space may stand after a boundary.
        line = body.find(b"\r\n", position, position + 100)
        headers = body.find(b"\r\n\r\n", line, line + MOST_HEADERS)
        if end < 0 or line < 0 or headers < 0 or headers > end:
            raise BadRequest(UNREADABLE)
        fields.append((_name(body[line + 2 : headers]), body[headers + 4 : end]))
        position = end + 2 + len(delimiter)
    return tuple(fields)


def _name(headers: bytes) -> str:
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() == "content-disposition":
            name = _parameter(value, "content-disposition", "name")
            if name is not None:
                return name
    raise BadRequest(f"{UNREADABLE} A field has no name.")


def _parameter(value: str, header: str, name: str) -> str | None:
    """Browsers write %22 for a quotation mark in a name, and other clients a backslash before it."""
    message = Message()
    message[header] = re.sub(r"[\r\n]", " ", value)
    parameter = message.get_param(name, header=header)
    if isinstance(parameter, tuple):  # RFC 2231
        return parameter[2]
    return parameter
