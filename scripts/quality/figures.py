"""The report's figures, small enough for a phone: data URIs of SVG, which run no script and fetch nothing."""

import base64
from collections.abc import Sequence
from io import StringIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.quality.measures import Array, reliability
from scripts.quality.ranking import rank_with_cuts
from scripts.quality.scores import UNKNOWN

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # for colour-blind readers as well (Okabe and Ito)
SMALL, SQUARE = (2.8, 2.4), (5.6, 5.0)  # inches


def precision_recall(scores: Array, truth: NDArray[np.int8], fired: NDArray[np.bool_]) -> str:
    """For one label, [N] each: the curve, and the point of its threshold."""
    known = truth != UNKNOWN
    scores, right, fired = scores[known], truth[known] == 1, fired[known]
    order, ends = rank_with_cuts(scores)
    hits = np.cumsum(right[order])[ends]
    figure = Figure(SMALL, layout="constrained")
    axis = figure.subplots()
    axis.step(hits / right.sum(), hits / (ends + 1), color=BLUE, where="pre")
    if fired.any():
        correct = (fired & right).sum()
        axis.plot(correct / right.sum(), correct / fired.sum(), "o", color=ORANGE, markersize=8)
    axis.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
    return _uri(figure)


def calibration(versions: Sequence[tuple[str, Array, NDArray[np.int8]]]) -> str:
    """A reliability diagram of all labels together: for each version its name, scores [N, C] and truth [N, C]."""
    figure = Figure((5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="dotted", label="ideal")
    for (name, scores, truth), colour, marker in zip(versions, (ORANGE, BLUE), ("s", "o"), strict=False):
        score, share, count = reliability(scores, truth)
        sizes = 20 + 120 * np.sqrt(count / max(count.max(), 1))
        axis.plot(score, share, color=colour, label=name)
        axis.scatter(score, share, s=sizes, color=colour, marker=marker, alpha=0.6)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="score", ylabel="share that is true")
    axis.legend(frameon=False)
    return _uri(figure)


def distribution(scores: Array, truth: NDArray[np.int8], threshold: float) -> str:
    """For one label: histograms of the scores of images with it, above the axis, and without it, below."""
    figure = Figure(SMALL, layout="constrained")
    axis = figure.subplots()
    edges = np.linspace(0, 1, 21)
    for value, colour, sign in ((1, BLUE, 1), (0, ORANGE, -1)):
        count, _ = np.histogram(scores[truth == value], edges)
        axis.bar(edges[:-1], sign * count / max(count.max(), 1), 0.05, align="edge", color=colour)
    axis.axvline(threshold, color="black", linewidth=1)
    axis.axhline(0, color="black", linewidth=0.5)
    axis.set(xlim=(0, 1), ylim=(-1.05, 1.05), xlabel="score", yticks=[])
    return _uri(figure)


def heatmap(shares: Array, labels: Sequence[str], across: str, down: str) -> str:
    """shares: [C, C] from 0 to 1, NaN where there is nothing to show."""
    figure = Figure(SQUARE, layout="constrained")
    axis = figure.subplots()
    axis.imshow(np.nan_to_num(shares), vmin=0, vmax=1, cmap="Blues")
    for row, column in np.argwhere(np.isfinite(shares) & (shares >= 0.005)):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(len(labels)), [_short(name) for name in labels], rotation=60, ha="right")
    axis.set_yticks(range(len(labels)), [_short(name) for name in labels])
    axis.set(xlabel=across, ylabel=down)
    return _uri(figure)


def _short(name: str) -> str:
    return (name if len(name) <= 18 else name[:17] + "…").replace("$", r"\$")  # $ would start a formula


def _uri(figure: Figure) -> str:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    text = StringIO()
    with mpl.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(text.getvalue().encode()).decode()
