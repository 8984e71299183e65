#!/usr/bin/env python3
"""Draws deploy/dashboard.json as a picture with data from Prometheus, for the docs and for machines without Grafana.

It runs the dashboard's queries and keeps its layout, titles and units, but does not look like Grafana.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from scripts.server.session import direct_session

DASHBOARD = Path(__file__).with_name("dashboard.json")
POINTS = 120  # in a line
COLUMNS, CELL = 24, (0.62, 0.38)  # of Grafana's grid; width and height of a cell in inches
VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$version": ".*"}
# The colours of Okabe and Ito, distinct for the colour-blind, and three more.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933", "#882255", "#888888")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    end = time.time()
    start = end - options.minutes * 60
    plt.rcParams["axes.prop_cycle"] = mpl.rcsetup.cycler(color=COLOURS)
    figure = plt.figure(figsize=(COLUMNS * CELL[0], rows * CELL[1]), layout="constrained")
    grid = figure.add_gridspec(rows, COLUMNS)
    for panel in panels:
        place = panel["gridPos"]
        axes = figure.add_subplot(grid[place["y"] : place["y"] + place["h"], place["x"] : place["x"] + place["w"]])
        _draw(axes, panel, _lines(options.prometheus, panel, start, end), options.minutes)
    figure.savefig(options.output, dpi=options.dpi)
    print(f"wrote {options.output}")
    return 0


def _lines(
    prometheus: str, panel: dict[str, Any], start: float, end: float
) -> dict[str, tuple[list[Any], list[float]]]:
    """The lines of a panel by legend: minutes relative to the end, and values. Raises requests.RequestException."""
    lines = {}
    for target in panel["targets"]:
        query = target["expr"]
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        parameters = {"query": query, "start": start, "end": end, "step": max(5, (end - start) / POINTS)}
        with direct_session() as session:
            answer = session.get(f"{prometheus}/api/v1/query_range", params=parameters, timeout=30)
        answer.raise_for_status()
        for series in answer.json()["data"]["result"]:
            legend = target["legendFormat"]
            for name, value in series["metric"].items():
                legend = legend.replace("{{" + name + "}}", value)
            points = [((float(moment) - end) / 60, float(value)) for moment, value in series["values"]]
            lines[legend] = ([moment for moment, _ in points], [value for _, value in points])
    return lines


def _draw(axes: Axes, panel: dict[str, Any], lines: dict[str, Any], minutes: float) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["custom"]["stacking"]["mode"] == "normal" and lines:
        times = sorted({moment for moments, _ in lines.values() for moment in moments})
        known = {name: dict(zip(*points, strict=True)) for name, points in lines.items()}
        axes.stackplot(
            times, *[[line.get(t, 0.0) for t in times] for line in known.values()], labels=list(known), alpha=0.75
        )
    else:
        for name, (moments, values) in lines.items():
            axes.plot(moments, values, label=name, linewidth=1.2)
    axes.set_title(panel["title"], fontsize=9, loc="left")
    axes.set_ylim(defaults.get("min"), defaults.get("max"))
    if defaults.get("max") is None:
        axes.set_ylim(defaults.get("min"), max(axes.get_ylim()[1] * 1.3, 1.0 if defaults["unit"] == "short" else 1e-3))
    axes.set_xlim(-minutes, 0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_unit(value, defaults["unit"])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if lines:
        axes.legend(fontsize=6.5, frameon=False, loc="upper left", ncols=2)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="grey")


def _in_unit(value: float, unit: str) -> str:
    match unit:
        case "s":
            return f"{value * 1000:g} ms" if abs(value) < 1 else f"{value:g} s"
        case "percentunit":
            return f"{value:.0%}"
        case "percent":
            return f"{value:g} %"
        case "reqps":
            return f"{value:g}/s"
        case _:
            return f"{value:g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--prometheus", metavar="URL", default="http://127.0.0.1:9090", help="default: %(default)s")
    add("--minutes", type=float, default=60, help="up to now (default: %(default)s)")
    add("--output", type=Path, default=Path("dashboard.png"), help="default: %(default)s")
    add("--dpi", type=int, default=100, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
