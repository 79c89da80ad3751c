"""The figures: each function takes what rundir or comparison read and returns a matplotlib Figure."""
import re
import textwrap

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from plain import format_p

# Okabe and Ito's palette, distinct to colour-blind readers; its yellow is left out, too faint for lines on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
REFERENCE = "#666666"  # baselines, truth, what was before
FIELD_MAP, ERROR_MAP = "viridis", "PuOr"
WIDTH = 7.2  # inches: two columns of a journal page
LAYERS_AS_LINES = 14
PANELS_A_PAGE = 16
RATE_DECADES = 3  # that a map of rates shows: schedules end at rates at which nothing is learned any more
# open circles around full dots: a spectrum that hardly moved stays visible under the later one
FIRST = {"color": REFERENCE, "markersize": 4.2, "markerfacecolor": "none", "markeredgewidth": 0.8}
LAST = {"color": PALETTE[0], "markersize": 2.2}
PLAIN_NUMBER = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))

plt.rcParams.update({
    "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.07,
    "figure.constrained_layout.h_pad": 0.06, "figure.dpi": 150, "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
    "legend.fontsize": 8, "legend.title_fontsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#dddddd", "grid.linewidth": 0.6, "lines.linewidth": 1.4, "legend.frameon": False,
    "image.interpolation": "nearest"})


def curves(metrics, title):
    """Training loss, nRMSE and error per frequency band over epochs; `metrics` as rundir.read_metrics gives it."""
    bands = [(band, metrics.get(f"fRMSE_{band}", np.nan)) for band in ("low", "mid", "high")]
    bands = [(band, values) for band, values in bands if np.isfinite(values).any()]
    figure, axes = plt.subplots(1, 3 if bands else 2, figsize=(WIDTH, 2.6))
    _curve(axes[0], metrics["epoch"], metrics["train_loss"], PALETTE[0])
    axes[0].set_ylabel("training loss")
    _curve(axes[1], metrics["epoch"], metrics["nRMSE"], PALETTE[0])
    axes[1].set_ylabel("test nRMSE")
    for (band, values), colour, dash in zip(bands, PALETTE, DASHES):
        _curve(axes[2], metrics["epoch"], values, colour, label=band, linestyle=dash)
    if bands:
        axes[2].set_ylabel("test fRMSE")
        axes[2].legend(title="wavenumbers", loc="best")
    for ax in axes:
        _epoch_axis(ax)
        _log_if_wide(ax)
    _title(figure, title)
    return figure


