#!/usr/bin/env python3
"""Measures which settings make an archive fastest on this machine, and writes a copy with them and with the evidence.

First it runs the network in this process: eager, frozen, and on a CPU by OpenVINO, each at every
precision, and compares the scores of the photos with those of the plain settings. A reduced precision is chosen only if
no score of any photo moves by more than the archive's golden_tolerance, or --tolerance, which is then written as well.
An archive that scripts/quantise.py made keeps its int8.
Then it tries numbers of workers and batch sizes on a real server. No other setting that changes an answer is touched.

The copy has a version of its own (1.0 becomes 1.0-tuned), so it can be registered beside the original. Tune on the
machine that serves: another processor needs other settings.
"""

import argparse
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from handler.converted import QUANTISED
from handler.cores import available_cores
from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.archive.mar import check_target
from scripts.archive.outline import Outline, read_golden_inputs, read_outline
from scripts.archive.recipe import check_name
from scripts.archive.stage import PLAIN
from scripts.archive.trials import OUT_OF_MEMORY, Trial, best, best_network, try_networks
from scripts.archive.variant import change_settings, write_variant
from scripts.arguments import whole
from scripts.paths import BUILD
from scripts.server.clients import Load, Question
from scripts.server.java import JavaNotFoundError
from scripts.server.ports import Ports
from scripts.server.progress import show_progress
from scripts.server.torchserve import ServerError, TorchServe, check_free


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        outline = read_outline(read_archive(options.archive))
        version = _version(options.version, outline)
        output = options.output or BUILD / "tuned" / f"{outline.archive.name}-{version}.mar"
        tolerance = _tolerance(options.tolerance, outline)
        # They are checked again later; here they fail before minutes of work.
        check_target(output, options.force)
        check_free(Ports.from_first(options.port))
        chosen = tune(options, outline, tolerance, output, version)
    except (LoadError, ServerError, JavaNotFoundError, OSError, *OUT_OF_MEMORY) as error:
        show_progress("")
        print(f"error: {str(error) or 'out of memory'}", file=sys.stderr)
        return 1
    print(f"best     {' '.join(f'{key}={value}' for key, value in chosen.items())}")
    print(f"wrote    {output}  {outline.archive.name} {version}, tuned from {outline.archive.version}")
    return 0


def tune(options: argparse.Namespace, outline: Outline, tolerance: float, output: Path, version: str) -> dict[str, Any]:
    """Writes output and returns the settings that were chosen."""
    photos = [photo.read_bytes() for photo in options.photo] or _golden_photos(outline)
    networks = try_networks(options.archive, photos, torch.device(options.device), partial(_show, "network"))
    network = best_network(networks, tolerance)
    # At full precision the archive's own tolerance stays, which may be tighter.
    reduced = network.settings["precision"] not in (PLAIN["precision"], QUANTISED)
    handler = {**network.settings, **({"golden_tolerance": tolerance} if reduced else {})}
    with tempfile.TemporaryDirectory(prefix="tune-") as directory:
        fast = Path(directory) / options.archive.name
        write_variant(options.archive, fast, handler, {})
        servers = list(try_servers(options, fast, outline.archive.name, photos[0]))
        server = best(servers)
        tuned = {"tuned": _evidence(options, networks, servers)}
        write_variant(fast, output, tuned, server.settings, version=version, force=options.force)
    return {**handler, **server.settings}


def tuned_version(version: str) -> str:
    """1.0 → 1.0-tuned → 1.0-tuned.2 → 1.0-tuned.3: each counts as newer than the one before, and older than 1.0.1."""
    before = re.fullmatch(r"(.*-tuned)(?:\.(\d+))?", version)
    return f"{before[1]}.{int(before[2] or 1) + 1}" if before else f"{version}-tuned"


def _version(given: str | None, outline: Outline) -> str:
    version = given or tuned_version(outline.archive.version)
    check_name("version", version, "flags")
    if version == outline.archive.version:
        raise LoadError("flags", f"version: {version} is that of {outline.archive.path}, expected another")
    return version


def _tolerance(given: float | None, outline: Outline) -> float:
    changes = {} if given is None else {"golden_tolerance": given}
    return change_settings(outline.settings, changes, "flags").golden_tolerance


def _evidence(options: argparse.Namespace, networks: Sequence[Trial], servers: Sequence[Trial]) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": available_cores(),
        "torch": str(torch.__version__),
        "device": options.device,
        "clients": options.clients,
        "networks": [trial.evidence() for trial in networks],
        "servers": [trial.evidence() for trial in servers],
    }


def try_servers(options: argparse.Namespace, fast: Path, name: str, photo: bytes) -> Iterator[Trial]:
    """Each number of workers with each batch size, on a server of its own."""
    cores = available_cores()
    for workers in dict.fromkeys([1, 2] if options.device != "cpu" else [1, max(1, cores // 2), cores]):
        for batch in options.batches:
            settings = {"minWorkers": workers, "maxWorkers": workers, "batchSize": batch, "maxBatchDelay": 1}
            with tempfile.TemporaryDirectory(prefix="tune-") as directory:
                archive = Path(directory) / fast.name
                write_variant(fast, archive, {}, settings)
                ports = Ports.from_first(options.port)
                server = TorchServe([read_archive(archive)], archive.parent, ports, Path(directory) / "logs")
                with server:
                    server.wait_ready(progress=show_progress)
                    url = f"{server.inference}/predictions/{name}"
                    rates = [_rate(url, photo, options.clients, options.seconds) for _ in range(4)]
            trial = Trial(settings, statistics.median(rates[1:]))  # the first one warms up
            _show("server", settings, f"{trial.rate:7.1f} answers/s")
            yield trial


def _rate(url: str, photo: bytes, clients: int, seconds: float) -> float:
    """Answers a second. Raises ServerError if one is not 200."""
    question = Question(photo)
    with Load(url, clients, lambda _: question) as load:
        time.sleep(seconds)
        answered = len(load.replies)
    if load.statuses().keys() != {200}:
        raise ServerError(f"{url}: answered {dict(load.statuses())}, expected 200 alone")
    return answered / seconds


def _show(what: str, settings: dict[str, Any], result: str) -> None:
    show_progress("")
    print(f"{what:8} {' '.join(f'{key}={value}' for key, value in settings.items()):66} {result}", flush=True)


def processor() -> str:
    """The processor's name, from the kernel."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _golden_photos(outline: Outline) -> list[bytes]:
    golden = read_golden_inputs(outline)
    if not golden:
        raise LoadError(outline.archive.path, "no golden inputs, expected photos after --photo")
    return [each.image for each in golden]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("archive", type=Path)
    add(
        "--photo",
        nargs="+",
        type=Path,
        default=[],
        help="photos to score; the first is the load (default: golden ones)",
    )
    add("--tolerance", type=float, help="largest allowed difference of a score (default: golden_tolerance)")
    add("--version", help="of the copy (default: the archive's with -tuned after it)")
    add("--output", type=Path, metavar="MAR", help="default: build/tuned/NAME-VERSION.mar")
    add("--force", action="store_true", help="overwrite an existing file")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add("--clients", type=whole(1), default=8, help="clients that send without pause (default: %(default)s)")
    add("--batches", nargs="+", type=whole(1), default=[4, 8, 16], help="batch sizes to try (default: %(default)s)")
    add("--seconds", type=whole(1), default=3, help="length of one measurement (default: %(default)s)")
    add("--port", type=whole(1), default=18180, help="the first of five in a row (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
