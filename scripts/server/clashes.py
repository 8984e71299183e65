"""Settings of the front end, an archive and the environment that contradict each other."""

import json
from collections.abc import Iterator, Sequence

from handler.errors import LoadError
from handler.watchdog import MOST
from scripts.archive.manifest import Archive
from scripts.archive.outline import Outline, read_outline
from scripts.server.frontend import FrontEnd

# The fewest bytes that a pixel of a JPEG takes. At Pillow's default quality scikit-image's photos take 0.15 (chelsea,
# astronaut) to 0.19 (motorcycle).
JPEG_BYTES = 0.15
BASE64 = 4 / 3
# Bytes of a label in an answer, without its name: once in `scores`, and in each of `labels` and `top_k`.
SCORE, LABEL = 30, 100


def read_clashes(front: FrontEnd, archives: Sequence[Archive]) -> tuple[list[Outline], list[str]]:
    """The outlines that can be read, and a line for each clash and for each archive whose settings can't be read.
    Clashes within the front end are a FrontEndError when it is read."""
    outlines, clashes = [], []
    for archive in archives:
        try:
            outlines.append(read_outline(archive))
        except LoadError as error:
            clashes.append(str(error))
    return outlines, [clash for outline in outlines for clash in find_clashes(front, outline)] + clashes


def find_clashes(front: FrontEnd, outline: Outline) -> list[str]:
    return [f"{outline.archive}: {clash}" for clash in _clashes(front, outline)]


def _clashes(front: FrontEnd, model: Outline) -> Iterator[str]:
    server, limits = model.server, model.settings.limits
    queue = server.jobQueueSize or front.job_queue_size
    if queue < server.batchSize:
        yield f"batchSize {server.batchSize} is over the queue of {queue}: a batch can't fill, each waits maxBatchDelay"
    if server.maxBatchDelay >= front.request_timeout * 1000:
        yield f"maxBatchDelay {server.maxBatchDelay} ms is over REQUEST_TIMEOUT {front.request_timeout} s: all get 504"
    if server.clientTimeoutInMills and server.maxBatchDelay >= server.clientTimeoutInMills:
        yield (
            f"maxBatchDelay {server.maxBatchDelay} ms is over clientTimeoutInMills {server.clientTimeoutInMills}: "
            "requests are dropped while their batch fills"
        )
    if server.responseTimeout >= front.request_timeout:
        yield (
            f"responseTimeout {server.responseTimeout} s is over REQUEST_TIMEOUT {front.request_timeout} s: clients "
            "get 504 while the worker may still answer"
        )
    decoding = server.batchSize * limits.max_decode_seconds
    if decoding > MOST * server.responseTimeout:
        yield (
            f"batchSize {server.batchSize}, each with max_decode_seconds {limits.max_decode_seconds:g}, is over "
            f"{MOST:.0%} of responseTimeout {server.responseTimeout} s: on one core such a batch ends the worker"
        )
    base64 = int(limits.max_image_bytes * BASE64)
    if base64 > front.max_request_size:
        yield (
            f"max_image_bytes {limits.max_image_bytes} is {base64} as base64, over max_request_size "
            f"{front.max_request_size}: such an image gets 413 before the handler can say why"
        )
    photo = int(limits.max_pixels * JPEG_BYTES)
    if photo > limits.max_image_bytes:
        yield (
            f"max_pixels {limits.max_pixels} takes {photo} bytes or more as JPEG, over max_image_bytes "
            f"{limits.max_image_bytes}: such a photo can't be sent"
        )
    # A worker sends all answers of a batch in one message.
    image = sum(SCORE + 2 * LABEL + 3 * len(json.dumps(name)) for name in model.labels)
    answers = server.batchSize * limits.max_images * image
    if answers > front.max_response_size:
        yield (
            f"batchSize {server.batchSize}, each with max_images {limits.max_images} and all scores of "
            f"{len(model.labels)} labels, can be {answers} bytes, over max_response_size {front.max_response_size}: "
            "such an answer ends the worker"
        )
