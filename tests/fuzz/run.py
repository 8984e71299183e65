#!/usr/bin/env python3
"""Fuzzes the harness with atheris, led by the lines of the handler and of Pillow that an input reaches.

`make fuzz` runs it as `python -m fuzz.run SECONDS NEW KEPT...`: inputs that reach something new go into the folder NEW,
and those in the folders KEPT are where it starts. An input that breaks the harness is written to the current directory,
and the exit code is not 0. It needs atheris, which is on Linux only.
"""

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["handler", "PIL"]):
    import PIL.BmpImagePlugin
    import PIL.GifImagePlugin
    import PIL.JpegImagePlugin
    import PIL.MpoImagePlugin
    import PIL.PngImagePlugin
    import PIL.TiffImagePlugin
    import PIL.WebPImagePlugin  # noqa: F401
    from fuzz import harness

from fuzz.seeds import seeds

LONGEST = 30  # seconds for one input, on a busy machine
MEMORY = 1024  # megabytes of the process
LENGTH = 4096  # bytes of an input


def main() -> None:
    seconds, new, *kept = sys.argv[1:]
    folder = Path(new)
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    limits = [f"-timeout={LONGEST}", f"-rss_limit_mb={MEMORY}", f"-max_len={LENGTH}", f"-max_total_time={seconds}"]
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", new, *kept], harness.send)
    atheris.Fuzz()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # the traceback of what nobody foresaw
    main()
