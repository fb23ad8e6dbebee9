"""Pictures of a counter's scores: numbers in, one inline SVG out.

Drawn by matplotlib's SVG backend without pyplot, so that there is neither a display nor global state.
Text stays text: the page that holds a picture chooses the font. Equal numbers give equal bytes.
"""

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

# Okabe & Ito's colours, which the colour-blind tell apart (jfly.uni-koeln.de/color).
INK, GREY, BLUE, ORANGE, GREEN = "#333333", "#9aa0a6", "#0072b2", "#d55e00", "#009e73"
SERIES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "D"), ("#cc79a7", ":", "^"))
WIDTH = 5.4  # inches; the text sizes below fit it, at 600 pixels and on a phone alike
UNIT = "\u202f%"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "bintally",
}
styled = matplotlib.rc_context(STYLE)  # a decorator: whatever draws does it in one style


def svg(figure: Figure, description: str) -> str:
    """The figure as an ``<svg>`` element that fits its column; ``description`` is read to the blind."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    element = stream.getvalue()[stream.getvalue().index("<svg") :].strip()
    element = re.sub(r'\s(width|height)="[\d.]+pt"', "", element, count=2)
    # Names of groups would be there twice on a page with two pictures; definitions keep theirs.
    element = re.sub(r'<g id="[^"]*"', "<g", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def axes(height: float = 3.4, grid: str = "both") -> tuple[Figure, Axes]:
    """A figure of the page's width with one plot; ``grid`` is x, y or both."""
    figure = Figure(figsize=(WIDTH, height))
    plot = figure.add_subplot()
    plot.grid(axis=grid)
    return figure, plot


@styled
def confusion(
    matrix: Sequence[Sequence[int]],
    classes: Sequence[int],
    intervals: Sequence[Sequence[Mapping | None]] | None = None,
) -> str:
    """matrix: photographs ``[true, counted]``. Colours and percentages are shares of a row.

    intervals: ``{"low", "high"}`` of these shares, likewise ``[true, counted]``; a dash stands where a share
    is none or all of its row, since no resample could hold another.
    """
    counts = np.asarray(matrix)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure = Figure(figsize=(WIDTH, WIDTH * 0.82))
    plot = figure.add_subplot()
    plot.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=2)
    for row, column in np.ndindex(*counts.shape):
        share = shares[row, column]
        look = {"ha": "center", "va": "center", "color": "white" if share > 0.6 else INK}
        lines = [f"{100 * share:.0f}{UNIT}", f"({counts[row, column]})"]
        if intervals:
            lines.insert(1, _interval(intervals[row][column]) if 0 < share < 1 else "–")
        for index, line in enumerate(lines):
            height = row + (index + 1) / (len(lines) + 1)
            plot.text(column + 0.5, height, line, fontsize=8 if index else 9.5, **look)
    middles = np.arange(len(classes)) + 0.5
    plot.set_xticks(middles, [str(c) for c in classes])
    plot.set_yticks(middles, [f"{c}\n({n})" for c, n in zip(classes, totals[:, 0], strict=True)])
    plot.invert_yaxis()
    plot.set(xlabel="items counted by the model", ylabel="items in the bin (photographs)")
    plot.spines[:].set_visible(False)
    return svg(figure, "Confusion matrix: for each true count, how often the model counted what")


@styled
def reliability(bins: Sequence[Mapping]) -> str:
    """bins: as ``calibration.reliability`` gives them, empty ones with 0 photographs."""
    figure = Figure(figsize=(WIDTH, 4.4))
    plot, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [b for b in bins if b["photographs"]]
    confidence = [b["confidence"] for b in filled]
    plot.grid()
    plot.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--", label="as right as it is sure")
    _with_intervals(plot, confidence, [b["accuracy"] for b in filled], label="the model, 95 % interval")
    plot.set(ylabel="share of exact counts", xlim=(0, 1), ylim=(0, 1.02))
    plot.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    _legend(figure)
    width = bins[0]["high"] - bins[0]["low"] if bins else 1
    below.grid(axis="y")
    bars = below.bar(
        [(b["low"] + b["high"]) / 2 for b in bins], [b["photographs"] for b in bins], width * 0.9, color=BLUE
    )
    below.bar_label(bars, [str(b["photographs"] or "") for b in bins], fontsize=7.5, padding=1)
    below.set(xlabel="the model's confidence in its count", ylabel="photographs")
    below.margins(y=0.25)
    below.xaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    return svg(figure, "Reliability: the share of exact counts against the confidence that was stated")


