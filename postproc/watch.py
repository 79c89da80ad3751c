#!/usr/bin/env python3
"""Follows training runs in a terminal: how far they are, loss and test error, tail exponent alpha and learning rate of every layer.

  watch.py RUN        one run on the whole screen, until it ends or Ctrl-C
  watch.py RUN RUN    a line a run
  watch.py --once RUN one plain frame

Needs the standard library alone. A run that has not started yet is waited for.
"""
import argparse
import csv
import json
import math
import os
import shutil
import sys
import time

BLOCKS = {False: " ▁▂▃▄▅▆▇█", True: " .:-=+*#@"}
ARROWS = {False: "↑↓ ", True: "^v "}
CURVE_WIDTH = 60


def main(arguments=None):
    options = parse(arguments)
    for directory in options.runs:
        if os.path.exists(directory) and not os.path.isdir(directory):
            return complain(f"{directory}: is no run directory")
        if os.path.isdir(directory) and os.listdir(directory) and not any(os.path.exists(os.path.join(directory, name)) for name in ("resolved.yaml", "metrics.csv", "run.json")):
            return complain(f"{directory}: holds no run")
    if options.once:
        print("\n".join(frame(options.runs, *shutil.get_terminal_size(), options.ascii)))
        return 0
    try:
        follow(options)
    except KeyboardInterrupt:
        pass
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory (out_dir of `evenkeel train`)")
    parser.add_argument("--interval", type=float, default=2, metavar="S", help="seconds between looks (default: 2)")
    parser.add_argument("--once", action="store_true", help="print one frame and end")
    parser.add_argument("--ascii", action="store_true", help="plain letters only")
    return parser.parse_args(arguments)


def complain(text):
    print(f"watch.py: {text}", file=sys.stderr)
    return 1


def follow(options):
    """Redraws in place on the alternate screen; the last frame stays on the ordinary one."""
    screen = sys.stdout.isatty()
    lines = []
    if screen:
        sys.stdout.write("\033[?1049h\033[?25l")
    try:
        while True:
            lines = frame(options.runs, *shutil.get_terminal_size(), options.ascii)
            if screen:
                sys.stdout.write("\033[H" + "".join(line + "\033[K\n" for line in lines[:-1]) + lines[-1] + "\033[J")
                sys.stdout.flush()
            if all(Run(directory).summary for directory in options.runs):
                break
            time.sleep(options.interval)
    finally:
        if screen:
            sys.stdout.write("\033[?25h\033[?1049l")
        print("\n".join(lines))


# ---- what a run directory says -------------------------------------------------------------------------------------------------


