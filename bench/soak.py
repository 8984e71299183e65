#!/usr/bin/env python3
"""Sends 20,000 good and bad requests to a server of its own, and measures the memory of Java and the workers.

Writes soak.json and soak.png.

Exit codes: 0 if every answer was right, no worker was restarted and the memory stayed flat after the warm-up, else 1.
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
from PIL import Image

from bench import failures
from bench.processes import java_process, memory_mb
from scripts.archive.manifest import read_archive
from scripts.arguments import whole
from scripts.paths import BUILD, DEMO
from scripts.server.clients import Load, Question
from scripts.server.ports import Ports
from scripts.server.progress import show_progress
from scripts.server.torchserve import TorchServe

WARM_UP = 0.25  # of the requests
SAMPLE = 1.0  # seconds between looks at the memory


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    archive = read_archive(options.archive)
    questions = _questions(options.photo)
    ports = Ports.from_first(options.port)
    options.output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as logs,
        TorchServe([archive], archive.path.parent, ports, Path(logs)) as server,
    ):
        server.wait_ready(progress=show_progress)
        java = java_process(server.process_id)
        before = _workers(server, archive.name)
        url = f"{server.inference}/predictions/{archive.name}"
        samples: list[dict[str, float]] = []
        started = time.monotonic()
        with Load(url, options.clients, lambda index: questions[index % len(questions)], options.requests) as load:
            while load.running():
                samples.append({"seconds": time.monotonic() - started, "requests": len(load.replies)} | memory_mb(java))
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
    """Forty requests: the photo in several formats and sizes, and every eighth one bad in some way."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
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
    add("--requests", type=whole(1), default=20_000, help="default: %(default)s")
    add("--clients", type=whole(1), default=8, help="default: %(default)s")
    add("--max-growth", type=float, default=50.0, help="allowed growth after the warm-up, in MB (default: %(default)s)")
    add("--port", type=whole(1), default=18080, help="the first of five in a row (default: %(default)s)")
    add("--output", type=Path, default=BUILD / "soak", help="a directory (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
