#!/usr/bin/env python3
"""Tries an archive's settings on this machine and writes a copy with the fastest ones, and with the evidence.

First the network in process: as Python runs it, frozen, or compiled ahead (on a CPU with a C++ compiler beside it), and
each precision, with what it does to the scores of the photos. Then workers and batches on a real server, with as many
clients as asked. A reduced precision is only chosen where no score of any photo moves by more than the archive's
golden_tolerance, or --tolerance, which is then written, too. Nothing else that changes an answer is touched. Tune where
you serve: another processor wants other settings.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handler.classifier import WARM_UPS, Classifier, Share
from handler.cores import available_cores, use_threads
from handler.errors import ItemError, LoadError
from handler.server_settings import read_server_settings
from scripts.archive.compiler import compile_network
from scripts.archive.manifest import read_archive
from scripts.archive.mar import check_target
from scripts.archive.outline import Outline, read_golden_inputs, read_outline
from scripts.archive.stage import PLAIN
from scripts.archive.unpacking import unpacked
from scripts.archive.variant import write_variant
from scripts.paths import BUILD
from scripts.server.clients import Load, Question
from scripts.server.java import JavaNotFoundError
from scripts.server.progress import show_progress
from scripts.server.torchserve import Ports, ServerError, TorchServe

PASSES = 7  # of each network; the median counts
HOPELESS = 5.0  # times the fastest pass so far: not worth more passes
CLOSE = 0.97  # of the best rate: then fewer workers win, and then the smaller batch


@dataclass(frozen=True)
class Trial:
    settings: dict[str, Any]
    rate: float  # images, or answers, a second
    difference: float | None = None  # the largest, of a score, against the plain settings

    def evidence(self) -> dict[str, Any]:
        shown = {} if self.difference is None else {"largest_difference": round(self.difference, 4)}
        return {**self.settings, "per_second": round(self.rate, 1), **shown}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    output = options.output or BUILD / "tuned" / options.archive.name
    try:
        outline = read_outline(read_archive(options.archive))
        # Before the minutes of work; packing and the servers ask once more.
        check_target(output, options.force)
        Ports.from_first(options.port).check_free()
        photos = [photo.read_bytes() for photo in options.photo] or _golden_photos(outline)
        tolerance = options.tolerance or outline.settings.golden_tolerance
        networks = try_networks(options.archive, photos, torch.device(options.device))
        network = best([each for each in networks if each.difference is not None and each.difference <= tolerance])
        # What float32 doesn't need stays as tight as it was.
        plain = network.settings["precision"] == PLAIN["precision"]
        handler = {**network.settings, **({} if plain else {"golden_tolerance": tolerance})}
        with tempfile.TemporaryDirectory(prefix="tune-") as directory:
            fast = Path(directory) / options.archive.name
            write_variant(options.archive, fast, handler, {})
            servers = list(try_servers(options, fast, outline.archive.name, photos[0]))
            server = best(servers)
            evidence = _evidence(options, networks, servers)
            output.parent.mkdir(parents=True, exist_ok=True)
            write_variant(fast, output, {"tuned": evidence}, server.settings, options.force)
    except (LoadError, ServerError, JavaNotFoundError, OSError) as error:
        show_progress("")
        print(f"error: {error}", file=sys.stderr)
        return 1
    chosen = " ".join(f"{key}={value}" for key, value in {**handler, **server.settings}.items())
    print(f"best     {chosen}\nwrote    {output}")
    return 0


def _evidence(options: argparse.Namespace, networks: Sequence[Trial], servers: Sequence[Trial]) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": available_cores(),
        "torch": str(torch.__version__),
        "device": options.device,
        "clients": options.clients,
        "networks": [each.evidence() for each in networks],
        "servers": [each.evidence() for each in servers],
    }


def try_networks(archive: Path, photos: Sequence[bytes], device: torch.device) -> list[Trial]:
    """Each engine and precision, with all cores, at the archive's batch size."""
    precisions = ["float32", "bfloat16", *(["float16"] if device.type == "cuda" else [])]
    trials: list[Trial] = []
    use_threads(available_cores())
    with unpacked(archive) as directory:
        share = Share(read_server_settings(directory).batchSize)
        plain = _scores(Classifier.load(directory, device, share, **PLAIN), photos)
        for precision in precisions:
            for engine in ("eager", "frozen", *(["compiled"] if device.type == "cpu" else [])):
                settings = {"engine": engine, "precision": precision}
                # The tolerance is for what comes of it below.
                try:
                    if engine == "compiled":
                        compile_network(directory, precision)
                    classifier = Classifier.load(
                        directory, device, share, **settings, decode="exact", golden_tolerance=0.5
                    )
                except LoadError as error:
                    _show("network", settings, f"{error}")
                    continue
                limit = HOPELESS * classifier.batch_size / max((each.rate for each in trials), default=1e-9)
                rate = classifier.batch_size / _seconds(classifier, limit)
                difference = float(np.abs(_scores(classifier, photos) - plain).max())
                trials.append(Trial(settings, rate, difference))
                _show("network", settings, f"{rate:7.1f} images/s  scores move by {difference:.4f} at the most")
    return trials


