"""How much memory it takes to decode the worst images side by side: prints, for each kind, bytes a pixel and thread,
and what handler/memory.py says. Run by test_memory.py in a process of its own, as the peak is one of the process."""

import json
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bench.costly import flat, with_scans
from bench.peak import Peak
from handler.decode import decode
from handler.memory import COEFFICIENTS, JPEG, OTHER
from handler.settings import Limits

SIDE = 3000  # pixels
SIZE = (SIDE, SIDE)
TURNED = 6  # the EXIF orientation


def main() -> None:
    threads = int(sys.argv[1])
    images = {
        "JPEG": (flat("RGB", "JPEG", SIZE, TURNED), JPEG),
        "JPEG, CMYK": (flat("CMYK", "JPEG", SIZE, TURNED), JPEG),
        "JPEG, progressive": (with_scans(10, SIZE), JPEG + COEFFICIENTS),
        "JPEG, CMYK, progressive": (flat("CMYK", "JPEG", SIZE, progressive=True), JPEG + COEFFICIENTS),
        "PNG, alpha": (flat("RGBA", "PNG", SIZE, TURNED), OTHER),
        "PNG, palette": (flat("P", "PNG", SIZE, TURNED, transparency=0), OTHER),
        "PNG, 16 bits": (flat("I;16", "PNG", SIZE, TURNED), OTHER),
        "GIF": (flat("P", "GIF", SIZE), OTHER),
        "TIFF": (flat("RGBA", "TIFF", SIZE, TURNED, compression="tiff_lzw"), OTHER),
        "WEBP, alpha": (flat("RGBA", "WEBP", SIZE, TURNED), OTHER),
        "WEBP, lossless": (flat("RGBA", "WEBP", SIZE, TURNED, lossless=True), OTHER),
    }
    for payload in (flat("RGB", "JPEG", (64, 64)), flat("RGBA", "WEBP", (64, 64))):
        decode(payload, Limits())  # loads the libraries
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        taken = pool.starmap(_taken, [(payload, threads) for payload, _ in images.values()], chunksize=1)
    found = [(round(each, 1), bound) for each, (_, bound) in zip(taken, images.values(), strict=True)]
    print(json.dumps(dict(zip(images, found, strict=True))))


def _taken(payload: bytes, threads: int) -> float:
    """Bytes a pixel and thread. In a process of its own, as the allocator keeps some of what it has had."""
    peak = Peak()
    with ThreadPoolExecutor(threads) as pool:
        shapes = list(pool.map(lambda payload: np.shape(decode(payload, Limits())), [payload] * 3 * threads))
    assert shapes == [(SIDE, SIDE, 3)] * 3 * threads
    return peak.bytes() / SIDE**2 / threads


if __name__ == "__main__":
    main()