def layers(table, metrics, title):
    """alpha and learning rate of each layer over epochs: lines for few layers, maps (layer by epoch) for many."""
    if len(table.names) > LAYERS_AS_LINES:
        return _layer_maps(table, title)
    figure = plt.figure(figsize=(WIDTH, 4.6))
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 0.14])
    upper, lower = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    for i, name in enumerate(table.names):
        style = {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i // len(PALETTE)], "label": name}
        _curve(upper, table.epochs, table.alpha[:, i], **style)
        _curve(lower, table.epochs, table.rate[:, i], drawstyle="steps-post", **style)
    # metrics.csv has the rate used in an epoch, layers.csv the one set after it for the next
    base = {"color": REFERENCE, "linewidth": 4, "alpha": 0.35, "label": "base rate", "zorder": 1}
    lower.plot(metrics["epoch"] - 1, metrics["base_lr"], drawstyle="steps-post", **base)
    upper.set_ylabel(r"tail exponent $\alpha$")
    lower.set_ylabel("learning rate, next epoch")
    for ax in (upper, lower):
        _epoch_axis(ax)
        ax.set_xlim(lower.get_xlim())
        _log_if_wide(ax)
    upper.set_xlabel("")
    _key(figure.add_subplot(grid[:, 1]), *lower.get_legend_handles_labels(), title="layer", loc="center left")
    _title(figure, title)
    return figure


def spectra(snapshots, order, title):
    """A list of figures: per layer the share of eigenvalues at or above a value, first and last epoch, with the fitted tails.

    `snapshots` as rundir.read_spectra gives them; `order` lists layers in the model's order, others follow by name."""
    present = {name for spectrum in snapshots.values() for name in spectrum}
    names = [name for name in order if name in present] + sorted(present - set(order))
    pages = [names[i:i + PANELS_A_PAGE] for i in range(0, len(names), PANELS_A_PAGE)]
    return [_spectra_page(snapshots, page, title) for page in pages]


def tail_fraction(spectrum):
    """Eigenvalues above zero and, for each, the fraction of all eigenvalues at or above it (complementary distribution)."""
    count = len(spectrum.eigenvalues)
    fraction = (count - np.arange(count)) / count
    keep = spectrum.eigenvalues > 0
    return spectrum.eigenvalues[keep], fraction[keep]


def fitted_tail(spectrum, points=50):
    """The fitted law, fraction(xmin) (x/xmin)^(1-alpha), from xmin to the largest eigenvalue; None without a fit."""
    values = spectrum.eigenvalues
    if not (np.isfinite(spectrum.alpha) and spectrum.xmin > 0 and values[-1] > spectrum.xmin):
        return None
    # xmin may have been rounded on its way into the file
    start = np.count_nonzero(values >= spectrum.xmin * (1 - 1e-6)) / len(values)
    x = np.geomspace(spectrum.xmin, values[-1], points)
    return x, start * (x / spectrum.xmin) ** (1 - spectrum.alpha)


def prediction(data, title):
    """Truth, prediction and error of every field at the last frame of the first trajectory: images in 2D, lines in 1D."""
    truth, guess = data.target[0, :, -1], data.prediction[0, :, -1]
    subtitle = f"{title} · frame {data.target.shape[2] - 1}, {data.target.shape[2] - data.initial} frames predicted"
    return (_images if truth.ndim == 3 else _lines)(truth, guess, data.fields, subtitle)


def rollout_errors(data):
    """RMSE and nRMSE (field, predicted frame), each the mean over trajectories; NaN where the target vanishes."""
    space = tuple(range(3, data.target.ndim))
    error = np.sqrt(np.mean((data.prediction - data.target) ** 2, axis=space))
    norm = np.sqrt(np.mean(data.target ** 2, axis=space))
    relative = np.divide(error, norm, out=np.full_like(error, np.nan), where=norm > 0)
    return error.mean(axis=0)[:, data.initial:], relative.mean(axis=0)[:, data.initial:]


def rollout(data, title):
    """Error growth over the rollout, per field and (nRMSE) their mean."""
    frames = np.arange(data.initial, data.target.shape[2])
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8))
    for ax, errors, label in zip(axes, rollout_errors(data), ("RMSE", "nRMSE")):
        for i, (name, values) in enumerate(zip(data.fields, errors)):
            _curve(ax, frames, values, PALETTE[i % len(PALETTE)], linestyle=DASHES[i // len(PALETTE) % 3], label=name)
        if label == "nRMSE" and len(data.fields) > 1:
            _curve(ax, frames, errors.mean(axis=0), REFERENCE, label="mean", linewidth=2.4)
        ax.set_ylabel(label)
        ax.set_xlabel("frame of the rollout")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _log_if_wide(ax)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title="field")
    _title(figure, f"{title} · mean over {len(data.target)} test trajectories")
    return figure


def comparison(rows):
    """Training loss and nRMSE of all runs, coloured by group, with each group's mean line."""
    labels = [_legend_label(row) for row in rows]
    columns = max(1, min(len(rows), 100 // (8 + max(map(len, labels)))))
    key_height = 0.25 + 0.17 * -(-len(rows) // columns)
    figure = plt.figure(figsize=(WIDTH, 2.9 + key_height))
    grid = figure.add_gridspec(2, 2, height_ratios=[key_height, 2.9])
    for panel, (column, name) in enumerate((("train_loss", "training loss"), ("nRMSE", "test nRMSE"))):
        ax = figure.add_subplot(grid[1, panel])
        for row, label, colour in zip(rows, labels, _group_colours(rows)):
            for run in row.group.runs:
                ax.plot(*_known(run.metrics["epoch"], run.metrics[column]), color=colour, linewidth=0.7, alpha=0.5)
            _curve(ax, *mean_curve(row.group.runs, column), colour, label=label, linewidth=2)
        ax.set_ylabel(name)
        _epoch_axis(ax)
        _log_if_wide(ax)
    heading = "thin lines: single runs, thick lines: mean"
    _key(figure.add_subplot(grid[0, :]), *ax.get_legend_handles_labels(), title=heading, ncol=columns)
    return figure


def mean_curve(runs, column):
    """Epochs that every run of the group has a value for, and the mean over the runs there."""
    known = [dict(zip(*_known(run.metrics["epoch"], run.metrics[column]))) for run in runs]
    epochs = sorted(set.intersection(*(set(curve) for curve in known)))
    return np.array(epochs), np.array([np.mean([curve[epoch] for curve in known]) for epoch in epochs])


def bars(rows, metric="nRMSE", title=""):
    """Final error per group: bars from zero, and the same enlarged as points with mean and standard deviation."""
    labels = [textwrap.fill(row.group.label, 28) for row in rows]
    row_height = max(0.5, 0.1 + 0.15 * max(label.count("\n") + 1 for label in labels))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.7 + row_height * len(rows)), sharey=True)
    for y, (row, colour) in enumerate(zip(rows, _group_colours(rows))):
        spread, values = row.std if row.std == row.std else 0, row.group.nrmse
        axes[0].barh(y, row.mean, height=0.62, color=colour, alpha=0.75)
        axes[0].errorbar(row.mean, y, xerr=spread, color="black", capsize=4, linewidth=1)
        axes[0].plot(values, np.full(len(values), y), "o", color="white", markeredgecolor="black", markersize=4)
        axes[1].errorbar(row.mean, y - 0.1, xerr=spread, fmt="D", color=colour, capsize=4, markersize=5, linewidth=1.6)
        axes[1].plot(values, np.full(len(values), y + 0.17), "o", color=colour, markeredgecolor="black", markersize=4, alpha=0.8)
        axes[1].annotate(_verdict(row), (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes[0].set_yticks(range(len(rows)), labels)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for ax, label in zip(axes, (f"test {metric}", f"test {metric}, enlarged")):
        ax.set_xlabel(label)
        ax.grid(False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(5))
    axes[1].margins(x=0.12)
    if title:
        _title(figure, title)
    return figure


def error_over(axis, labels, series, metric, title):
    """Error over an axis of an experiment, points with error bars (standard deviation) for each of `series`: comparison.Rows or None
    in the order of `labels`. Labels that are numbers lie there, logarithmically, and are joined; names side by side, with nothing between."""
    numbers = numbers_of(labels)
    is_number, is_log = numbers is not None, numbers is not None and min(numbers) > 0
    x = np.array(numbers) if is_log else np.arange(len(labels))
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    known = [next(row for row in rows if row) for rows in series if any(rows)]
    # between the points of a label, so that their error bars stay apart
    step = 1.03 if is_log else 0.06 if is_number else min(0.12, 0.7 / max(1, len(known)))
    for i, (rows, colour) in enumerate(zip([rows for rows in series if any(rows)], _group_colours(known))):
        places, rows = x[[row is not None for row in rows]], [row for row in rows if row]
        shift = i - (len(known) - 1) / 2
        ax.errorbar(places * step ** shift if is_log else places + step * shift, [row.mean for row in rows],
                    yerr=[row.std if row.std == row.std else 0 for row in rows], color=colour, marker="o", markersize=4, capsize=3,
                    linestyle="-" if is_number else "none", linewidth=1.4, elinewidth=1, label=known[i].group.label)
    if is_log:
        ax.set_xscale("log")
    ax.set_xticks(x, labels)
    if not is_number:
        ax.set_xlim(-0.5, len(labels) - 0.5)
        ax.grid(False, axis="x")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(axis)
    ax.set_ylabel(f"test {metric}")
    _log_if_wide(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    _title(figure, title)
    return figure


def numbers_of(labels):
    """What a set of labels like '2.5 %', '1e-3' or '40 trajectories' measures; None where one is a name ('2D CFD') or two are the same number."""
    matches = [re.match(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(?=[\s%]|$)", label) for label in labels]
    values = [float(match[0]) for match in matches if match]
    return values if len(set(values)) == len(labels) else None


def alphas(panels, title):
    """Tail exponent of each layer before and after training. panels: (heading, layer names, before, after), the last two arrays
    (run, layer); points are means over the runs, bars standard deviations."""
    few = max(len(names) for _, names, *_ in panels) <= 16  # a third of the width has room for so many names
    columns = 3 if len(panels) > 4 and few else min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = plt.figure(figsize=(WIDTH, 0.5 + 2.3 * lines))
    grid = figure.add_gridspec(lines + 1, columns, height_ratios=[0.12] + [1] * lines)
    first = None
    for i, (heading, names, before, after) in enumerate(panels):
        first = ax = figure.add_subplot(grid[1 + i // columns, i % columns], sharey=first)
        for values, style, shift, label in ((before, FIRST, -0.12, "before training"), (after, LAST, 0.12, "after training")):
            values = np.ma.masked_invalid(values)
            spread = values.std(axis=0, ddof=1).filled(0) if len(values) > 1 else np.zeros(len(names))
            ax.errorbar(np.arange(len(names)) + shift, values.mean(axis=0).filled(np.nan), yerr=spread, fmt="o", capsize=2, elinewidth=1,
                        label=label, **{**style, "markersize": 4.2})
        ax.set_yscale("log")
        ax.set_title(heading)
        step = max(1, -(-len(names) // 24))
        ax.set_xticks(np.arange(0, len(names), step), names[::step], rotation=90, fontsize=7)
        if i % columns == 0:
            ax.set_ylabel(r"tail exponent $\alpha$")
        else:
            ax.tick_params(labelleft=False)
    _log_ticks(first.yaxis, decades_from=100, most=6)
    _key(figure.add_subplot(grid[0, :]), *first.get_legend_handles_labels(), ncol=2)
    _title(figure, title)
    return figure


def exponents(table, title):
    """Tail exponent of each layer at the last epoch there is, a line a layer in the model's order, and their median."""
    alpha = table.alpha[-1]
    places = np.arange(len(alpha))
    figure, ax = plt.subplots(figsize=(WIDTH, 1.2 + max(1, 0.17 * len(alpha))))
    ax.axvline(np.nanmedian(alpha) if np.isfinite(alpha).any() else np.nan, color=REFERENCE, linestyle="--", label="median")
    ax.plot(alpha, places, "o", color=PALETTE[0], markersize=4.5)
    ax.set_ylim(len(alpha) - 0.4, -0.6)
    step = max(1, -(-len(alpha) // 150))
    ax.set_yticks(places[::step], table.names[::step], fontsize=7)
    ax.set_xlabel(r"tail exponent $\alpha$")
    ax.set_xscale("log")
    _log_ticks(ax.xaxis, decades_from=100, most=8)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1))
    _title(figure, title)
    return figure


class Frames:
    """One figure whose contents change from frame to frame of a trajectory while scales and layout stay.

    `data` is a trajectories.Trajectories; fields: places of its fields; scales[field][row]: (low, high)."""

    def __init__(self, data, fields, scales):
        columns = len(data.rows) if len(data.rows) > 1 else {1: 1, 2: 2, 4: 2}.get(len(fields), 3)
        rows = -(-len(fields) * len(data.rows) // columns)
        width = min(WIDTH, 3.6 * columns)
        # an image loses 0.7 inches of its width to labels, and has its colour bar above
        tall = np.clip((width / columns - 0.7) * data.shape[1] / data.shape[0], 0.5, 6) + 0.9 if data.dim > 1 else 0.55 * width / columns
        self.figure, axes = plt.subplots(rows, columns, figsize=(width, rows * tall + 0.5), squeeze=False)
        self.artists = []
        panels = iter(axes.flat)
        for field, limits in zip(fields, scales):
            for (heading, _), (low, high) in zip(data.rows, limits):
                ax = next(panels)
                draw = _moving_line if data.dim == 1 else _moving_image
                label = f"{heading} of {data.fields[field]}" if heading else data.fields[field]
                self.artists.append(draw(self.figure, ax, data, label, low, high, heading == "error"))
                ax.set_xlabel("x" if data.coordinates[0] is not None else "x (grid point)")
        for ax in panels:
            ax.axis("off")

    def show(self, values, title):
        """values[field][row]: the grids of one frame."""
        for artist, grid in zip(self.artists, [grid for grids in values for grid in grids]):
            if grid.ndim == 1:
                artist.set_ydata(grid)
            else:
                artist.set_data(np.ma.masked_invalid(grid.T))
        _title(self.figure, title)
        if self.figure.get_layout_engine():
            # the first frame's layout is that of all: finding it again would take longer than drawing
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")


def _moving_line(_, ax, data, label, low, high, is_error):
    x = data.coordinates[0] if data.coordinates[0] is not None else np.arange(data.shape[0])
    line, = ax.plot(x, np.full(len(x), np.nan), color=PALETTE[1] if is_error else PALETTE[0])
    ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    ax.set_xlim(x[0], x[-1] if len(x) > 1 else x[0] + 1)
    ax.set_ylabel(label)
    return line


def _moving_image(figure, ax, data, label, low, high, is_error):
    sides = [_edges(axis, count) for axis, count in zip(data.coordinates, data.shape)]
    image = ax.imshow(np.zeros(data.shape[1::-1]), origin="lower", cmap=ERROR_MAP if is_error else FIELD_MAP, vmin=low, vmax=high,
                      extent=sides[0] + sides[1])
    bar = figure.colorbar(image, ax=ax, location="top", aspect=30, pad=0.02, label=label, ticks=MaxNLocator(4), format=PLAIN_NUMBER)
    bar.ax.tick_params(labelsize=7)
    if ax.get_subplotspec().is_first_col():
        ax.set_ylabel("y" if data.coordinates[1] is not None else "y (grid point)")
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(3))
        axis.set_major_formatter(PLAIN_NUMBER)
    return image


def _edges(axis, count):
    """Outer sides of the first and last cell."""
    if axis is None or count < 2:
        return (-0.5, count - 0.5)
    half = (axis[-1] - axis[0]) / (count - 1) / 2
    return (axis[0] - half, axis[-1] + half)


def _curve(ax, x, y, color, **style):
    """A line through the finite points, marked where they are few; a single point is a marker."""
    x, y = _known(x, y)
    ax.plot(x, y, color=color, marker="o" if len(x) <= 12 else None, markersize=3.5, **style)


def _known(x, y):
    keep = np.isfinite(y)
    return x[keep], y[keep]


def _epoch_axis(ax):
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _log_if_wide(ax):
    """Logarithmic y axis where the values are positive and span at least a factor of 5, with readable ticks either way."""
    values = np.concatenate([line.get_ydata() for line in ax.lines] or [np.array([])]).astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        ax.text(0.5, 0.5, "no values", transform=ax.transAxes, ha="center", color=REFERENCE)
    elif values.min() > 0 and values.max() >= 5 * values.min():
        ax.set_yscale("log")
        _log_ticks(ax.yaxis, decades_from=100, most=6)
    elif np.ptp(values) <= 1e-12 * np.abs(values).max():
        ax.set_ylim(*sorted((0.9 * values[0], 1.1 * values[0])) if values[0] else (-1, 1))


def _log_ticks(axis, decades_from, most):
    """At `most` powers of ten where the axis spans that factor, 1-2-5 below it, evenly spaced values under a factor of 4."""
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high >= decades_from * low:
        axis.set_major_locator(LogLocator(numticks=most))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high >= 4 * low else MaxNLocator(3))
        axis.set_major_formatter(PLAIN_NUMBER)


def _key(ax, handles, labels, loc="center", **style):
    """A legend in a place of its own, where no curve can meet it."""
    ax.axis("off")
    ax.legend(handles, labels, loc=loc, borderaxespad=0, **style)


def _title(figure, text):
    figure.suptitle(textwrap.shorten(text, 110, placeholder=" ..."), fontsize=8, color=REFERENCE, x=0.01, ha="left")


def _layer_maps(table, title):
    count = len(table.names)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, min(9.0, 1.4 + 0.13 * count)), sharey=True)
    step = max(1, -(-count // 50))
    for ax, values, label, decades in zip(axes, (table.alpha, table.rate), (r"tail exponent $\alpha$", "learning rate, next epoch"),
                                          (np.inf, RATE_DECADES)):
        norm = _norm(values, decades)
        is_cut = norm is not None and np.nanmin(values) < norm.vmin
        # zero has no logarithm, but is below the scale like any other rate there
        shown = np.maximum(values, norm.vmin / 2) if is_cut else values
        image = ax.pcolormesh(np.arange(len(table.epochs) + 1) - 0.5, np.arange(count + 1) - 0.5, np.ma.masked_invalid(shown.T),
                              cmap=FIELD_MAP, norm=norm)
        ax.set_xticks(*_few(np.arange(len(table.epochs)), [f"{epoch:.0f}" for epoch in table.epochs], 6))
        ax.set_xlabel("epoch")
        ax.grid(False)
        bar = figure.colorbar(image, ax=ax, location="top", label=label, aspect=30, pad=0.01, ticks=MaxNLocator(5), format=PLAIN_NUMBER,
                              extend="min" if is_cut else "neither")
        if norm:
            _log_ticks(bar.ax.xaxis, decades_from=100, most=6)
        bar.ax.tick_params(labelsize=7)
        bar.minorticks_off()
    axes[0].set_yticks(np.arange(0, count, step), table.names[::step], fontsize=6.5)
    axes[0].invert_yaxis()
    _title(figure, title)
    return figure


def _norm(values, decades):
    """Logarithmic colours where the values span at least a decade, from at most so many decades below the largest."""
    known = values[np.isfinite(values)]
    low, high = (max(known.min(), known.max() / 10 ** decades), known.max()) if known.size else (0, 0)
    return LogNorm(low, high) if low > 0 and high >= 10 * low else None


def _few(positions, labels, most):
    step = max(1, -(-len(positions) // most))
    return positions[::step], labels[::step]


def _spectra_page(snapshots, names, title):
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = plt.figure(figsize=(max(WIDTH * columns / 4, 3.6), 0.8 + 1.75 * rows))
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[0.12] + [1] * rows)
    legend = {}
    for i, name in enumerate(names):
        ax = figure.add_subplot(grid[1 + i // columns, i % columns])
        for (epoch, spectrum), style, tail in zip(snapshots.items(), (FIRST, LAST), ("#000000", PALETTE[1])):
            if name in spectrum:
                legend.update(_spectrum(ax, spectrum[name], epoch, style, tail))
        ax.set_title(f"{name}\n" + _alphas([spectrum[name] for spectrum in snapshots.values() if name in spectrum]), fontsize=8)
        ax.set_xscale("log")
        ax.set_yscale("log")
        most = max(len(spectrum[name].eigenvalues) for spectrum in snapshots.values() if name in spectrum)
        ax.set_ylim(0.5 / most, 1.6)
        _log_ticks(ax.xaxis, decades_from=20, most=4)
        _log_ticks(ax.yaxis, decades_from=20, most=4)
        ax.tick_params(labelsize=7)
    _key(figure.add_subplot(grid[0, :]), legend.values(), legend.keys(), ncol=4 if columns > 2 else 2)
    figure.supxlabel(r"eigenvalue $\lambda$", fontsize=9)
    figure.supylabel(r"fraction of eigenvalues $\geq \lambda$", fontsize=9)
    _title(figure, title)
    return figure


def _spectrum(ax, spectrum, epoch, style, tail_colour):
    """Draws one layer at one epoch; returns {legend text: handle}."""
    drawn = {}
    few = len(spectrum.eigenvalues) <= 200
    drawn[f"epoch {epoch}"], = ax.plot(*tail_fraction(spectrum), "o" if few else "-", **style)
    fitted = fitted_tail(spectrum)
    if fitted:
        drawn[f"fit, epoch {epoch}"], = ax.plot(*fitted, "--", color=tail_colour, linewidth=1.3)
    return drawn


def _alphas(spectra_of_layer):
    alphas = [f"{spectrum.alpha:.2f}" if np.isfinite(spectrum.alpha) else "no fit" for spectrum in spectra_of_layer]
    return r"$\alpha$ = " + r" $\rightarrow$ ".join(alphas) if any(alpha != "no fit" for alpha in alphas) else "no fit"


def _images(truth, guess, fields, title):
    count, nx, ny = truth.shape
    # 1.75 inches is what labels and colour bars leave of the width for an image
    height = np.clip(1.75 * ny / nx, 0.5, 6) + 0.06
    figure, axes = plt.subplots(count, 3, figsize=(WIDTH, count * height + 0.75), sharex=True, sharey=True, squeeze=False)
    for row, name, true, guessed in zip(axes, fields, truth, guess):
        low, high = _scale(true)
        error = np.ma.masked_invalid(guessed - true)
        most = _largest(error) or 1
        for ax, values in zip(row[:2], (true, guessed)):
            image = ax.imshow(values.T, origin="lower", cmap=FIELD_MAP, vmin=low, vmax=high)
        difference = row[2].imshow(error.T, origin="lower", cmap=ERROR_MAP, vmin=-most, vmax=most)
        # the truth sets the scale, so that a prediction that blows up shows as saturated instead of hiding the truth
        beyond = ("neither", "min", "max", "both")[int((guessed < low).any()) + 2 * int((guessed > high).any())]
        _colourbar(figure, image, row[:2], extend=beyond)
        _colourbar(figure, difference, row[2])
        row[0].set_ylabel(f"{name}\ny (grid point)")
    for ax, heading in zip(axes[0], ("truth", "prediction", "error (prediction − truth)")):
        ax.set_title(heading)
    for ax in axes[-1]:
        ax.set_xlabel("x (grid point)")
    for ax in axes.flat:
        ax.grid(False)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _title(figure, title)
    return figure


def _colourbar(figure, image, axes, **style):
    bar = figure.colorbar(image, ax=axes, fraction=0.08, pad=0.02, ticks=MaxNLocator(5), format=PLAIN_NUMBER, **style)
    bar.ax.tick_params(labelsize=7)


def _scale(values):
    low, high = np.nanmin(values), np.nanmax(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _largest(values):
    known = np.abs(values.compressed())
    return known.max() if known.size else 0


def _lines(truth, guess, fields, title):
    figure, axes = plt.subplots(len(fields), 2, figsize=(WIDTH, 0.8 + 1.7 * len(fields)), sharex=True, squeeze=False)
    for row, name, true, guessed in zip(axes, fields, truth, guess):
        row[0].plot(true, color=REFERENCE, linewidth=2.4, alpha=0.7, label="truth")
        row[0].plot(guessed, color=PALETTE[1], linestyle="--", label="prediction")
        row[1].plot(guessed - true, color=PALETTE[0])
        row[1].axhline(0, color=REFERENCE, linewidth=0.6)
        row[0].set_ylabel(name)
        row[1].set_ylabel(f"error of {name}")
    axes[0, 0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2)
    for ax in axes[-1]:
        ax.set_xlabel("x (grid point)")
    _title(figure, title)
    return figure


def _group_colours(rows):
    """The baseline is grey, as in every figure; more groups than colours repeat them."""
    colours = iter(PALETTE * (1 + len(rows) // len(PALETTE)))
    return [REFERENCE if row.baseline == row.group.label else next(colours) for row in rows]


def _legend_label(row):
    return f"{textwrap.shorten(row.group.label, 70, placeholder=' ...')} (n = {len(row.group.runs)})"


def _verdict(row):
    if row.baseline == row.group.label:
        return "baseline"
    if row.improvement is None:
        return ""
    change = f"{abs(row.improvement):.1f} % {'lower' if row.improvement >= 0 else 'higher'}"
    if row.p is None:
        return f"{change}\n{row.p_note}"
    p = format_p(row.p)
    return f"{change}\np {p}" if p.startswith(">") else f"{change}\np = {p}"
