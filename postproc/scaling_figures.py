"""The scaling study's figures, from scaling.py's series and fits. Measured: dots and full lines; simulated: dashed; fits: thin."""
import matplotlib.lines
import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator

from figures import PALETTE, PLAIN_NUMBER, REFERENCE, WIDTH, plt

PHASES = ("forward", "backward", "allreduce", "optimizer", "io")
TITLES = {"strong": "strong: same global batch", "weak": "weak: same samples per rank",
          "refresh_published": "refresh, published layers", "refresh_all": "refresh, all layers"}
KEY_HEIGHT = 0.28  # inches
TICKS = 6  # of an axis of rank counts, at most


def draw(fits):
    """(file name, figure) of everything there are series for."""
    steps = [(one, found) for one, found in fits if one.kind in ("strong", "weak")]
    refreshes = [(one, found) for one, found in fits if one.kind.startswith("refresh")]
    if any(one.kind == "strong" for one, _ in steps):
        yield "speedup.png", speedup([pair for pair in steps if pair[0].kind == "strong"])
    if steps:
        yield "efficiency.png", efficiency(steps)
        yield "phases.png", phases([one for one, _ in steps])
    remembered = [one for one, _ in steps if np.isfinite(one.values["memory_rank"]).any()]
    if remembered:
        yield "memory.png", memory(remembered)
    if refreshes:
        yield "refresh.png", refresh(refreshes)


def speedup(pairs):
    """A panel a model."""
    models = names(pairs)
    figure, axes, key = panels(1, len(models), 2.7)
    for ax, model, colour in zip(axes[0], models, PALETTE):
        mine = [pair for pair in pairs if pair[0].model == model]
        ranks = all_ranks(mine)
        ax.plot(ranks, ranks, color=REFERENCE, linewidth=0.8)
        for one, found in mine:
            line(ax, one, one.speedup, colour)
            if found and one.source == "measured":
                fitted(ax, one, colour, one.ranks[0] * one.step[0] / found(fit_points(one)))
        rank_axis(ax, ranks)
        log2_axis(ax)
        ax.set_title(model)
    axes[0, 0].set_ylabel("speed-up, strong scaling")
    style_key(key, [one for one, _ in pairs], "ideal", any(found and one.source == "measured" for one, found in pairs))
    return figure


def efficiency(pairs):
    """A panel a kind, a colour a model."""
    kinds, models = kinds_of(pairs), names(pairs)
    figure, axes, key = panels(1, len(kinds), 2.8, sharey=True)
    for ax, kind in zip(axes[0], kinds):
        mine = [pair for pair in pairs if pair[0].kind == kind]
        ax.axhline(100, color=REFERENCE, linewidth=0.8)
        for one, _ in mine:
            line(ax, one, 100 * one.efficiency, PALETTE[models.index(one.model)])
        rank_axis(ax, all_ranks(mine))
        ax.set_title(TITLES[kind])
        ax.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("parallel efficiency (%)")
    model_key(axes[0, -1], models)
    style_key(key, [one for one, _ in pairs], "ideal")
    return figure


def phases(all_series):
    """Shares of the phases of a step: a row a model, a column a kind; simulated bars are hatched."""
    models = list(dict.fromkeys(one.model for one in all_series))
    kinds = [kind for kind in ("strong", "weak") if any(one.kind == kind for one in all_series)]
    figure, axes, key = panels(len(models), len(kinds), 0.6 + 1.6 * len(models), sharey=True)
    for row, model in zip(axes, models):
        for ax, kind in zip(row, kinds):
            bars(ax, [one for one in all_series if (one.model, one.kind) == (model, kind)])
            ax.set_ylim(0, 100)
            ax.grid(axis="x", visible=False)
        row[0].set_ylabel(f"{model}\nshare of a step (%)")
    for ax, kind in zip(axes[0], kinds):
        ax.set_title(TITLES[kind])
    for ax in axes[-1]:
        ax.set_xlabel("ranks")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in PALETTE[:len(PHASES)]]
    labels = list(PHASES)
    if any(one.source == "simulated" for one in all_series):
        handles.append(plt.Rectangle((0, 0), 1, 1, facecolor="white", edgecolor=REFERENCE, hatch="////"))
        labels.append("simulated")
    key.legend(handles, labels, loc="center", ncol=len(labels), handlelength=1.4, columnspacing=1.2)
    return figure


def bars(ax, mine):
    at, labels, places = 0, [], []
    for one in mine:
        total = sum(one.values[name] for name in PHASES)
        for i, p in enumerate(one.ranks):
            bottom = 0
            for name, colour in zip(PHASES, PALETTE):
                share = 100 * one.values[name][i] / total[i]
                ax.bar(at, share, 0.8, bottom, color=colour, hatch="////" if one.source == "simulated" else None, edgecolor="white", linewidth=0)
                bottom += share
            places.append(at)
            labels.append(f"{p:g}" + ("*" if one.oversubscribed[i] else ""))
            at += 1
        at += 0.6
    crowded = len(places) > 8
    ax.set_xticks(places, labels, rotation=90 if crowded else 0, fontsize=6.5 if crowded else 8)


def memory(all_series):
    """The largest rank's high-water mark; measured only."""
    pairs = [(one, None) for one in all_series]
    kinds, models = kinds_of(pairs), names(pairs)
    figure, axes, key = panels(1, len(kinds), 2.5, sharey=True)
    for ax, kind in zip(axes[0], kinds):
        mine = [pair for pair in pairs if pair[0].kind == kind]
        for one, _ in mine:
            line(ax, one, one.values["memory_rank"] / 2**20, PALETTE[models.index(one.model)])
        rank_axis(ax, all_ranks(mine))
        ax.set_title(TITLES[kind])
        ax.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("memory of the largest rank (MiB)")
    model_key(axes[0, -1], models)
    style_key(key, all_series)
    return figure