@styled
def risk_coverage(points: Sequence[Mapping]) -> str:
    """points: ``{"coverage", "risk": {"value", "low", "high"}}``, coverage rising."""
    figure, plot = axes()
    coverage = [p["coverage"] for p in points]
    low, high, value = ([p["risk"][key] for p in points] for key in ("low", "high", "value"))
    plot.fill_between(coverage, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % interval")
    plot.plot(coverage, value, color=BLUE, label="the model")
    plot.set(
        xlabel="share of photographs that it answers, the surest first",
        ylabel="share of wrong counts among them",
        xlim=(0, 1),
        ylim=(0, max([*high, 0.1]) * 1.05),
    )
    _percent(plot)
    _legend(figure)
    return svg(figure, "Risk against coverage: wrong counts among the surest answers")


@styled
def detection(false_alarms: Sequence[float], caught: Mapping[str, Sequence[float]], marks: Mapping) -> str:
    """Share of wrong records caught against false alarms.

    caught: for each size of error, a share for each of ``false_alarms``. marks: by the same names,
    points ``(false alarms, caught)`` that stand out.
    """
    figure, plot = axes()
    furthest = max(*false_alarms, 0.01)
    plot.plot([0, furthest], [0, furthest], color=GREY, linewidth=1.2, linestyle="--", label="guessing")
    for (name, shares), (colour, line, marker) in zip(caught.items(), SERIES, strict=False):
        plot.plot(false_alarms, shares, color=colour, linestyle=line, label=name)
        x, y = zip(*marks.get(name, [(np.nan, np.nan)]), strict=True)
        plot.plot(x, y, marker, color=colour, markeredgecolor="white", markersize=6.5, clip_on=False)
    plot.set(
        xlabel="false alarms: share of right records that are doubted",
        ylabel="share of wrong records caught",
        xlim=(0, furthest),
        ylim=(0, 1.02),
    )
    _percent(plot)
    _legend(figure)
    return svg(figure, "Share of wrong records that are caught against the share of false alarms")


@styled
def bars(
    values: Mapping[str, Mapping], xlabel: str, ylabel: str, reference: tuple[float, str] | None = None
) -> str:
    """One bar for each name with its 95 % interval; values: ``{"value", "low", "high"}``, shares.

    reference: (height, what it is) of a line across.
    """
    figure, plot = axes(2.9, grid="y")
    names, heights = list(values), [v["value"] for v in values.values()]
    plot.bar(names, heights, 0.62, color=BLUE, alpha=0.85)
    _with_intervals(plot, names, list(values.values()), color=INK, fmt="none")
    for name, value in values.items():
        place = {"textcoords": "offset points", "ha": "center"}
        plot.annotate(f"{100 * value['value']:.0f}{UNIT}", (name, value["high"]), (0, 3), **place)
    if reference:
        plot.axhline(reference[0], color=ORANGE, linestyle="--", linewidth=1.4, label=reference[1])
        _legend(figure)
    plot.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.08))
    plot.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    return svg(figure, f"{ylabel} by {xlabel}")


@styled
def gain(gain: Mapping[str, float], detectable: float, level: str) -> str:
    """A gain with its one-sided lower bound, against zero and the smallest gain that could be found.

    gain: ``{"value", "low"}``; all are differences of shares.
    """
    figure, plot = axes(1.5, grid="x")
    value, low = 100 * gain["value"], 100 * gain["low"]
    edge = 1.25 * max(1.0, abs(value), abs(low), 100 * detectable)
    plot.plot([low, edge], [0, 0], color=BLUE, linewidth=7, alpha=0.25, solid_capstyle="butt", label=level)
    plot.plot([low, low], [-0.2, 0.2], color=BLUE)
    plot.plot(value, 0, "o", color=BLUE, markersize=7, label="measured")
    plot.axvline(0, color=INK, linewidth=1.4)
    plot.axvline(100 * detectable, color=ORANGE, linestyle="--", linewidth=1.4, label="smallest detectable")
    plot.set(xlabel="points of accuracy gained", ylim=(-0.6, 0.6), xlim=(-edge, edge), yticks=[])
    plot.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3)
    return svg(figure, f"a gain of {value:.1f} points, with a lower bound of {low:.1f}")


def _with_intervals(plot: Axes, x: Sequence, scores: Sequence[Mapping], **options) -> None:
    value = np.array([s["value"] for s in scores])
    # A percentile interval need not hold its value when there are few bins.
    below = [max(0, v - s["low"]) for v, s in zip(value, scores, strict=True)]
    above = [max(0, s["high"] - v) for v, s in zip(value, scores, strict=True)]
    look = {"color": BLUE, "fmt": "o", "elinewidth": 1.3, "capsize": 3} | options
    plot.errorbar(x, value, yerr=[below, above], **look)


def _interval(share: Mapping) -> str:
    return f"{100 * share['low']:.0f}–{100 * share['high']:.0f}"


def _percent(plot: Axes) -> None:
    plot.xaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    plot.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))


def _legend(figure: Figure) -> None:
    """Above the plot, where it hides nothing."""
    figure.legend(loc="outside upper left", ncols=2)
