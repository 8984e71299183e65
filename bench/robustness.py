#!/usr/bin/env python3
"""Attacks the container and `make serve`, and prints what each attack cost them and a polite client beside it.

Each attack is made here: the costliest image of each format, one and many at once; damaged photos; large bodies at
once; slow ones; broken HTTP; a worker stopped or killed; a full disk; and each thing that an operator does under load.

Exit codes: 0 if every limit held, 1 if one did not, or the servers could not be measured.
"""

import argparse
import math
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import failures
from bench.actions import CLIENTS, Action, act
from bench.attacks import SILENT, Attack, Sent, attacks
from bench.targets import Container, Served, Target, has_engine
from bench.watch import Polite, Watch
from scripts.archive.manifest import read_archive
from scripts.archive.variant import write_variant
from scripts.arguments import whole
from scripts.paths import DEMO
from scripts.server.clients import Load, Question
from scripts.server.progress import show_progress
from scripts.server.torchserve import ServerError

MIB = 2**20
CALM = 5.0  # seconds
LEAST = 1.0  # second that an attack is watched
# The limits.
SECONDS = 2.0  # of a core, that a request may cost
# Of the memory that there is. A request alone may take what Pillow needs in 2 GB for the largest WebP that is admitted,
# and some. All processes may take what scripts/server/budget.py divides; the kernel needs some for files.
ALONE, WHOLE = 0.2, 0.9
RECOVERY = 5.0  # seconds
LONGER = 2.0  # seconds that an answer may take longer while an operator does something
REPLACED = 60.0  # seconds until a worker that was killed or stopped is replaced and loaded
# What a client gets through its own fault, or when it is told to try again; what else is no 4xx, the server failed at.
FAULTS = {
    *("ok", "too_costly", "too_many_pixels", "too_many_bytes", "corrupt_image", "not_an_image", "unsupported_image"),
    *("overloaded", "unavailable", "worker_died", "extreme_aspect_ratio", "no_payload", "bad_request"),
    *("closed", "open to the end"),
}


@dataclass(frozen=True)
class Row:
    name: str
    sent: Sent
    processor: float  # seconds
    memory: int  # bytes above those before
    peak: int  # bytes in all
    p99: float  # seconds, of the polite client
    recovery: float  # seconds from the attack's end until all is as before; where a worker is harmed, from then
    ready: Sequence[bool]  # what /ready said, in turn
    broken: Sequence[str]  # the limits that did not hold

    def __str__(self) -> str:
        codes = ", ".join(f"{number} `{code}`" for code, number in self.sent.codes.most_common())
        unready = self.ready.count(False) / max(len(self.ready), 1)
        ready = "–" if not self.ready else "yes" if not unready else f"no, {unready:.0%}"
        return (
            f"| {self.name} | {self.sent.bytes:,} | {codes} | {self.processor:.2f} | {self.memory / MIB:.0f} | "
            f"{self.p99:.2f} | {self.recovery:.1f} | {ready} | {'; '.join(self.broken) or 'held'} |"
        )


HEAD = (
    "| attack | bytes | answers | processor s | MiB | polite p99, s | s until as before | ready | limits |\n"
    "|---|---:|---|---:|---:|---:|---:|---|---|"
)


class Trial:
    """One server, and one attack after the other."""

    def __init__(self, target: Target, model: str, question: Question) -> None:
        self._target, self._model, self._question = target, model, question
        self._url = f"{target.url}/predictions/{model}"
        with Polite(self._url, question) as polite:
            time.sleep(CALM)  # Java compiles
            started = time.monotonic()
            with Watch(target) as watch:
                time.sleep(CALM)
        waits = polite.waits(started)
        if not waits or math.inf in waits:
            statuses = dict(polite.statuses())
            raise ServerError(
                f"{target.name}: answered {statuses} in calm, expected 200 alone, so nothing to compare with"
            )
        self._each = watch.processor / len(waits)  # seconds of a core for a polite answer
        self._calm = sorted(waits)[-1]
        median = statistics.median(waits)
        print(f"\n{target.name}: p50 of the polite client {median:.3f} s, its longest {self._calm:.3f} s")
        print(f"\n{HEAD}", flush=True)

    def run(self, attack: Attack) -> Row:
        workers = {worker.pid for worker in self._target.workers()}
        with Polite(self._url, self._question) as polite:
            time.sleep(5 * self._calm)
            started = time.monotonic()
            with Watch(self._target) as watch:
                sent = attack.run(self._target, self._model)
                ended = time.monotonic()
                time.sleep(max(started + LEAST - ended, 0))  # so that the polite client is answered meanwhile
            since = ended if sent.harmed is None else sent.harmed
            recovery = self._recovered(since, workers, REPLACED if attack.kills else RECOVERY)
        waits = polite.waits(started, max(ended, started + LEAST))
        processor = max(watch.processor - self._each * len(waits), 0.0)
        row = Row(attack.name, sent, processor, watch.memory, watch.peak, _p99(waits), recovery, watch.ready, ())
        replaced = workers != {worker.pid for worker in self._target.workers()}
        return replace(row, broken=tuple(limits_broken(row, attack, self._target.memory, replaced)))

    def _recovered(self, since: float, workers: set[int], patience: float) -> float:
        """Seconds until as many workers as before are READY and a photo is answered as in calm, three times in a row.
        workers: their processes before."""
        in_a_row: list[float] = []
        while len(in_a_row) < 3:
            began = time.monotonic()
            if began > since + patience + RECOVERY:
                return began - since
            whole = self._is_whole(workers)
            with Load(self._url, 1, lambda _: self._question, limit=1) as load:
                while load.running():
                    time.sleep(0.01)
            [reply] = load.replies
            well = whole and reply.right and reply.seconds <= 3 * self._calm
            in_a_row = [*in_a_row, reply.started + reply.seconds] if well else []
            if not reply.right:
                time.sleep(0.1)
        return max(in_a_row[0] - since, 0.0)

    def _is_whole(self, workers: set[int]) -> bool:
        if not self._target.ready():
            return False
        now = {worker.pid for worker in self._target.workers()}
        return now == workers or self._target.ready_workers(self._model) >= len(workers)