def _seconds(classifier: Classifier, limit: float) -> float:
    """Of a whole batch: the median pass, or the first one after the warm-up if it took longer than the limit."""
    batch = classifier.example(classifier.batch_size)
    for _ in range(WARM_UPS):
        classifier.model.scores(batch)
    taken: list[float] = []
    while len(taken) < PASSES and (not taken or taken[0] <= limit):
        started = time.perf_counter()
        classifier.model.scores(batch)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _scores(classifier: Classifier, photos: Sequence[bytes]) -> Any:
    """[photos, C]; raises LoadError at one that can't be classified."""
    scores = classifier.classify(photos)
    for index, one in enumerate(scores):
        if isinstance(one, ItemError):
            raise LoadError(f"photo {index + 1}", f"{one.code}: {one}")
    return np.stack(scores)  # type: ignore[arg-type]


def try_servers(options: argparse.Namespace, fast: Path, name: str, photo: bytes) -> Iterator[Trial]:
    """Workers and batches, each on a server of its own."""
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
            trial = Trial(settings, statistics.median(rates[1:]))  # the first warms it up
            _show("server", settings, f"{trial.rate:7.1f} answers/s")
            yield trial


def _rate(url: str, photo: bytes, clients: int, seconds: float) -> float:
    """Answers a second. Raises ServerError where one is not 200."""
    question = Question(photo)
    with Load(url, clients, lambda _: question) as load:
        time.sleep(seconds)
        answered = len(load.replies)
    if load.statuses().keys() != {200}:
        raise ServerError(f"{url}: answered {dict(load.statuses())}, expected 200 alone")
    return answered / seconds


def best(trials: Sequence[Trial]) -> Trial:
    """The first that is as good as the fastest: trials go from the plain to the costly."""
    fastest = max(trial.rate for trial in trials)
    return next(trial for trial in trials if trial.rate >= CLOSE * fastest)


def _show(what: str, settings: dict[str, Any], found: str) -> None:
    show_progress("")
    print(f"{what:8} {' '.join(f'{key}={value}' for key, value in settings.items()):66} {found}", flush=True)


def processor() -> str:
    """Its name, as the kernel has it."""
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
    add("--photo", nargs="+", type=Path, default=[], help="what clients send; the first is the load (default: golden)")
    add("--tolerance", type=float, help="how far a score may move (default: the archive's golden_tolerance)")
    add("--output", type=Path, metavar="MAR", help="default: build/tuned/NAME.mar")
    add("--force", action="store_true", help="overwrite it")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--clients", type=int, default=8, help="that ask without pause (default: %(default)s)")
    add("--batches", nargs="+", type=int, default=[4, 8, 16], help="sizes to try (default: %(default)s)")
    add("--seconds", type=float, default=3, help="of one measurement (default: %(default)s)")
    add("--port", type=int, default=18180, help="the first of five (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
