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
    """Each archive of this project over the best of each peer at that size, and over its own ceiling."""
    families = result["families"]
    ours = list(result["ceilings"])
    rows = {}
    for mine in ours:
        for family in dict.fromkeys(family for name, family in families.items() if name not in ours):
            members = [name for name, other in families.items() if other == family]
            rows[f"{mine} / {family}"] = [
                f"{median(rates[mine, size]) / max(median(rates[name, size]) for name in members):.2f}"
                for size in sizes
            ]
        ceiling = result["ceilings"][mine]
        rows[f"{mine} / its ceiling"] = [
            f"{median(rates[mine, size]) / median(rates[ceiling, size]):.2f}" for size in sizes
        ]
    return rows


def _latencies(result: dict[str, Any], sizes: list[str]) -> dict[str, list[str]]:
    def cell(name: str, size: str) -> str:
        p50, p99 = (1000 * median(_values(result, name, size, "one", key)) for key in ("p50", "p99"))
        return f"{p50:.1f} / {p99:.1f}"

    return {name: [cell(name, size) for size in sizes] for name in result["families"]}


def _mixed(rounds: list[dict[str, float]]) -> str:
    lines = ["| four clients with small photos | ms |", "|---|---|"]
    return "\n".join(lines + [f"| {key} | {_spread([1000 * waits[key] for waits in rounds])} |" for key in rounds[0]])


def _wrk(result: dict[str, Any]) -> float:
    return max(float(row["many"]["share"]) for row in result["rounds"] if "share" in row["many"])


def _plot(rates: Rates, names: list[str], sizes: list[str], ceilings: set[str], path: Path) -> None:
    figure, axes = plt.subplots(1, len(sizes), figsize=(12, 4.2), sharey=True, layout="constrained")
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
