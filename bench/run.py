#!/usr/bin/env python3
"""Measures this project and its peers on the same images, in rounds that take turns. Writes bench.json, bench.md and
bench.png, with medians, least and most.

All servers stay up, so that each round meets them warm. While one is measured, the others are stopped by a signal: an
idle server takes some of a core as well. Needs wrk.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from PIL import Image

from bench import failures
from bench.contestants import BASELINE, Ceiling, Contestant, OnTorchServe, image_classifier
from bench.load import ask, find_wrk
from bench.python_servers import Place, python_servers
from bench.tables import write_report
from handler.cores import available_cores
from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.archive.outline import read_outline
from scripts.archive.variant import write_variant
from scripts.arguments import whole
from scripts.paths import BUILD, DEMO, DEMO_CHECKPOINT
from scripts.server.progress import show_progress
from scripts.tune import processor

SIZES = ("500x375", "1280x960", "4032x3024")
CLIENTS = 8
TOLERANCE = 0.05  # that bfloat16 may move a score of the golden photos by
LESS_WARM_UP = 8  # seconds, for servers without Java
OURS, REDUCED = "this project, as packaged", "this project, bfloat16"
INT8, TUNED = "this project, int8", "this project, tuned"


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_run, _parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    check_choice(options)
    find_wrk()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        result = measure(options, Path(directory))
    (options.output / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    show_progress("")
    print(write_report(result, options.output))
    return 0


def check_choice(options: argparse.Namespace) -> None:
    """The report compares the archive as packaged with the peers, and small photos with large ones: both must be there.
    Raises LoadError."""
    if not any(part in OURS for part in options.only):
        raise LoadError("--only", f"{' '.join(options.only)}: expected a part of {OURS!r} among them")
    if len(set(options.sizes)) < 2:
        raise LoadError("--sizes", f"{' '.join(options.sizes)}: one size, expected two or more")


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All that the report is made of. work: an empty directory."""
    images = {size.replace("x", " x "): _photo(options.photo, size, work) for size in options.sizes}
    archives = {OURS: options.archive, REDUCED: _in_bfloat16(options.archive, work)}
    archives |= {name: path for name, path in ((INT8, options.int8), (TUNED, options.tuned)) if path is not None}
    everybody = _contestants(options, archives, work)
    contestants = [contestant for contestant in everybody if any(part in contestant.name for part in options.only)]
    ours = [contestant for contestant in contestants if contestant.name in archives]
    ceilings = [Ceiling(archives[contestant.name], contestant.name) for contestant in ours]
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        _start([*contestants, *ceilings], stack)
        for contestant in contestants:
            _warm_up(contestant, images, options)
            contestant.pause()
            stack.callback(contestant.resume)  # a stopped process would not hear that it should end
        for number in range(options.rounds):
            for size, image in images.items():
                place = f"round {number + 1} of {options.rounds}: {size}"
                rounds += _round(place, size, image, contestants, ceilings, options.seconds)
        with ours[0].alone():
            mixed = [_mixed(ours[0], images, options.seconds) for _ in range(options.rounds)]
    return {
        "machine": machine(options.peers),
        "settings": {name: _settings(archive) for name, archive in archives.items()},
        "families": {contestant.name: contestant.family for contestant in contestants},
        "baseline": BASELINE,
        "ceilings": {ceiling.of: ceiling.name for ceiling in ceilings},
        "clients": CLIENTS,
        "seconds": options.seconds,
        "warm_up": options.warm_up,
        "mixed": mixed,
        "rounds": rounds,
    }


def _in_bfloat16(packaged: Path, work: Path) -> Path:
    """A copy of the archive with reduced precision."""
    target = work / packaged.name
    write_variant(packaged, target, {"precision": "bfloat16", "golden_tolerance": TOLERANCE}, {})
    return target


def _start(newcomers: Sequence[Contestant | Ceiling], stack: ExitStack) -> None:
    for newcomer in newcomers:
        show_progress(f"starting {newcomer.name}")
        stack.callback(newcomer.stop)
        newcomer.start()


def _warm_up(contestant: Contestant, images: Mapping[str, Path], options: argparse.Namespace) -> None:
    """Every size once, because a server's first answers are slow, and then the first size until Java is compiled."""
    show_progress(f"warming up {contestant.name}")
    first = next(iter(images.values()))
    contestant.check(first)
    for image in images.values():
        ask(contestant.url, CLIENTS, options.seconds, contestant.body, [image])
    seconds = options.warm_up if contestant.compiles else min(options.warm_up, LESS_WARM_UP)
    ask(contestant.url, CLIENTS, seconds, contestant.body, [first])


