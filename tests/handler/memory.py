"""How much memory it takes to decode the worst images side by side: prints bytes a pixel and thread. Run by
test_memory.py in a process of its own, as the peak is one of the process."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from handler.decode import decode
from handler.settings import Limits

SIDE = 3000  # pixels


def _encoded(mode: str, kind: str, **options: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned, which takes a copy
    buffer = BytesIO()
    Image.new(mode, (SIDE, SIDE)).save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def _status(key: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024


def main() -> None:
    threads = int(sys.argv[1])
    images = {
        "JPEG": _encoded("RGB", "JPEG"),
        "JPEG, CMYK": _encoded("CMYK", "JPEG"),
        "PNG, alpha": _encoded("RGBA", "PNG"),
        "PNG, palette": _encoded("P", "PNG", transparency=0),
        "WEBP, alpha": _encoded("RGBA", "WEBP"),
    }
    found = {}
    for name, payload in images.items():
        decode(payload, Limits())
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
        with ThreadPoolExecutor(threads) as pool:
            shapes = list(pool.map(lambda payload: np.shape(decode(payload, Limits())), [payload] * 3 * threads))
        assert shapes == [(SIDE, SIDE, 3)] * 3 * threads
        found[name] = (_status("VmHWM") - before) / SIDE**2 / threads
    print(json.dumps(found))


if __name__ == "__main__":
    main()
