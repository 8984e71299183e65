#!/usr/bin/env python3
"""Compares simplejpeg with Pillow: pixels, refusals, and processor time. docs/decisions/0033 has what came of it.

.venv/bin/uv pip install --no-config --target build/simplejpeg --no-deps simplejpeg==1.9.0
PYTHONPATH=build/simplejpeg .venv/bin/python bench/jpeg_decoders.py
"""

import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image

from bench.costly import LARGE, SMALL, noisy, with_scans

SIDE = 448  # pixels that the demo's pipeline needs of the shorter side, with the margin of handler/decode.py
PHOTOS = Path(skimage.__file__).parent / "data"
CORPUS = Path(__file__).parents[1] / "tests/fuzz/corpus"
BROKEN = 200  # files of each kind
Pixels = NDArray[np.uint8]
Decoder = Callable[[bytes, int | None], Pixels]


def by_pillow(content: bytes, side: int | None) -> Pixels:
    image = Image.open(BytesIO(content), formats=("JPEG", "MPO"))
    if side is not None:
        image.draft(None, (side, side))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def by_simplejpeg(content: bytes, side: int | None, strict: bool = True) -> Pixels:
    """Not strict, it decodes truncated files, too, as Pillow does not."""
    import simplejpeg

    least = side or 0
    pixels: Pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=least, min_width=least, strict=strict)
    return pixels


def files() -> Iterator[tuple[str, bytes, int | None]]:
    """Kind, content and side."""
    photos = [_photo("chelsea.png"), _photo("coffee.png")]
    for photo in photos:
        for width in (333, 500, 641, 1280):
            small = photo.resize((width, width * 3 // 4 + 1))
            for side in (None, SIDE):
                for progressive in (False, True):
                    for subsampling in (0, 1, 2):
                        kind = (
                            f"{'progressive' if progressive else 'baseline'}, {'whole' if side is None else 'scaled'}"
                        )
                        yield kind, _jpeg(small, subsampling=subsampling, progressive=progressive), side
                yield "grey", _jpeg(small.convert("L")), side
                yield "CMYK", _jpeg(small.convert("CMYK")), side
    draw = random.Random(0)  # noqa: S311 - the same files each time
    for number in range(BROKEN):
        sound = _jpeg(photos[0].resize((200, 150)), progressive=bool(number % 2))
        yield "truncated", sound[: draw.randrange(20, len(sound))], None
        broken = bytearray(sound)
        for _ in range(3):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        yield "three bytes changed", bytes(broken), None
        yield "bytes behind the end", sound + draw.randbytes(60), None
    for path in sorted(CORPUS.iterdir()):
        content = path.read_bytes()
        if (start := content.find(b"\xff\xd8\xff")) >= 0:
            yield "corpus of the fuzzer", content[start:], None


def verdict(content: bytes, side: int | None) -> str:
    pillow, other = _outcome(by_pillow, content, side), _outcome(by_simplejpeg, content, side)
    if pillow is None or other is None:
        if pillow is other:
            return "both refuse"
        return "only Pillow refuses" if pillow is None else "only simplejpeg refuses"
    return "the same pixels" if np.array_equal(pillow, other) else "other pixels"


def seconds(decoder: Decoder, content: bytes, side: int | None, rounds: int) -> float:
    """Of a processor; the median."""
    taken = []
    for _ in range(rounds):
        started = time.thread_time()
        decoder(content, side)
        taken.append(time.thread_time() - started)
    return median(taken)


def main() -> int:
    warnings.filterwarnings("ignore", module="PIL")
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, content, side in files():
        verdicts[kind][verdict(content, side)] += 1
    for kind, counts in verdicts.items():
        print(f"{kind:24} {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
    photo = _photo("chelsea.png")
    timed = {f"{width} pixels wide": (_jpeg(photo.resize((width, width * 3 // 4))), 31) for width in (500, 1280, 4032)}
    timed["50 megapixels, noise"] = noisy("JPEG", LARGE, quality=12), 1
    timed["6 megapixels, 100 scans"] = with_scans(100, SMALL), 1
    for name, (content, rounds) in timed.items():
        # Pillow decodes the last one, which a strict simplejpeg refuses.
        lenient = partial(by_simplejpeg, strict=False)
        pillow, other = (seconds(decoder, content, SIDE, rounds) for decoder in (by_pillow, lenient))
        print(f"{name:24} Pillow {1000 * pillow:.2f} ms, simplejpeg {1000 * other:.2f} ms, ratio {other / pillow:.2f}")
    return 0


def _photo(name: str) -> Image.Image:
    with Image.open(PHOTOS / name) as opened:
        return opened.convert("RGB")


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def _outcome(decoder: Decoder, content: bytes, side: int | None) -> Pixels | None:
    try:
        return decoder(content, side)
    except Exception:  # both raise nearly anything
        return None


if __name__ == "__main__":
    sys.exit(main())
