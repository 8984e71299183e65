#!/usr/bin/env python3
"""Measures where the time from start to READY goes: Java, the worker's imports, the archive's load; and how long the
first answer then takes. Prints medians.

The libraries are imported one after the other, as the worker does, so their times add up to the worker's.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import requests
import skimage

from bench import failures
from scripts.archive.manifest import read_archive
from scripts.arguments import whole
from scripts.paths import DEMO
from scripts.server.ports import Ports
from scripts.server.progress import show_progress
from scripts.server.session import direct_session
from scripts.server.torchserve import ServerError, TorchServe

PHOTO = Path(skimage.__file__).parent / "data" / "chelsea.png"
BASE, ALBUMENTATIONS = "ts.torch_handler.base_handler", "cv2, albumentations"
IMPORTS = ("torch", BASE, ALBUMENTATIONS, "handler.adapter", "openvino")
PROGRAM = """
import json, os, time
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
taken = {}
from handler.hidden import hidden
for name in IMPORTS:
    started = time.perf_counter()
    with hidden("openvino.tools" if name == "openvino" else "openvino"):  # as the worker does
        exec("import " + name)
    taken[name] = time.perf_counter() - started
from pathlib import Path
import torch
from handler.classifier import Classifier
from scripts.archive.unpacking import unpacked
with unpacked(Path(ARCHIVE)) as directory:
    for name in ("load", "warm-up", "self-check"):
        started = time.perf_counter()
        if name == "load":
            classifier = Classifier.load(directory, torch.device("cpu"))
        elif name == "warm-up":
            classifier.warm_up()
        else:
            classifier.self_check(directory)
        taken[name] = time.perf_counter() - started
print(json.dumps(taken))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    photo = PHOTO.read_bytes()
    rounds = []
    for number in range(options.rounds):
        show_progress(f"round {number + 1} of {options.rounds}")
        rounds.append(_server(options.archive, options.port, photo) | _worker(options.archive))
    show_progress("")
    medians = {name: round(statistics.median(seconds[name] for seconds in rounds), 2) for name in rounds[0]}
    print(json.dumps({"rounds": options.rounds, "seconds": medians}, indent=1))
    return 0


def _server(path: Path, port: int, photo: bytes) -> dict[str, float]:
    """Seconds from the start of Java, and from the first request to its answer. Raises ServerError if it ends."""
    archive = read_archive(path)
    with tempfile.TemporaryDirectory(prefix="start-") as logs:
        server = TorchServe([archive], path.parent, Ports.from_first(port), Path(logs))
        started = time.perf_counter()
        with server, direct_session() as session:
            while True:
                with suppress(requests.RequestException):
                    session.get(f"{server.inference}/ping", timeout=1)
                    break
                if server.ended() is not None:
                    break  # wait_ready says why
                time.sleep(0.02)
            java = time.perf_counter() - started
            server.wait_ready()
            ready = time.perf_counter() - started
            started = time.perf_counter()
            url = f"{server.inference}/predictions/{archive.name}"
            answer = session.post(url, data=photo, timeout=60)
            if answer.status_code != 200:
                raise ServerError(f"{url}: {answer.status_code}: {answer.text}")
            return {"Java answers": java, "READY": ready, "first answer": time.perf_counter() - started}


def _worker(archive: Path) -> dict[str, float]:
    """Seconds of each step, in a process of its own. Raises ServerError if it fails."""
    program = PROGRAM.replace("IMPORTS", repr(IMPORTS)).replace("ARCHIVE", repr(str(archive.resolve())))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode != 0:
        raise ServerError(f"the worker's steps failed: {(done.stderr.splitlines() or ['no reason'])[-1]}")
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="default: %(default)s")
    add("--rounds", type=whole(1), default=5, help="default: %(default)s")
    add("--port", type=whole(1), default=18380, help="the first of five in a row (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
