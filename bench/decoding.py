#!/usr/bin/env python3
"""What the most costly images that the limits admit, and some that they refuse, cost to decode: processor seconds and
megabytes, each in a process of its own.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence

from bench.costly import LARGE, MEDIUM, SMALL, flat, noisy, with_chunks, with_extensions, with_scans, with_segments
from bench.peak import Peak
from handler.decode import decode
from handler.errors import ItemError
from handler.settings import Limits

SIDE = 256  # pixels that the pipeline needs of the shorter side
TURNED = 6  # the EXIF orientation


def images() -> dict[str, bytes]:
    """By what they are."""
    return {
        "JPEG, 50 megapixels, noise": noisy("JPEG", LARGE, quality=12),
        "the same, progressive, 10 scans": noisy("JPEG", LARGE, quality=12, progressive=True),
        "JPEG, 50 megapixels, 12 scans": with_scans(12),
        "JPEG, 6 megapixels, 100 scans": with_scans(100, SMALL),
        "JPEG, 50 megapixels, 100 scans": with_scans(100),
        "JPEG, 50 megapixels, 3,000 scans": with_scans(3000),
        "JPEG, two million segments": with_segments(2_000_000),
        "WebP, 50 megapixels, alpha": flat("RGBA", "WEBP", LARGE, lossless=True),
        "WebP, 17 megapixels, alpha, turned": flat("RGBA", "WEBP", MEDIUM, TURNED, lossless=True),
        "WebP, 17 megapixels, noise": noisy("WEBP", MEDIUM, quality=50, method=0),
        "PNG, 17 megapixels, alpha, turned": flat("RGBA", "PNG", MEDIUM, TURNED),
        "PNG, 17 megapixels, palette with transparency": flat("P", "PNG", MEDIUM, TURNED, transparency=0),
        "PNG, 17 megapixels, 16 bits": flat("I;16", "PNG", MEDIUM, TURNED),
        "PNG, 800,000 chunks": with_chunks(800_000),
        "GIF, 17 megapixels": flat("P", "GIF", MEDIUM),
        "GIF, three million comments": with_extensions(3_000_000),
        "TIFF, 17 megapixels, group 4": flat("1", "TIFF", MEDIUM, TURNED, compression="group4"),
        "TIFF, 17 megapixels, LZW, alpha": flat("RGBA", "TIFF", MEDIUM, TURNED, compression="tiff_lzw"),
        "BMP, 3 megapixels, noise": noisy("BMP", (2000, 1600)),
    }


def cost(payload: bytes, shortest_side: int | None) -> tuple[str, float, float]:
    """The code of the error or `ok`, processor seconds, and megabytes above those before. For a process of its own."""
    peak, started = Peak(), time.process_time()
    try:
        decode(payload, Limits(), shortest_side)
        code = "ok"
    except ItemError as error:
        code = error.code
    return code, time.process_time() - started, peak.bytes() / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exact", action="store_true", help="decode a JPEG whole")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    side = None if options.exact else SIDE
    for kind in ("JPEG", "WEBP", "PNG", "GIF", "TIFF", "BMP"):
        decode(flat("RGB", kind, (64, 64)), Limits(), side)  # loads the libraries
    made = images()
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        costs = pool.starmap(cost, [(payload, side) for payload in made.values()], chunksize=1)
    rows = [(name, len(payload), *taken) for (name, payload), taken in zip(made.items(), costs, strict=True)]
    if options.json:
        keys = ("image", "bytes", "code", "seconds", "megabytes")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        print("| image | bytes | answer | processor s | MB |\n|---|---:|---|---:|---:|")
        for name, size, code, seconds, megabytes in rows:
            print(f"| {name} | {size:,} | `{code}` | {seconds:.2f} | {megabytes:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
