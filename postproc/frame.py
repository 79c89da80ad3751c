"""What watch.py shows: the frame of one run, and the lines of several, as [(style, text)] that fit a terminal's size."""
import math
from dataclasses import dataclass

import live
import textplot
from plain import duration

TITLE, PLAIN, FAINT, ALARM = "title", "plain", "faint", "alarm"
FIGURES = ("RMSE", "nRMSE", "cRMSE", "max", "bRMSE", "fRMSE_low", "fRMSE_mid", "fRMSE_high")
NUMBERS = 34  # columns of a layer's alpha, change and rate
TALLEST_PLOT = 10  # lines, where there is no bottom
LEAST_PLOT = 5
SIDE_BY_SIDE = 80  # columns from which the two plots are beside one another


@dataclass
class Look:
    """The terminal: height None means that there is no bottom."""

    width: int
    height: int = None
    ascii_only: bool = False

    def sign(self, name):
        signs = {"dot": (" · ", " | "), "up": ("↑", "^"), "down": ("↓", "v"), "same": (" ", " "), "alpha": ("α", "alpha")}
        return signs[name][self.ascii_only]


def frame(run, look):
    """Everything about one run, the most important first, cut to the terminal."""
    lines = heading(run, look)
    if run.state != live.WAITING:
        lines += final_figures(run) + phases(run, look)
        lines += plots(run, look, room_for_plots(run, look, len(lines)))
        lines += layers(run, look, None if look.height is None else look.height - len(lines))
    lines = [(style, textplot.fit(text, look.width, look.ascii_only).rstrip()) for style, text in lines]
    return lines[:look.height]


def heading(run, look):
    rule, seed = run.config.get("balance_rule"), run.config.get("train_seed")
    parts = [run.name, run.state, run.config.get("model_type"), rule and f"rule {rule}", seed and f"seed {seed}", where(run)]
    lines = [(TITLE, look.sign("dot").join(part for part in parts if part))]
    if run.state == live.WAITING:
        return lines + [(PLAIN, f"waiting for the run to start: nothing in {run.directory} yet")]
    lines += flow(progress(run, look), look) + flow(figures(run), look)
    if run.state == live.SILENT:
        lines.append((ALARM, f"no epoch for {duration(run.news_age)}: stopped, or waiting to be continued?"))
    loss = run.last("train_loss")
    if loss is not None and not math.isfinite(loss):
        lines.append((ALARM, f"the training loss of epoch {run.done} is not finite: training has diverged"))
    if run.damaged:
        lines.append((ALARM, f"{run.damaged} damaged lines in metrics.csv and layers.csv are left out"))
    return lines


def where(run):
    if not run.hosts:
        return None
    hosts = set(run.hosts)
    host = run.hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
    return host + (f", {run.ranks} rank{'s' if run.ranks != 1 else ''}" if run.ranks else "")


def progress(run, look):
    wanted = run.wanted
    text = f"epoch {run.done}" + (f" of {wanted}" if wanted else "")
    if wanted:
        text += f"  {textplot.bar(run.done / wanted, max(5, min(30, look.width - 60)), look.ascii_only)} {percent(run.done / wanted)}"
    parts = [text]
    if run.seconds_an_epoch:
        parts.append(f"{duration(run.seconds_an_epoch)} an epoch")
    if run.state == live.RUNNING and run.seconds_left:
        parts.append(f"ETA {duration(run.seconds_left)}")
    return parts


def flow(parts, look, first=""):
    """The parts in as few lines as they fit into."""
    lines = [first]
    for i, part in enumerate(parts):
        longer = lines[-1] + (look.sign("dot") if i else "") + part
        if i and textplot.columns_of(longer) > look.width:
            lines.append(" " * len(first) + part)
        else:
            lines[-1] = longer
    return [(PLAIN, line) for line in lines]


def figures(run):
    """The newest figures."""
    parts = [f"loss {show(run.last('train_loss'))}"]
    tests = run.series("nRMSE")
    if tests:
        epoch, best = min(tests, key=lambda point: point[1])
        parts.append(f"test nRMSE {show(tests[-1][1])} (best {show(best)}, epoch {epoch:g})")
    parts.append(f"base rate {show(run.last('base_lr'))}")
    if run.balance_share is not None:
        parts.append(f"balancing {percent(run.balance_share)}")
    parts.append("no checkpoint yet" if run.checkpoint_age is None else f"checkpoint {duration(run.checkpoint_age)} ago")
    return parts


