"""Pictures of what an endpoint saw and answered over time; in the style of ``containers.train.figures``."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from containers.train.figures import BLUE, GREEN, GREY, ORANGE, SERIES, UNIT, WIDTH, axes, styled, svg
from containers.train.monitor.drift import MUCH, SOME

VERDICT_COLOURS = {"match": GREEN, "unsure": GREY, "mismatch": ORANGE}
FILL = 0.92  # of a window's width, by its bar
Series = Mapping[str, Sequence[float | None]]  # by name, a value for each time; None where there is none


@styled
def requests(times: Sequence[datetime], by_model: Mapping[str, Sequence[int]], step: timedelta) -> str:
    """Answers in each window, a model's upon the other's."""
    figure, plot = axes(2.4, grid="y")
    below = np.zeros(len(times))
    for (model, counts), (colour, *_) in zip(by_model.items(), _looks(), strict=False):
        _bars(plot, times, counts, below, step, color=colour, label=model)
        below += counts
    plot.set(ylabel="requests")
    if len(by_model) > 1:
        figure.legend(loc="outside upper left", fontsize=8)
    _time_axis(plot, times, step)
    return svg(figure, "Requests over time")


@styled
def stacked(
    times: Sequence[datetime], shares: Series, step: timedelta, colours: Mapping[str, object], what: str,
    beside: Mapping[str, Mapping[str, float]] | None = None,
) -> str:  # fmt: skip
    """Shares of each window, which sum to 1. beside: columns before them to compare with, by name."""
    figure = Figure(figsize=(WIDTH, 2.9))
    if beside:
        first, plot = figure.subplots(1, 2, sharey=True, width_ratios=(1.2 * len(beside), 8))
        for index, parts in enumerate(beside.values()):
            below = 0.0
            for part, share in parts.items():
                first.bar(index, share, 0.8, bottom=below, color=colours[part], linewidth=0)
                below += share
        first.set_xticks(range(len(beside)), list(beside), fontsize=8)
    else:
        first = plot = figure.subplots()
    below = np.zeros(len(times))
    for name, values in shares.items():
        heights = np.array([v or 0 for v in values])
        _bars(plot, times, heights, below, step, color=colours[name], label=name)
        below += heights
    first.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    first.set(ylabel=what, ylim=(0, 1))
    figure.legend(*plot.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    _time_axis(plot, times, step)
    return svg(figure, f"{what} over time")


@styled
def lines(
    times: Sequence[datetime], series: Series, step: timedelta, what: str,
    level: tuple[float, str] | None = None, percent: bool = False, least_top: float = 0,
) -> str:  # fmt: skip
    """level: (height, what it is) of a line across. least_top: the axis reaches at least so high."""
    figure, plot = axes(2.6, grid="y")
    if level:
        plot.axhline(level[0], color=GREY, linestyle="--", linewidth=1.4, label=level[1])
    for (name, values), look in zip(series.items(), _looks(), strict=False):
        _line(plot, times, values, step, look, name)
    if percent:
        plot.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    top = max([least_top, *(v for values in series.values() for v in values if v is not None)], default=1)
    plot.set(ylabel=what, ylim=(0, top * 1.08 or 1))
    columns = 1 if max(map(len, series)) > 24 else 3  # names of models are long
    figure.legend(loc="outside upper left", ncols=columns, fontsize=8.5)
    _time_axis(plot, times, step)
    return svg(figure, f"{what} over time")


@styled
def drift(times: Sequence[datetime], series: Series, step: timedelta) -> str:
    """Stability indices with the two limits between little, some and much change."""
    figure, plot = axes(3, grid="y")
    for (name, values), look in zip(series.items(), _looks(), strict=False):
        _line(plot, times, values, step, look, name)
    top = max([MUCH * 1.6, *(1.08 * v for values in series.values() for v in values if v is not None)])
    for height, name in ((SOME, "some"), (MUCH, "much")):
        plot.axhline(height, color=GREY, linestyle="--", linewidth=1)
        if name == "some" and top > 1:
            continue  # the two words would be written over each other
        plot.annotate(
            name, (1, height), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", fontsize=8, color="#666666",
        )  # fmt: skip
    plot.set(ylabel="population stability index", ylim=(0, top))
    figure.legend(loc="outside upper left", ncols=3, fontsize=8.5)
    _time_axis(plot, times, step)
    return svg(figure, "Drift over time")


@styled
def bands(
    times: Sequence[datetime], quantiles: Mapping[str, Sequence[Sequence[float] | None]], step: timedelta,
    baseline: Mapping[str, Sequence[float]] | None,
) -> str:  # fmt: skip
    """Of each quantity the median, a bar from the 10 % to the 90 % quantile, and the baseline's band."""
    figure = Figure(figsize=(WIDTH, 1.75 * len(quantiles) + 0.4))
    plots = np.atleast_1d(figure.subplots(len(quantiles), 1, sharex=True))
    for plot, (name, values) in zip(plots, quantiles.items(), strict=True):
        plot.grid(axis="y")
        if baseline:
            low, middle, high = baseline[name]
            plot.axhspan(low, high, color=GREY, alpha=0.22, linewidth=0, label="validation, 80 % of them")
            plot.axhline(middle, color=GREY, linewidth=1.2)
        known = [(t + step / 2, v) for t, v in zip(times, values, strict=True) if v is not None]
        if known:
            at, (low, middle, high) = [t for t, _ in known], np.array([v for _, v in known]).T
            plot.errorbar(
                at, middle, yerr=[middle - low, high - middle], fmt="o", color=BLUE, elinewidth=1.2,
                markersize=4, label="captured, 80 % of them",
            )  # fmt: skip
        plot.set(ylabel=name)
        plot.margins(y=0.15)
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8.5)
    _time_axis(plots[-1], times, step)
    return svg(figure, "What the photographs look like over time")


