"""Undoes a Content-Encoding, with a bound on what a body may become."""

import zlib

from handler.errors import BadRequest, TooManyBytes, UnsupportedEncoding

MAX_BODY = 6_553_500  # bytes; TorchServe's own default
MAX_BODY_VARIABLE = "TS_MAX_REQUEST_SIZE"  # by which TorchServe learns of another; its workers read it, too
EITHER = 32 + zlib.MAX_WBITS  # zlib finds out whether it is gzip's format or its own, which HTTP calls deflate


def decoded(body: bytes, encoding: str, most: int) -> bytes:
    """The body as it was before the client compressed it, of `most` bytes at the most.

    encoding: the header, in any case. Raises UnsupportedEncoding, TooManyBytes or BadRequest.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedEncoding
    decompressor = zlib.decompressobj(EITHER)
    try:
        content = decompressor.decompress(body, most + 1)
    except zlib.error:
        raise BadRequest(f"The body is not what its Content-Encoding says: {name}.") from None
    if len(content) > most:
        raise TooManyBytes(f"The body is larger than {most} bytes when it is decompressed.")
    # One stream: thousands of empty ones would take long.
    if not decompressor.eof or decompressor.unused_data:
        raise BadRequest(f"The body is not one whole {name} stream.")
    return content