def _round(
    place: str,
    size: str,
    image: Path,
    contestants: Sequence[Contestant],
    ceilings: Sequence[Ceiling],
    seconds: float,
) -> list[dict[str, Any]]:
    """One size for everybody in turn. place: where in all rounds, for whoever watches."""
    results: list[dict[str, Any]] = []
    for contestant in contestants:
        show_progress(f"{place}, {contestant.name}")
        with contestant.alone():
            many = ask(contestant.url, CLIENTS, seconds, contestant.body, [image])
            one = ask(contestant.url, 1, seconds, contestant.body, [image])
        results.append({"size": size, "name": contestant.name, "many": asdict(many), "one": asdict(one)})
    for ceiling in ceilings:
        show_progress(f"{place}, {ceiling.name}")
        results.append({"size": size, "name": ceiling.name, "many": {"rate": ceiling.rate(image, seconds)}})
    return results


def _contestants(options: argparse.Namespace, archives: Mapping[str, Path], work: Path) -> list[Contestant]:
    ports = iter(range(options.port, options.port + 1000, 10))
    checkpoint = options.checkpoint.resolve()
    place = Place(available_cores(), checkpoint, work, options.peers.absolute() / "bin" / "python")

    def ours(name: str, archive: Path) -> OnTorchServe:
        return OnTorchServe(name, name, read_archive(archive), next(ports), work / name)

    return [
        *(ours(name, archive) for name, archive in archives.items()),
        image_classifier(1, next(ports), checkpoint, work),
        image_classifier(8, next(ports), checkpoint, work),
        *python_servers(place, ports),
    ]


def _photo(photo: Path, size: str, work: Path) -> Path:
    path = work / f"{size}.jpg"
    width, height = map(int, size.split("x"))
    with Image.open(photo) as image:
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def _mixed(server: Contestant, images: dict[str, Path], seconds: float) -> dict[str, float]:
    """Seconds that four clients with small photos wait: alone, beside another small photo, and beside a large one."""
    small, *_, large = images.values()
    waits: dict[str, float] = {}
    for name, other in (("alone", None), ("with a small one", small), ("with a large one", large)):
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(ask, server.url, 1, seconds, server.body, [other]) if other else None
            mine = ask(server.url, 4, seconds, server.body, [small])
            waits |= {f"p50 {name}": mine.p50, f"p99 {name}": mine.p99}
            if beside is not None:
                waits[f"p50 of the {name.split()[-2]} one"] = beside.result().p50
    return waits


def _settings(archive: Path) -> dict[str, Any]:
    outline = read_outline(read_archive(archive))
    handler = {key: getattr(outline.settings, key) for key in ("decode", "precision", "engine")}
    server = {key: getattr(outline.server, key) for key in ("minWorkers", "batchSize", "maxBatchDelay")}
    return {**handler, **server}


def machine(peers: Path) -> dict[str, Any]:
    """peers: the environment of those that have one of their own."""
    libraries = ("torch", "timm", "albumentations", "pillow", "torchserve", "fastapi", "uvicorn", "litserve")
    return {
        "processor": processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": {library: version(library) for library in libraries} | _versions(peers),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
    }


def _versions(peers: Path) -> dict[str, str]:
    names = {"mosec", "bentoml", "ray"}
    packages = [str(packages) for packages in peers.glob("lib/python3.*/site-packages")]
    installed = {found.name: found.version for found in distributions(path=packages)}
    return {name: installed[name] for name in sorted(names & installed.keys())}


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected WIDTHxHEIGHT in pixels")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="default: %(default)s")
    add("--tuned", type=Path, metavar="ARCHIVE", help="a row for what `make tune` wrote (default: none)")
    add("--int8", type=Path, metavar="ARCHIVE", help="a row for an archive in int8 (default: none)")
    add("--peers", type=Path, default=BUILD / "peers.venv", help="by `make peers` (default: %(default)s)")
    add("--checkpoint", type=Path, default=DEMO_CHECKPOINT, help="the demo's (default: %(default)s)")
    add("--photo", type=Path, required=True, help="chelsea.png of scikit-image")
    add("--output", type=Path, default=BUILD / "bench", help="default: %(default)s")
    add("--rounds", type=whole(1), default=3, help="default: %(default)s")
    add("--seconds", type=whole(1), default=3, help="length of one measurement (default: %(default)s)")
    # Java compiles its own code at first: docs/performance.md.
    add("--warm-up", type=whole(1), default=45, help="seconds of load before the first round, for "
        f"TorchServe; others get {LESS_WARM_UP} (default: %(default)s)")  # fmt: skip
    add("--sizes", nargs="+", type=_size, default=SIZES, help="of the photo, at least two (default: %(default)s)")
    add("--only", nargs="+", default=[""], help="contestants by a part of their names (default: all)")
    add("--port", type=whole(1), default=21000, help="the first of a hundred (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
