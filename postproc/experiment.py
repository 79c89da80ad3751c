#!/usr/bin/env python3
"""Runs the rows of an experiment: a file that describes a table of training runs.

  experiment.py list FILE      the rows: number, labels, state, directory
  experiment.py count FILE     how many there are
  experiment.py status FILE    how far it is: rows done, what is running, what failed, the time left
  experiment.py run FILE       runs what is not finished, several rows side by side; after an interruption the same command goes on
  experiment.py run FILE --row K   one row, with the program's exit status: what a job array calls

Environment: EVENKEEL is the program (build/evenkeel), LAUNCH the launcher with its options (mpirun -n RANKS --bind-to none);
with LAUNCH, -n RANKS is added only if --ranks is given. table.py makes tables and figures of the rows.
"""
import argparse
import os
import sys

import needs  # noqa: F401 (tells of missing modules, so before the others)
import rows
from launch import Launcher, Runner, cores
from rows import ExperimentError


def main(arguments=None):
    options = parse(arguments)
    try:
        return options.command(rows.load(options.file), options)
    except (ExperimentError, OSError) as error:
        print(f"experiment.py: {error}", file=sys.stderr)
        return 1


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="list|count|status|run")
    for name, command in (("list", list_rows), ("count", count_rows), ("status", show_status), ("run", run_rows)):
        sub = commands.add_parser(name)
        sub.set_defaults(command=command)
        sub.add_argument("file", metavar="FILE", help="experiment, inputs/experiments/NAME.yaml")
    at_least_1 = {"type": positive, "metavar": "N"}
    sub.add_argument("--jobs", **at_least_1, help="rows side by side (default: cores / ranks)")
    sub.add_argument("--ranks", **at_least_1, help="ranks of each row (default: 1)")
    sub.add_argument("--row", type=int, metavar="K", help="this row alone; the exit status is the program's (75: stopped after a checkpoint)")
    sub.add_argument("--dry-run", action="store_true", help="only print the commands")
    sub.add_argument("--keep-going", action="store_true", help=f"also if the first {Runner.HOPELESS} rows have all failed")
    return parser.parse_args(arguments)


def positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def list_rows(experiment, _):
    lines = [["row", *map(rows.short, experiment.axes), "state", "directory"]]
    lines += [[str(row.number), *row.labels.values(), rows.state_of(row), row.directory] for row in experiment.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return 0


def count_rows(experiment, _):
    print(len(experiment.rows))
    return 0


def show_status(experiment, _):
    states = {row.number: rows.state_of(row) for row in experiment.rows}
    told, finished = rows.count_unfinished(states.values()), list(states.values()).count("finished")
    print(f"{experiment.name}: {finished} of {len(states)} rows finished" + (f", {told}" if told else ""))
    for row in experiment.rows:
        state = states[row.number]
        if state in ("running", "failed", "changed"):
            remark = rows.remark(row, state)
            print(f"  {state:8} {describe(row)}" + (f": {remark}" if remark else ""))
    running = list(states.values()).count("running")
    left = Estimate(experiment).seconds_left([row for row in experiment.rows if states[row.number] != "finished"], max(1, running))
    if finished < len(states):
        print(f"  about {duration(left)} left with {max(1, running)} at a time" if left else "  no row is finished yet, so nothing is known of the time")
    return 0


def run_rows(experiment, options):
    ranks = options.ranks or 1
    jobs = options.jobs or max(1, cores() // ranks)
    chosen = [rows.row_of_number(experiment, options.row)] if options.row is not None else experiment.rows
    launcher = Launcher(options.ranks, jobs if options.row is None else 1)
    require_unchanged(chosen)
    if options.dry_run:
        return print_commands(experiment, chosen, launcher)
    require_decks(chosen)
    screen = Screen(experiment, chosen, jobs)
    runner = Runner(launcher, screen, jobs, options.keep_going)
    status = runner.make_data(experiment.data)
    if status == 0:
        status = runner.run(chosen)
    return status


def require_unchanged(chosen):
    for row in chosen:
        if rows.state_of(row) == "changed":
            raise ExperimentError(f"{row.directory}: made with other settings: {rows.differences(row)}; move it away (with its .row and .log) "
                                  "or give the experiment another dir")


def require_decks(chosen):
    for deck in sorted({row.deck for row in chosen}):
        if not os.path.exists(deck):
            raise ExperimentError(f"{deck}: no such deck (paths are relative to where the command is started)")


def print_commands(experiment, chosen, launcher):
    for deck in experiment.data:
        print(launcher.text(launcher.generate(deck)))
    for row in chosen:
        if rows.state_of(row) not in ("finished", "running"):
            print(launcher.text(launcher.train(row)))
    return 0


class Screen:
    """What the user sees of a run: a line for every row that ends and, on a terminal, one below that changes."""

    def __init__(self, experiment, chosen, jobs):
        self.experiment, self.chosen, self.jobs = experiment, chosen, jobs
        self.estimate = Estimate(experiment)
        self.live = sys.stdout.isatty()

    def line(self, text):
        print(("\r\033[K" if self.live else "") + text, flush=True)

    def finished(self, row, seconds):
        self.estimate.add(row)
        value = rows.metric_of(row, self.experiment.table)
        figure = f"{self.experiment.table.metric} {value:.4g}" if value is not None else f"no {self.experiment.table.metric}"
        self.line(f"{self._done()}  {describe(row)}  {figure}  {seconds:.0f} s{self._left()}")

    def stopped(self, row):
        self.line(f"{self._done()}  {describe(row)}  stopped after a checkpoint{progress(row)}")

    def failed(self, row, status):
        self.line(f"{self._done()}  {describe(row)}  FAILED, exit status {status}: {rows.last_words(row.log)} ({row.log})")

    def update(self, running):
        if self.live and running:
            width = os.get_terminal_size(sys.stdout.fileno()).columns - 1
            told = "; ".join(f"row {row.number}{progress(row)}" for row in running)
            print(f"\r\033[K{f'{self._done()}  {told}{self._left()}'[:width]}", end="", flush=True)

    def _done(self):
        finished = sum(rows.is_finished(row) for row in self.chosen)
        return f"{finished:{len(str(len(self.chosen)))}d}/{len(self.chosen)}"

    def _left(self):
        left = self.estimate.seconds_left([row for row in self.chosen if not rows.is_finished(row)], self.jobs)
        return f"  {duration(left)} left" if left else ""


class Estimate:
    """How long rows take, from those that are finished: as long as a row that differs in the seed alone, or else in proportion to
    epochs and share of the training set."""

    def __init__(self, experiment):
        self.seeds = experiment.table.seeds
        self.known, self.seconds, self.work = {}, 0.0, 0.0
        for row in experiment.rows:
            if rows.is_finished(row):
                self.add(row)

    def add(self, row):
        seconds = rows.seconds_of(row)
        if isinstance(seconds, (int, float)):
            self.known.setdefault(self._kind(row), []).append(seconds)
            self.seconds += seconds
            self.work += self._work(row)

    def seconds_left(self, remaining, jobs):
        """None if nothing is known yet."""
        if not self.work:
            return None
        return sum(self._seconds(row) * (1 - self._share_done(row)) for row in remaining) / min(jobs, max(1, len(remaining)))

    def _seconds(self, row):
        known = self.known.get(self._kind(row))
        return sum(known) / len(known) if known else self._work(row) * self.seconds / self.work

    def _kind(self, row):
        return tuple(label for axis, label in row.labels.items() if axis != self.seeds)

    @staticmethod
    def _work(row):
        keys = rows.all_settings(row)
        try:
            return float(keys.get("train_epochs", 500)) / float(keys.get("data_reduced_batch", 1))
        except (TypeError, ValueError, ZeroDivisionError):
            return 1.0

    @staticmethod
    def _share_done(row):
        epochs = rows.epochs_done(row)
        return epochs[0] / epochs[1] if epochs and epochs[1] else 0


def describe(row):
    return f"row {row.number}  {row.title}"


def progress(row):
    epochs = rows.epochs_done(row)
    return f"  epoch {epochs[0]}/{epochs[1]}" if epochs else ""


def duration(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())
