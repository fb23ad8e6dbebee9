"""Pictures of how a training went; drawn as ``figures`` draws."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from containers.train.figures import BLUE, GREEN, GREY, ORANGE, UNIT, WIDTH, axes, styled, svg


@styled
def learning_curves(epochs: Sequence[Mapping], kept_epochs: Sequence[int]) -> str:
    """epochs: as ``measurements.Epoch``, in order; kept_epochs: those whose weights were kept."""
    figure, (loss, accuracy, rate) = _stacked(5.6, (4, 4, 2))
    _line(loss, epochs, "train_loss", ORANGE, "s--", "training")
    _line(loss, epochs, "validation_loss", BLUE, "o-", "validation")
    _line(accuracy, epochs, "validation_accuracy", BLUE, "o-")
    _line(rate, epochs, "learning_rate", GREEN, "-")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, 0, UNIT))
    for plot, quantity in ((loss, "loss"), (accuracy, "exact counts"), (rate, "learning rate")):
        plot.set_ylabel(quantity)
        for nth, epoch in enumerate(kept_epochs):
            label = "kept" if plot is loss and nth == 0 else None
            plot.axvline(epoch, color=GREY, linewidth=1.2, linestyle=":", label=label)
    rate.set_ylim(bottom=0)
    figure.legend(loc="outside upper left", ncols=3)
    return svg(figure, "Losses, validation accuracy and learning rate by epoch")


@styled
def throughput(epochs: Sequence[Mapping]) -> str:
    """Photographs per second in training, and resident memory."""
    figure, (speed, memory) = _stacked(3.4, (3, 2))
    _line(speed, epochs, "photographs_per_second", BLUE, "o-")
    _line(memory, epochs, "megabytes", GREEN, "o-")
    speed.set_ylabel("photographs / s")
    memory.set_ylabel("memory, MB")
    for plot, key in ((speed, "photographs_per_second"), (memory, "megabytes")):
        plot.set_ylim(0, 1.15 * max(epoch[key] for epoch in epochs))
    return svg(figure, "Photographs per second in training, and memory, by epoch")


@styled
def time_by_phase(seconds: Mapping[str, float]) -> str:
    """One bar for each phase, with its share of the whole."""
    figure, plot = axes(2.4, grid="x")
    total = sum(seconds.values()) or 1.0
    bars = plot.barh(list(seconds), list(seconds.values()), 0.66, color=BLUE, alpha=0.85)
    labels = [
        f"{value:{',.0f' if value >= 100 else '.3g'}} s, {value / total * 100:.0f}{UNIT}"
        for value in seconds.values()
    ]
    plot.bar_label(bars, labels, padding=4)
    plot.invert_yaxis()
    plot.margins(x=0.2)
    plot.set_xlabel("seconds of the whole training")
    return svg(figure, "Seconds of the training by phase")


def _stacked(height: float, ratios: Sequence[float]) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(WIDTH, height))
    plots = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    for plot in plots:
        plot.grid()
    plots[-1].set_xlabel("epoch")
    plots[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, plots


def _line(plot: Axes, epochs: Sequence[Mapping], key: str, colour: str, line: str, label: str | None = None):
    """Points are marked while they can be told apart."""
    shape = line if len(epochs) <= 40 else line.strip("os")
    plot.plot([e["number"] for e in epochs], [e[key] for e in epochs], shape, color=colour, label=label)