def room_for_plots(run, look, used):
    """Half of what is left of the screen, or more where the layers leave it."""
    beside = look.width >= SIDE_BY_SIDE
    if look.height is None:
        return TALLEST_PLOT if beside else 2 * TALLEST_PLOT
    rest = look.height - used
    return min(max(rest // 2, rest - len(layers(run, look, None))), 16 if beside else 24)


def plots(run, look, height):
    """Loss and test error in `height` lines: side by side where the width allows it, below one another where the height does."""
    curves = [("training loss", run.series("train_loss")), ("test nRMSE", run.series("nRMSE"))]
    beside = look.width >= SIDE_BY_SIDE
    if not beside:
        curves = [curve for curve in curves if curve[1]][:max(1, height // (LEAST_PLOT + 1))]
    if not beside and curves:
        height //= len(curves)
    if height < LEAST_PLOT:
        return []
    width = (look.width - 2) // 2 if beside else look.width
    epochs = (run.epochs[0]["epoch"], run.done) if run.epochs else None
    drawn = [[f"{'':{textplot.LABEL + 2}}{title}"] + textplot.plot(points, width, height - 2, epochs, look.ascii_only) + [""]
             for title, points in curves]
    if beside:
        return [(PLAIN, textplot.pad(left, width + 2) + right) for left, right in zip(*drawn)]
    return [(PLAIN, line) for lines in drawn for line in lines]


def layers(run, look, height):
    """Largest alpha first, layers without a fit last; in as many columns as fit beside one another."""
    if not run.layers or (height is not None and height < 2):
        return []
    known = sorted(run.layers.values(), key=lambda layer: -live.known(layer.alpha, -math.inf))
    name = max(5, min(max(textplot.columns_of(layer.name) for layer in known), look.width - NUMBERS, 40))
    block = name + NUMBERS
    across = max(1, (look.width + 3) // (block + 3))
    room = len(known) if height is None else min(len(known), (height - 1) * across)
    hidden = len(known) - room
    if hidden and height > 2:
        room = (height - 2) * across
        hidden = len(known) - room
    down = max(1, -(-room // across))
    rows = [layer_line(layer, name, look) for layer in known[:room]]
    used = -(-room // down)
    title = f"{textplot.pad('layer', name)} {look.sign('alpha'):>8}  {'change':<10} {'rate':>9}".ljust(block)
    lines = [(TITLE, "   ".join([title] * used))]
    for i in range(down):
        lines.append((PLAIN, "   ".join(rows[i + down * column] for column in range(used) if i + down * column < len(rows))))
    if hidden and (height is None or len(lines) < height):
        lines.append((FAINT, f"and {hidden} layers more, of smaller {look.sign('alpha')}"))
    return lines


def layer_line(layer, width, look):
    alpha = f"{layer.alpha:8.3f}" if math.isfinite(layer.alpha) else "  no fit"
    change = layer.alpha - layer.alpha_before
    moved = f"{arrow(change, 5e-4, look)}{abs(change):<9.3f}" if math.isfinite(change) else " " * 10
    turn = arrow(layer.rate - layer.rate_before, 1e-6 * abs(layer.rate), look)
    return f"{textplot.pad(layer.name, width, look.ascii_only)} {alpha}  {moved} {layer.rate:9.3e} {turn} "


def arrow(change, least, look):
    return look.sign("same" if not abs(change) > least else "up" if change > 0 else "down")


def phases(run, look):
    """Where the time went, largest first; known at the end of a run."""
    seconds = ((run.summary or {}).get("timing") or {}).get("phase_seconds") or {}
    total = sum(live.known(value, 0) for value in seconds.values())
    shares = sorted(((live.known(value, 0) / total, name) for name, value in seconds.items()), reverse=True) if total else []
    parts = [f"{name} {percent(share)}" for share, name in shares if share >= 5e-4]
    return flow(parts, look, "time: ") if parts else []


def final_figures(run):
    """Figures of the final weights, as `train` prints them."""
    if run.summary is None:
        return []
    lines = [(TITLE, f"{'test set':<12}{'predicted frames':>18}{'all frames':>14}")]
    blocks = [run.summary.get(name) or {} for name in ("metrics", "metrics_published")]
    for name in FIGURES:
        if any(name in block for block in blocks):
            lines.append((PLAIN, f"{name:<12}{show(blocks[0].get(name)):>18}{show(blocks[1].get(name)):>14}"))
    return lines + [(PLAIN, "")] if len(lines) > 1 else []


def overview(runs, look):
    """A line for each run under a heading."""
    room = len(runs) if look.height is None else max(0, look.height - 1)
    shown = runs if len(runs) <= room else runs[:max(0, room - 1)]
    name = min(max(textplot.columns_of(run.name) for run in runs), max(8, look.width - 68), 40)
    lines = [(TITLE, f"{textplot.pad('run', name)}  {'epoch':>11} {'':16} {'loss':>9} {'nRMSE':>9}  state")]
    lines += [(ALARM if run.state == live.SILENT else PLAIN, overview_line(run, name, look)) for run in shown]
    if len(shown) < len(runs):
        lines.append((FAINT, f"and {len(runs) - len(shown)} runs more"))
    return [(style, textplot.fit(text, look.width, look.ascii_only).rstrip()) for style, text in lines][:look.height]


def overview_line(run, width, look):
    name = textplot.pad(run.name, width, look.ascii_only)
    if run.state == live.WAITING:
        return f"{name}  {'-':>11} {'':16} {'-':>9} {'-':>9}  waiting to start"
    tests = run.series("nRMSE")
    epochs = f"{run.done}/{run.wanted or '?'}"
    filled = textplot.bar(run.done / run.wanted, 10, look.ascii_only) + f" {percent(run.done / run.wanted):>5}" if run.wanted else ""
    state = run.state
    if state == live.RUNNING and run.seconds_left:
        state = f"ETA {duration(run.seconds_left)}"
    elif state == live.SILENT:
        state = f"silent for {duration(run.news_age)}"
    test = final_nrmse(run) if run.state == live.FINISHED else tests[-1][1] if tests else None
    return f"{name}  {epochs:>11} {filled:16} {show(run.last('train_loss')):>9} {show(test):>9}  {state}"


def final_nrmse(run):
    return (run.summary.get("metrics") or {}).get("nRMSE")


def show(value):
    """Four significant digits; '-' for a figure that is not there."""
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.3e}" if math.isfinite(value) and value and not 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def percent(share):
    return f"{100 * share:.0f} %" if share >= 0.0995 or not share else f"{100 * share:.2g} %" if share >= 1e-4 else "<0.01 %"