def refresh(pairs):
    """Seconds of a refresh over ranks, with what an even division would take. The range is that of the measured points where there are any:
    predictions go on to many more ranks."""
    kinds, models = kinds_of(pairs), names(pairs)
    figure, axes, key = panels(1, len(kinds), 2.8)
    for ax, kind in zip(axes[0], kinds):
        mine = [pair for pair in pairs if pair[0].kind == kind]
        shown = [pair for pair in mine if pair[0].source == "measured"] or mine
        for one, _ in mine:
            line(ax, one, one.step, PALETTE[models.index(one.model)])
        for one, _ in shown:
            ax.plot(one.ranks, one.ranks[0] * one.step[0] / one.ranks, color=REFERENCE, linewidth=0.6, zorder=1)
        rank_axis(ax, all_ranks(shown))
        ax.set_yscale("log")
        ax.set_xlim(log_range(all_ranks(shown)))
        ax.set_ylim(log_range(np.concatenate([np.concatenate((one.step, one.high)) for one, _ in shown])))
        ax.set_title(TITLES[kind])
    axes[0, 0].set_ylabel("seconds of a refresh")
    model_key(axes[0, -1], models)
    style_key(key, [one for one, _ in pairs], "even division")
    return figure


# ---- what they share --------------------------------------------------------------------------------------------------------


def panels(rows, columns, height, sharey=False):
    """Figure, axes (row, column) and below them an empty one for a key."""
    figure = plt.figure(figsize=(WIDTH, height + KEY_HEIGHT))
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[height / rows] * rows + [KEY_HEIGHT])
    axes = np.empty((rows, columns), object)
    for row, column in np.ndindex(rows, columns):
        axes[row, column] = figure.add_subplot(grid[row, column], sharey=axes[row, 0] if sharey and column else None)
        if sharey and column:
            axes[row, column].tick_params(labelleft=False)
    key = figure.add_subplot(grid[rows, :])
    key.axis("off")
    return figure, axes, key


def names(pairs):
    return list(dict.fromkeys(one.model for one, _ in pairs))


def kinds_of(pairs):
    return [kind for kind in TITLES if any(one.kind == kind for one, _ in pairs)]


def all_ranks(pairs):
    return np.unique(np.concatenate([one.ranks for one, _ in pairs]))


def line(ax, one, values, colour):
    """Oversubscribed points are hollow; measured ones have a bar to the slowest repeat."""
    if one.source == "simulated":
        ax.plot(one.ranks, values, color=colour, linestyle="--", linewidth=1.1)
        return
    none = np.zeros(len(one.step))
    spread = np.array([none, one.high - one.step] if values is one.step else [values * (1 - one.step / one.high), none])
    if values is not one.values["memory_rank"]:
        ax.errorbar(one.ranks, values, yerr=spread, color=colour, linewidth=1.2, elinewidth=0.7, capsize=2)
    for hollow in (False, True):
        some = one.oversubscribed == hollow
        ax.plot(one.ranks[some], values[some], "o", color=colour, markersize=4, markerfacecolor="white" if hollow else colour)


def fit_points(one):
    return np.geomspace(one.ranks[0], max(one.ranks[~one.oversubscribed]), 40)


def fitted(ax, one, colour, values):
    ax.plot(fit_points(one), values, color=colour, linewidth=0.7, linestyle=":")


def log_range(values):
    """The limits of a logarithmic axis that shows them all, with a margin."""
    low, high = min(values), max(values)
    margin = max(1.15, (high / low) ** 0.05)
    return low / margin, high * margin


def rank_axis(ax, ranks):
    ax.set_xscale("log", base=2)
    every = -(-len(ranks) // TICKS)
    ax.xaxis.set_major_locator(FixedLocator(ranks[::every]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(PLAIN_NUMBER)
    ax.set_xlabel("ranks")


def log2_axis(ax):
    ax.set_yscale("log", base=2)
    low, high = ax.get_ylim()
    powers = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    ax.yaxis.set_major_locator(FixedLocator(powers[::max(1, -(-len(powers) // TICKS))]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(PLAIN_NUMBER)


def model_key(ax, models):
    handles = [matplotlib.lines.Line2D([], [], color=PALETTE[i], marker="o", markersize=4) for i in range(len(models))]
    ax.legend(handles, models, loc="center left", bbox_to_anchor=(1.01, 0.5), title="model")


def style_key(ax, all_series, ideal=None, with_fit=False):
    def mark(**style):
        return matplotlib.lines.Line2D([], [], color="black", **style)

    entries = {"measured": mark(marker="o", markersize=4)}
    if any(one.source == "measured" and one.oversubscribed.any() for one in all_series):
        entries["more ranks than cores"] = mark(marker="o", markersize=4, markerfacecolor="white")
    if with_fit:
        entries["fit"] = mark(linestyle=":", linewidth=0.7)
    if any(one.source == "simulated" for one in all_series):
        entries["simulated"] = mark(linestyle="--", linewidth=1.1)
    if ideal:
        entries[ideal] = matplotlib.lines.Line2D([], [], color=REFERENCE, linewidth=0.8)
    ax.legend(entries.values(), entries.keys(), loc="center", ncol=len(entries))