def limits_broken(row: Row, attack: Attack, memory: int, replaced: bool) -> Iterator[str]:
    """memory: bytes that the server may take. replaced: whether other workers run than before."""
    requests = max(row.sent.requests, 1)
    if not attack.kills and row.processor / requests > SECONDS:
        yield f"{row.processor / requests:.1f} s of a core a request"
    # Of many at once nobody knows what each takes: some wait, and Java keeps what it took for others.
    if row.sent.at_once == 1 and row.memory > ALONE * memory:
        yield f"{row.memory / memory:.0%} of the memory for a request"
    if row.peak > WHOLE * memory:
        yield f"{row.peak / memory:.0%} of the memory in all"
    if replaced and not attack.kills:
        yield "a worker was replaced"
    if attack.kills and not replaced:
        yield "no worker was replaced"
    if row.recovery > (REPLACED if attack.kills else RECOVERY):
        yield "not as before"
    failed = sorted(code for code in row.sent.codes if code not in FAULTS and not code.startswith(("2", "4")))
    if SILENT in failed:
        failed.remove(SILENT)
        yield SILENT
    if failed:
        yield f"answered {', '.join(failed)}"


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    started = time.monotonic()
    archive = read_archive(options.archive)
    question = Question(options.photo.read_bytes())
    chosen = [each for each in attacks(question.body) if each.short or not options.short]
    held = True
    with tempfile.TemporaryDirectory(prefix="robustness-") as name:
        work = Path(name)
        work.chmod(0o755)
        for target in _targets(options, work):
            with target:
                trial = Trial(target, archive.name, question)
                for attack in chosen:
                    if attack.contained and not isinstance(target, Container):
                        continue
                    show_progress(f"{target.name}: {attack.name}")
                    row = trial.run(attack)
                    show_progress("")
                    print(row, flush=True)
                    held = held and not row.broken
                if isinstance(target, Container) and not options.short:
                    second = target.store / "second.mar"
                    write_variant(options.archive, second, {}, {}, version=f"{archive.version}-second")
                    held = _show_actions(act(target, archive.name, archive.version, second, question)) and held
    print(f"\nin {time.monotonic() - started:.0f} s: {'every limit held' if held else 'some limits did not hold'}")
    return 0 if held else 1


def _targets(options: argparse.Namespace, work: Path) -> Iterator[Target]:
    for kind in options.against:
        store = work / kind
        store.mkdir(mode=0o755)
        shutil.copy(options.archive, store)
        if kind == "serve":
            yield Served(store / options.archive.name, options.port, work / "served")
        elif has_engine():
            yield Container(options.image, store, options.mib)
        else:
            print("no container engine: only `make serve` is attacked")


def _show_actions(actions: Iterator[Action]) -> bool:
    """Prints a row each. Returns whether the limits held."""
    print(f"\n| with {CLIENTS} clients, beside | it took, s | answers | wrong | longest wait, s | limits |")
    print("|---|---:|---:|---:|---:|---|")
    held, calm = True, 0.0
    for action in actions:
        calm = calm or action.longest
        well = action.wrong == 0 and action.longest <= calm + LONGER
        print(
            f"| {action.name} | {action.seconds:.1f} | {action.replies} | {action.wrong} | {action.longest:.2f} | "
            f"{'held' if well else 'not held'} |",
            flush=True,
        )
        held = held and well
    return held


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1] if seconds else float("inf")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="the demo (default: %(default)s)")
    add("--photo", type=Path, required=True, help="a photo that the polite client sends")
    add("--against", nargs="+", choices=("container", "serve"), default=("container", "serve"), help="default: both")
    add("--image", default="multi-label-torchserve:slim", help="default: %(default)s")
    add("--mib", type=whole(1), default=2048, help="memory of the container (default: %(default)s)")
    add("--short", action="store_true", help="the attacks that cost the most, and no operator")
    add("--port", type=whole(1), default=18080, help="the first of five in a row (default: %(default)s)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    sys.exit(main())