@styled
def accuracy(
    times: Sequence[datetime], scores: Sequence[Mapping | None], step: timedelta, level: tuple[float, str]
) -> str:
    """scores: ``{"value", "low", "high"}`` of a window; level: (height, what it is) of a line across."""
    figure, plot = axes(2.6, grid="y")
    plot.axhline(level[0], color=GREY, linestyle="--", linewidth=1.4, label=level[1])
    known = [(t + step / 2, s) for t, s in zip(times, scores, strict=True) if s]
    value, low, high = (np.array([s[key] for _, s in known]) for key in ("value", "low", "high"))
    plot.errorbar(
        [t for t, _ in known], value, yerr=[value - low, high - value], fmt="o", color=BLUE, capsize=3,
        label="where somebody counted, 95 % interval",
    )  # fmt: skip
    plot.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    plot.set(ylabel="exact counts", ylim=(0, 1))
    figure.legend(loc="outside upper left", ncols=2, fontsize=8.5)
    _time_axis(plot, times, step)
    return svg(figure, "Accuracy over time")


def count_colours(counts: Sequence[str]) -> dict[str, object]:
    """From light to dark, as counts rise."""
    shades = matplotlib.colormaps["Blues"](np.linspace(0.25, 0.95, len(counts)))
    return dict(zip(counts, shades, strict=True))


def _looks() -> Iterator[tuple[str, str, str]]:
    """(colour, line, marker) of one series after the other, again from the first after the sixth."""
    return cycle((*SERIES, ("#56b4e9", "-", "v"), ("#e69f00", "--", "P")))


def _bars(plot: Axes, times, heights, below, step: timedelta, **look) -> None:
    plot.bar(times, heights, step * FILL, bottom=below, align="edge", linewidth=0, **look)


def _line(plot: Axes, times, values: Sequence[float | None], step: timedelta, look, name: str) -> None:
    """Broken where a window has no value."""
    colour, line, marker = look
    heights = [np.nan if v is None else v for v in values]
    middles = [t + step / 2 for t in times]
    plot.plot(middles, heights, color=colour, linestyle=line, marker=marker, markersize=4, label=name)


def _time_axis(plot: Axes, times: Sequence[datetime], step: timedelta) -> None:
    locator = AutoDateLocator(tz=UTC, minticks=2, maxticks=7)
    plot.xaxis.set_major_locator(locator)
    plot.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    plot.set(xlim=(times[0] - step / 2, times[-1] + step * 1.5), xlabel="time, UTC")
