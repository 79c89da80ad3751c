#!/usr/bin/env python3
"""Follows training runs in a terminal, until they have finished or Ctrl-C.

  watch.py RUN             progress, loss and test nRMSE, alpha and learning rate of each layer (largest alpha first)
  watch.py RUN RUN ...     a line for each run

A run that has not started yet is waited for. Needs nothing but Python: it can be used on a login node.
"""
import argparse
import os
import select
import shutil
import signal
import sys
import time

import frame
import live
import streams
from plain import RunError

OPEN, CLOSE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"  # alternate screen, no cursor; and back
STYLES = {frame.TITLE: "\x1b[1m", frame.PLAIN: "", frame.FAINT: "\x1b[2m", frame.ALARM: "\x1b[1;31m"}
WITHOUT_TERMINAL = 100  # columns


def main(arguments=None):
    options = parse(arguments)
    runs = [live.Run(directory) for directory in options.runs]
    options.ascii = options.ascii or not can_draw(sys.stdout)
    try:
        if options.once:
            update(runs)
            show_plain(runs, options)
        elif sys.stdout.isatty():
            follow(runs, options)
        else:
            narrate(runs, options)
    except RunError as error:
        print(f"watch.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory (out_dir of `evenkeel train`)")
    parser.add_argument("--interval", metavar="S", type=positive, default=2.0, help="seconds between looks (default: 2)")
    parser.add_argument("--once", action="store_true", help="print one frame and end")
    parser.add_argument("--ascii", action="store_true", help="no characters but ASCII")
    return parser.parse_args(arguments)


def positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def can_draw(stream):
    """Whether the stream's encoding has the characters of plots and arrows."""
    try:
        "⣿█α↑·…".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def update(runs):
    for run in runs:
        run.update()


def finished(runs):
    return all(run.state == live.FINISHED for run in runs)


def content(runs, look):
    return frame.frame(runs[0], look) if len(runs) == 1 else frame.overview(runs, look)


def follow(runs, options):
    """Redraws in place; the last frame stays on the normal screen, where a finished run's figures can be read."""
    update(runs)
    with Screen() as screen:
        while not finished(runs):
            screen.draw(content(runs, frame.Look(*screen.size(), options.ascii)))
            screen.wait(options.interval)
            update(runs)
    show_plain(runs, options)


def narrate(runs, options):
    """Where the output is no terminal: the line of a run whenever it has changed, at the end the last frame."""
    told = {}
    update(runs)
    while not finished(runs) and not streams.is_unread():
        for run in runs:
            state = (run.state, run.done)
            if told.get(run.directory) != state:
                told[run.directory] = state
                look = frame.Look(WITHOUT_TERMINAL, ascii_only=options.ascii)
                print(frame.overview([run], look)[1][1], flush=True)
        time.sleep(options.interval)
        update(runs)
    show_plain(runs, options)


def show_plain(runs, options):
    """One frame as ordinary lines: bold headings on a terminal, nothing but text elsewhere; all layers, as lines can scroll."""
    styled = sys.stdout.isatty()
    width = shutil.get_terminal_size((WITHOUT_TERMINAL, 24)).columns
    print("\n".join(painted(line) if styled else line[1] for line in content(runs, frame.Look(width, None, options.ascii))))


def painted(line):
    style, text = line
    return f"{STYLES[style]}{text}\x1b[0m" if STYLES[style] and text else text


class Screen:
    """The terminal's alternate screen, given back however the program ends; a new size is drawn at once."""

    def __enter__(self):
        self.reader, writer = os.pipe()
        self.ends = (self.reader, writer)
        os.set_blocking(writer, False)
        # a handler alone would not end a wait: the interpreter waits on for the rest of the time
        self.wakeup = signal.set_wakeup_fd(writer)
        self.handlers = {number: signal.signal(number, handler) for number, handler in
                         ((signal.SIGWINCH, lambda *_: None), (signal.SIGTERM, stop), (signal.SIGHUP, stop))}
        write(OPEN)
        return self

    def __exit__(self, *_):
        try:
            write(CLOSE)
        except OSError:
            pass  # the terminal is gone
        signal.set_wakeup_fd(self.wakeup)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        for end in self.ends:
            os.close(end)

    def size(self):
        try:
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            columns, lines = 80, 24
        return (columns or 80, lines or 24)

    def draw(self, lines):
        # each line erases what is left of the old one: nothing is ever blank in between
        text = "\r\n".join(painted(line) + "\x1b[K" for line in lines)
        write("\x1b[H" + text + "\x1b[J")

    def wait(self, seconds):
        if select.select([self.reader], [], [], seconds)[0]:
            os.read(self.reader, 4096)


def write(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def stop(number, _):
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
