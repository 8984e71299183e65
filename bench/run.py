#!/usr/bin/env python3
"""This project and its peers on the same images, in rounds that take turns: medians with least and most.

All servers stay up, so that each round meets them warm; while another one is measured, they are stopped by a signal, as
an idle server takes some of a core, too. Writes bench.json, bench.md and bench.png. Needs wrk.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from bench.contestants import Ceiling, Contestant, OnTorchServe, fastapi, image_classifier, litserve
from bench.load import WrkError, ask, find_wrk
from bench.tables import write_report
from handler.cores import available_cores
from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.archive.outline import read_outline
from scripts.archive.variant import write_variant
from scripts.paths import BUILD, DEMO, DEMO_CHECKPOINT
from scripts.server.progress import show_progress
from scripts.tune import processor

SIZES = ("500x375", "1280x960", "4032x3024")
CLIENTS = 8
OURS, TUNED, REDUCED = "this project, as packaged", "this project, tuned, float32", "this project, tuned"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        find_wrk()
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            result = measure(options, Path(directory))
    except (WrkError, LoadError) as error:
        show_progress("")
        print(f"error: {error}", file=sys.stderr)
        return 1
    (options.output / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    show_progress("")
    print(write_report(result, options.output))
    return 0


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    images = {size.replace("x", " x "): _photo(options.photo, size, work) for size in options.sizes}
    plain = work / options.tuned.name
    write_variant(options.tuned, plain, {"precision": "float32", "golden_tolerance": 0.01, "tuned": {}}, {})
    archives = {OURS: options.archive, TUNED: plain, REDUCED: options.tuned}
    everybody = _contestants(options, archives, work)
    contestants = [each for each in everybody if any(part in each.name for part in options.only)]
    ours = [each for each in contestants if each.name in archives]
    ceilings = [Ceiling(archives[each.name], each.name) for each in ours]
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        starting: list[Contestant | Ceiling] = [*contestants, *ceilings]
        for newcomer in starting:
            show_progress(f"starting {newcomer.name}")
            stack.callback(newcomer.stop)
            newcomer.start()
        for each in contestants:
            show_progress(f"warming up {each.name}")
            each.check(next(iter(images.values())))
            for image in images.values():  # the first answers of each are slow
                ask(each.url, CLIENTS, options.seconds, each.body, [image])
            ask(each.url, CLIENTS, options.warm_up, each.body, [next(iter(images.values()))])
            each.pause()
            stack.callback(each.resume)  # what is paused doesn't hear that it should stop
        for number in range(options.rounds):
            for size, image in images.items():
                for each in contestants:
                    show_progress(f"round {number + 1} of {options.rounds}: {size}, {each.name}")
                    with each.alone():
                        many = ask(each.url, CLIENTS, options.seconds, each.body, [image])
                        one = ask(each.url, 1, options.seconds, each.body, [image])
                    rounds.append({"size": size, "name": each.name, "many": asdict(many), "one": asdict(one)})
                for ceiling in ceilings:
                    show_progress(f"round {number + 1} of {options.rounds}: {size}, {ceiling.name}")
                    rate = ceiling.rate(image, options.seconds)
                    rounds.append({"size": size, "name": ceiling.name, "many": {"rate": rate}})
        with ours[-1].alone():
            mixed = [_mixed(ours[-1], images, options.seconds) for _ in range(options.rounds)]
    return {
        "machine": machine(),
        "settings": {name: _settings(archive) for name, archive in archives.items()},
        "families": {each.name: each.family for each in contestants},
        "ceilings": {each.of: each.name for each in ceilings},
        "clients": CLIENTS,
        "seconds": options.seconds,
        "warm_up": options.warm_up,
        "mixed": mixed,
        "rounds": rounds,
    }


def _contestants(options: argparse.Namespace, archives: Mapping[str, Path], work: Path) -> list[Contestant]:
    ports = iter(range(options.port, options.port + 1000, 10))
    cores = available_cores()
    checkpoint = options.checkpoint.resolve()

    def ours(name: str, archive: Path) -> OnTorchServe:
        return OnTorchServe(name, name, read_archive(archive), next(ports), work / name)

    return [
        *(ours(name, archive) for name, archive in archives.items()),
        image_classifier(1, next(ports), checkpoint, work),
        image_classifier(8, next(ports), checkpoint, work),
        fastapi(1, cores, next(ports), checkpoint, work),
        fastapi(cores, 1, next(ports), checkpoint, work),
        litserve(1, cores, 8, next(ports), checkpoint, work),
        litserve(cores, 1, 4, next(ports), checkpoint, work),
    ]


def _photo(photo: Path, size: str, work: Path) -> Path:
    path = work / f"{size}.jpg"
    width, height = map(int, size.split("x"))
    with Image.open(photo) as image:
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def _mixed(server: Contestant, images: dict[str, Path], seconds: float) -> dict[str, float]:
    """Seconds that four clients with small photos wait, alone, beside one more of them, and beside one with large."""
    small, *_, large = images.values()
    found: dict[str, float] = {}
    for name, other in (("alone", None), ("with a small one", small), ("with a large one", large)):
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(ask, server.url, 1, seconds, server.body, [other]) if other else None
            mine = ask(server.url, 4, seconds, server.body, [small])
            found |= {f"p50 {name}": mine.p50, f"p99 {name}": mine.p99}
            if beside is not None:
                found[f"p50 of the {name.split()[-2]} one"] = beside.result().p50
    return found


def _settings(archive: Path) -> dict[str, Any]:
    outline = read_outline(read_archive(archive))
    handler = {key: getattr(outline.settings, key) for key in ("decode", "precision", "engine")}
    server = {key: getattr(outline.server, key) for key in ("minWorkers", "batchSize", "maxBatchDelay")}
    return {**handler, **server}


def machine() -> dict[str, Any]:
    libraries = ("torch", "timm", "albumentations", "pillow", "torchserve", "fastapi", "uvicorn", "litserve")
    return {
        "processor": processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": {library: version(library) for library in libraries},
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="default: %(default)s")
    add("--tuned", type=Path, default=BUILD / "tuned" / "cat-breeds.mar", help="of scripts/tune.py")
    add("--checkpoint", type=Path, default=DEMO_CHECKPOINT, help="the demo's")
    add("--photo", type=Path, required=True, help="chelsea.png of scikit-image")
    add("--output", type=Path, default=BUILD / "bench", help="default: %(default)s")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--seconds", type=int, default=3, help="of one measurement (default: %(default)s)")
    # Java's compiler is busy at first: docs/performance.md.
    add("--warm-up", type=int, default=45, help="seconds of load before the first round (default: %(default)s)")
    add("--sizes", nargs="+", default=SIZES, help="of the photo, two at least (default: all three)")
    add("--only", nargs="+", default=[""], help="contestants whose names have one of these in them (default: all)")
    add("--port", type=int, default=21000, help="the first of a hundred (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
