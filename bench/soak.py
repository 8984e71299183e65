#!/usr/bin/env python3
"""Twenty thousand requests to a server of its own, good and bad ones, and what it does to the memory of Java and the
workers: numbers as JSON, and a plot.

Exit codes: 0 every answer was right, no worker was restarted and the memory stayed flat after the warm-up, 1 else.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from scripts.archive.manifest import read_archive
from scripts.paths import BUILD, DEMO
from scripts.server.clients import Load, Question
from scripts.server.progress import show_progress
from scripts.server.torchserve import Ports, TorchServe

WARM_UP = 0.25  # of the requests
SAMPLE = 1.0  # seconds between looks at the memory


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    archive = read_archive(options.archive)
    questions = _questions(options.photo)
    ports = Ports.from_first(options.port)
    options.output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as logs,
        TorchServe([archive], archive.path.parent, ports, Path(logs)) as server,
    ):
        server.wait_ready()
        before = _workers(server, archive.name)
        url = f"{server.inference}/predictions/{archive.name}"
        samples: list[dict[str, float]] = []
        started = time.monotonic()
        with Load(url, options.clients, lambda index: questions[index % len(questions)], options.requests) as load:
            while load.running():
                samples.append({"seconds": time.monotonic() - started, "requests": len(load.replies)} | _memory(server))
                show_progress(f"{len(load.replies)} of {options.requests}")
                time.sleep(SAMPLE)
        seconds = time.monotonic() - started
        restarted = _workers(server, archive.name) != before
    result = _result(options, load, samples, seconds, restarted)
    (options.output / "soak.json").write_text(json.dumps(result | {"samples": samples}, indent=1) + "\n")
    _plot(samples, result, options.output / "soak.png")
    show_progress("")
    print(json.dumps(result, indent=1))
    print(f"wrote {options.output / 'soak.json'} and {options.output / 'soak.png'}")
    flat = all(growth <= options.max_growth for growth in result["growth_mb"].values())
    return 0 if result["wrong"] == 0 and not restarted and flat else 1


def _questions(photo: Path) -> list[Question]:
    """Forty: the photo in several formats and sizes, and one in eight of them bad in some way."""
    image = Image.open(photo).convert("RGB")
    forms = (("JPEG", 451), ("PNG", 451), ("WEBP", 451), ("JPEG", 1280), ("JPEG", 120))
    good = [Question(_encode(image, kind, width), 200, "tiger cat" if width > 200 else None) for kind, width in forms]
    whole = good[0].body
    bad = [Question(whole[:9000], 422), Question(b"no image", 415), Question(b"", 400)]
    bad += [Question(_encode(image.resize((100, 2)), "PNG", 100), 422), Question(whole[:3] + whole[100:], 422)]
    return [bad[index // 8] if index % 8 == 7 else good[index % len(good)] for index in range(40)]


def _encode(image: Image.Image, kind: str, width: int) -> bytes:
    buffer = BytesIO()
    image.resize((width, width * image.height // image.width)).save(buffer, kind)
    return buffer.getvalue()


def _workers(server: TorchServe, model: str) -> list[int]:
    return sorted(int(worker["pid"]) for worker in server.client.describe(model)["workers"])


def _memory(server: TorchServe) -> dict[str, float]:
    """MB in memory, of Java and of all its workers together."""
    java = psutil.Process(server.process_id)
    workers = [child for child in java.children() if "model_service_worker" in " ".join(child.cmdline())]
    return {
        "java_mb": java.memory_info().rss / 1e6,
        "workers_mb": sum(worker.memory_info().rss for worker in workers) / 1e6,
    }


def _result(
    options: argparse.Namespace, load: Load, samples: list[dict[str, float]], seconds: float, restarted: bool
) -> dict[str, Any]:
    warm = [sample for sample in samples if sample["requests"] >= WARM_UP * options.requests]
    wrong = [reply for reply in load.replies if not reply.right]
    for reply in wrong[:5]:
        print(f"wrong: {reply.status}, expected {reply.question.status}: {reply.text[:300]}", file=sys.stderr)
    fifth = max(1, len(warm) // 5)
    ends = {
        name: (np.median([one[name] for one in warm[:fifth]]), np.median([one[name] for one in warm[-fifth:]]))
        for name in ("java_mb", "workers_mb")
    }
    return {
        "requests": len(load.replies),
        "clients": options.clients,
        "statuses": {str(status): count for status, count in sorted(load.statuses().items(), key=str)},
        "wrong": len(wrong),
        "workers_restarted": restarted,
        "seconds": round(seconds, 1),
        "after_warm_up_mb": {name: round(float(first), 1) for name, (first, _) in ends.items()},
        "growth_mb": {name: round(float(last - first), 1) for name, (first, last) in ends.items()},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


def _plot(samples: list[dict[str, float]], result: dict[str, Any], target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    requests = [sample["requests"] for sample in samples]
    for name, label, colour in (("workers_mb", "worker (Python)", "#0072b2"), ("java_mb", "Java", "#d55e00")):
        axes.plot(requests, [sample[name] for sample in samples], color=colour, label=label)
    axes.axvline(WARM_UP * result["requests"], color="grey", linewidth=0.8, linestyle=":")
    axes.annotate(
        "warm-up ends", (WARM_UP * result["requests"], 0), xytext=(4, 4), textcoords="offset points", color="grey"
    )
    axes.set(xlabel="requests", ylabel="MB in memory", ylim=(0, None), xlim=(0, None))
    axes.set_title(f"{result['requests']} requests from {result['clients']} clients, one in eight of them bad")
    axes.legend(loc="center right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="the demo (default: %(default)s)")
    add("--photo", type=Path, required=True, help="chelsea.png of scikit-image")
    add("--requests", type=int, default=20_000, help="default: %(default)s")
    add("--clients", type=int, default=8, help="default: %(default)s")
    add("--max-growth", type=float, default=50.0, help="MB, after the warm-up (default: %(default)s)")
    add("--port", type=int, default=18080, help="the first of five (default: %(default)s)")
    add("--output", type=Path, default=BUILD / "soak", help="directory (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