class Run:
    """Whatever is there: files may be missing, and their last lines half written."""

    def __init__(self, directory):
        self.directory = directory
        self.name = os.path.basename(os.path.abspath(directory))
        self.epochs = self._epochs()
        self.metrics = self._rows("metrics.csv")
        self.layers = self._rows("layers.csv")
        self.summary = self._json("summary.json")
        if self.summary and self.epochs and self.summary.get("epochs", self.epochs) < self.epochs:
            self.summary = None  # of an earlier, shorter sitting

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _epochs(self):
        """train_epochs of resolved.yaml; its blocks are two levels deep."""
        try:
            with open(self._path("resolved.yaml"), encoding="utf-8") as file:
                block = ""
                for line in file:
                    if not line.startswith(" "):
                        block = line.strip()
                    elif block == "train:" and line.strip().startswith("epochs:"):
                        return int(line.split(":")[1])
        except (OSError, ValueError):
            pass
        return None

    def _rows(self, name):
        try:
            with open(self._path(name), encoding="utf-8", newline="") as file:
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [row for row in csv.DictReader(whole) if None not in row and None not in row.values()]

    def _json(self, name):
        try:
            with open(self._path(name), encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def column(self, name):
        return [number(row.get(name)) for row in self.metrics]

    def last(self, name):
        found = [value for value in self.column(name) if not math.isnan(value)]
        return found[-1] if found else math.nan

    def seconds_left(self):
        """From the mean of the last epochs' durations."""
        recent = self.column("seconds")[-10:]
        if not recent or not self.epochs:
            return math.nan
        return sum(recent) / len(recent) * (self.epochs - len(self.metrics))

    def checkpoint_age(self):
        try:
            return time.time() - os.stat(self._path("checkpoint.h5")).st_mtime
        except OSError:
            return math.nan

    def layer_rows(self):
        """(name, alpha, change since the refresh before, rate) of the last refresh, largest alpha first."""
        epochs = sorted({int(number(row["epoch"])) for row in self.layers})
        before = {row["layer"]: number(row["alpha"]) for row in self.layers if len(epochs) > 1 and int(number(row["epoch"])) == epochs[-2]}
        now = [(row["layer"], number(row["alpha"]), number(row["alpha"]) - before.get(row["layer"], math.nan), number(row["lr"]))
               for row in self.layers if epochs and int(number(row["epoch"])) == epochs[-1]]
        return sorted(now, key=lambda row: -row[1] if not math.isnan(row[1]) else math.inf)


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


# ---- frames ----------------------------------------------------------------------------------------------------------------------


def frame(directories, width, height, plain):
    """Lines of one picture, none longer than `width`, no more of them than `height`."""
    runs = [Run(directory) for directory in directories]
    lines = [line_of(run, width, plain) for run in runs] if len(runs) > 1 else picture_of(runs[0], width, height, plain)
    return [line[:width] for line in lines[: max(height, 1)]]


def line_of(run, width, plain):
    name = max(12, min(40, width // 3))
    return f"{run.name[:name]:{name}} {bar(run, 12, plain)} {state_of(run)}"


def state_of(run):
    if run.summary:
        return f"done  nRMSE {show((run.summary.get('metrics') or {}).get('nRMSE'))}"
    if not run.metrics:
        return "no epoch yet" if run.epochs else "waiting for it to start"
    return f"epoch {len(run.metrics)}/{run.epochs or '?'}  loss {show(run.last('train_loss'))}  nRMSE {show(run.last('nRMSE'))}  {duration(run.seconds_left())} left"


def picture_of(run, width, height, plain):
    lines = [f"{run.name}  {bar(run, min(30, width // 3), plain)}", state_of(run)]
    if run.metrics:
        lines.append(f"rate {show(run.last('base_lr'))}   {show(run.last('seconds'))} s an epoch   checkpoint {duration(run.checkpoint_age())} ago")
        for name in ("train_loss", "nRMSE"):
            lines += curve(name, run.column(name), width, plain)
    if run.summary:
        lines += ["", *final_figures(run)]
    rows = run.layer_rows()
    if rows:
        lines += ["", f"{'layer':24} {'alpha':>9}   {'rate':>10}"]
        room = max(1, height - len(lines) - 1)
        lines += [layer_line(row, plain) for row in rows[:room]]
        if len(rows) > room:
            lines.append(f"and {len(rows) - room} more")
    return lines


def bar(run, cells, plain):
    done = len(run.metrics) / run.epochs if run.epochs else 0
    full = round(cells * min(done, 1))
    return "[" + BLOCKS[plain][-1] * full + "." * (cells - full) + f"] {100 * done:3.0f} %"


def layer_line(row, plain):
    name, alpha, change, rate = row
    arrow = ARROWS[plain][2 if math.isnan(change) or change == 0 else 0 if change > 0 else 1]
    return f"{name[:24]:24} {show(alpha):>9} {arrow} {show(rate):>10}"


def curve(name, values, width, plain):
    """A line of blocks on a logarithmic scale: values of equally many epochs a cell, their last one."""
    known = [value for value in values if value > 0 and math.isfinite(value)]
    cells = min(CURVE_WIDTH, width - 36)
    if len(known) < 2 or cells < 8:
        return []
    cells = min(cells, len(known))
    shown = [math.log(known[(i + 1) * len(known) // cells - 1]) for i in range(cells)]
    low, high = min(shown), max(shown)
    levels = BLOCKS[plain]
    text = "".join(levels[1 + round((len(levels) - 2) * ((value - low) / (high - low) if high > low else 0))] for value in shown)
    return [f"{name:10} {text}  {show(known[0])} to {show(known[-1])}"]


def final_figures(run):
    figures = run.summary.get("metrics") or {}
    timing = run.summary.get("timing") or {}
    phases = {name: value for name, value in (timing.get("phase_seconds") or {}).items() if value}
    total = sum(phases.values())
    lines = ["  ".join(f"{name} {show(value)}" for name, value in figures.items())]
    lines.append(f"training {duration(number(timing.get('train_seconds')))}, rebalancing {100 * number(timing.get('balance_share')):.1f} % of it")
    lines.append("  ".join(f"{name} {100 * value / total:.0f} %" for name, value in sorted(phases.items(), key=lambda item: -item[1])[:6]))
    return lines


def show(value):
    value = number(value)
    return "-" if math.isnan(value) else f"{value:.4g}"


def duration(seconds):
    if math.isnan(seconds):
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


if __name__ == "__main__":
    sys.exit(main())
