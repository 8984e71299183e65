"""Makes tables in Markdown and a plot from the rounds of bench/run.py."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

Rates = dict[tuple[str, str], list[float]]  # by name and size
BLUE, GREY, ORANGE = "#0072B2", "#999999", "#D55E00"  # distinct for the colour-blind (Okabe, Ito)


def write_report(result: dict[str, Any], directory: Path) -> str:
    """Writes bench.md and bench.png and returns the text."""
    sizes = list(dict.fromkeys(row["size"] for row in result["rounds"]))
    names = [*result["families"], *result["ceilings"].values()]
    rates = {(name, size): _values(result, name, size, "many", "rate") for name in names for size in sizes}
    text = "\n\n".join(
        [
            _table("answers a second", sizes, {name: [_spread(rates[name, size]) for size in sizes] for name in names}),
            _table("ratio of medians", sizes, _ratios(result, rates, sizes)),
            _table("milliseconds at one client, p50 / p99", sizes, _latencies(result, sizes)),
            _table("of a peer's time at one client, p50 / p99", sizes, _shares(result, sizes)),
            _mixed(result["mixed"]),
            f"wrk took {_wrk(result):.0%} of one core at the most.",
        ]
    )
    (directory / "bench.md").write_text(text + "\n")
    _plot(rates, names, sizes, set(result["ceilings"].values()), directory / "bench.png")
    return text


def _values(result: dict[str, Any], name: str, size: str, load: str, key: str) -> list[float]:
    return [row[load][key] for row in result["rounds"] if (row["name"], row["size"]) == (name, size) and load in row]


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _table(title: str, columns: Sequence[str], rows: dict[str, list[str]]) -> str:
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()])


def _ratios(result: dict[str, Any], rates: Rates, sizes: list[str]) -> dict[str, list[str]]:
    """Each archive of this project over TorchServe's own handler, over the best other peer at that size, whose name
    stands there, and over its own ceiling."""
    families, baseline = result["families"], result["baseline"]
    middle = {key: median(values) for key, values in rates.items()}
    peers = [name for name in families if name not in result["ceilings"]]
    others = [name for name in peers if name != baseline]
    rows = {}
    for mine, ceiling in result["ceilings"].items():
        if baseline in peers:
            rows[f"{mine} / {baseline}"] = [f"{middle[mine, size] / middle[baseline, size]:.2f}" for size in sizes]
        if others:
            best = {size: max(others, key=lambda name: middle[name, size]) for size in sizes}
            rows[f"{mine} / the best other peer"] = [
                f"{middle[mine, size] / middle[best[size], size]:.2f} ({families[best[size]]})" for size in sizes
            ]
        rows[f"{mine} / its ceiling"] = [f"{middle[mine, size] / middle[ceiling, size]:.2f}" for size in sizes]
    return rows


def _latencies(result: dict[str, Any], sizes: list[str]) -> dict[str, list[str]]:
    def cell(name: str, size: str) -> str:
        return " / ".join(f"{1000 * wait:.1f}" for wait in _waits(result, name, size))

    return {name: [cell(name, size) for size in sizes] for name in result["families"]}


def _shares(result: dict[str, Any], sizes: list[str]) -> dict[str, list[str]]:
    """The archive as packaged beside each peer, of which the lowest median and the lowest percentile of its settings
    count."""
    families = result["families"]
    mine = next(iter(result["ceilings"]))

    def cell(family: str, size: str) -> str:
        members = [_waits(result, name, size) for name, other in families.items() if other == family]
        best = (min(waits) for waits in zip(*members, strict=True))
        return " / ".join(f"{own / peer:.2f}" for own, peer in zip(_waits(result, mine, size), best, strict=True))

    peers = dict.fromkeys(family for name, family in families.items() if name not in result["ceilings"])
    return {f"{mine} / {family}": [cell(family, size) for size in sizes] for family in peers}


def _waits(result: dict[str, Any], name: str, size: str) -> tuple[float, float]:
    """Median and 99th percentile in seconds, at one client."""
    return median(_values(result, name, size, "one", "p50")), median(_values(result, name, size, "one", "p99"))


def _mixed(rounds: list[dict[str, float]]) -> str:
    lines = ["| four clients with small photos | ms |", "|---|---|"]
    return "\n".join(lines + [f"| {key} | {_spread([1000 * waits[key] for waits in rounds])} |" for key in rounds[0]])


def _wrk(result: dict[str, Any]) -> float:
    return max(float(row["many"]["share"]) for row in result["rounds"] if "share" in row["many"])


def _plot(rates: Rates, names: list[str], sizes: list[str], ceilings: set[str], path: Path) -> None:
    figure, axes = plt.subplots(1, len(sizes), figsize=(12, 1 + 0.3 * len(names)), sharey=True, layout="constrained")
    order = names[::-1]
    for axis, size in zip(axes, sizes, strict=True):
        medians = [median(rates[name, size]) for name in order]
        spread = [
            [median(rates[name, size]) - min(rates[name, size]) for name in order],
            [max(rates[name, size]) - median(rates[name, size]) for name in order],
        ]
        colours = [BLUE if name.startswith("this") else ORANGE if name in ceilings else GREY for name in order]
        axis.barh(order, medians, xerr=spread, color=colours, ecolor="black", capsize=2)
        axis.set_title(f"JPEG of {size}")
        axis.set_xlabel("answers a second")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
