"""The state of a run that may still be going on: its files are followed, only what is new is read, and nothing waits for a lock."""
import csv
import json
import math
import os
import re
import time
from collections import deque
from dataclasses import dataclass

from plain import RunError, name_of, parse_yaml

SIGNS = ("resolved.yaml", "run.json", "metrics.csv", "layers.csv", "checkpoint.h5", "checkpoint_prev.h5", "summary.json")
WAITING, RUNNING, SILENT, FINISHED = "waiting", "running", "silent", "finished"


class Tail:
    """Rows of a CSV that another program appends to. A last line without an end is left for the next look."""

    def __init__(self, path, required):
        self.path, self.required = path, required
        self._restart()

    def _restart(self):
        self.header, self.offset, self.identity, self.damaged = None, 0, None, 0

    def update(self):
        """(whether the file was replaced or cut since the last look, its new rows as {column: text})."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                replaced = self.identity is not None and (status.st_ino != self.identity or status.st_size < self.offset)
                if replaced:
                    self._restart()
                self.identity = status.st_ino
                file.seek(self.offset)
                text = file.read()
        except FileNotFoundError:
            replaced = self.identity is not None
            self._restart()
            return replaced, []
        text = text[:text.rfind(b"\n") + 1]
        self.offset += len(text)
        return replaced, self._rows(text.decode("utf-8", "replace"))

    def _rows(self, text):
        lines = list(csv.reader(text.splitlines()))
        if self.header is None and lines:
            self.header = lines.pop(0)
            for column in self.required:
                if column not in self.header:
                    raise RunError(f"{self.path}: no column '{column}'")
        whole = [line for line in lines if len(line) == len(self.header)]
        self.damaged += len(lines) - len(whole)
        return [dict(zip(self.header, line)) for line in whole]


@dataclass
class Layer:
    """alpha and learning rate after the last two recorded epochs, NaN where there is none."""

    name: str
    alpha: float
    rate: float
    alpha_before: float = math.nan
    rate_before: float = math.nan


class Run:
    """What is known of one run; `update` looks again."""

    def __init__(self, directory):
        self.directory, self.name = directory, name_of(directory)
        self.config, self.started, self.hosts, self.ranks = {}, None, [], None
        self.metrics = Tail(self._path("metrics.csv"), ("epoch", "train_loss", "base_lr", "seconds"))
        self.spectra = Tail(self._path("layers.csv"), ("epoch", "layer", "alpha", "lr"))
        self.epochs, self.layers, self.summary, self.checkpoint_age, self.news_age = [], {}, None, None, None
        self._seen = deque(maxlen=64)  # (when, epochs done): how fast it goes while one watches
        self._now = time.time()

    def update(self):
        self._now = time.time()
        if not self._holds_a_run():
            return
        self._read_texts()
        self._read_metrics()
        self._read_layers()
        self.checkpoint_age = self._age("checkpoint.h5")
        if self.checkpoint_age is None:
            self.checkpoint_age = self._age("checkpoint_prev.h5")
        self.news_age = self._age("metrics.csv")
        self.summary = self._finished_summary()

    @property
    def state(self):
        if self.summary is not None:
            return FINISHED
        if not self.config and not self.epochs:
            return WAITING
        # evaluations and checkpoints come between two rows, and no two epochs take the same time
        patience = max(60, 10 * self.seconds_an_epoch) if self.seconds_an_epoch else 3600
        return SILENT if self.news_age is not None and self.news_age > patience else RUNNING

    @property
    def done(self):
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    @property
    def wanted(self):
        """Epochs the run is to have, or None."""
        text = self.config.get("train_epochs", "")
        return int(text) if text.isdigit() else None

    @property
    def seconds_an_epoch(self):
        """As seen while watching (evaluations and checkpoints included); before that from the last epochs' own times."""
        if len(self._seen) > 1 and self._seen[-1][1] >= self._seen[0][1] + 3:
            return (self._seen[-1][0] - self._seen[0][0]) / (self._seen[-1][1] - self._seen[0][1])
        times = [row["seconds"] + known(row.get("balance_seconds"), 0) for row in self.epochs[-10:]]
        times = [seconds for seconds in times if math.isfinite(seconds)]
        return sum(times) / len(times) if times else None

    @property
    def seconds_left(self):
        if not self.wanted or not self.seconds_an_epoch:
            return None
        return max(0, self.wanted - self.done) * self.seconds_an_epoch

    @property
    def balance_share(self):
        """Balancing's part of training time so far."""
        total = sum(known(row["seconds"], 0) for row in self.epochs)
        balance = sum(known(row.get("balance_seconds"), 0) for row in self.epochs)
        return balance / total if total else None

    @property
    def damaged(self):
        """Complete lines of the tables that have too few or too many cells."""
        return self.metrics.damaged + self.spectra.damaged

    def series(self, column):
        """[(epoch, value)] where there is a finite value."""
        return [(row["epoch"], row[column]) for row in self.epochs if math.isfinite(row.get(column, math.nan))]

    def last(self, column):
        """The last epoch's value, not finite where training has diverged; None without one."""
        values = [row[column] for row in self.epochs if column in row]
        return values[-1] if values else None

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _holds_a_run(self):
        """False while there is nothing yet; a directory with other things than a run in it is an error."""
        try:
            names = set(os.listdir(self.directory))
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise RunError(f"{self.directory}: not a directory") from None
        except OSError as error:
            raise RunError(f"{self.directory}: cannot be read: {error.strerror}") from None
        if names.isdisjoint(SIGNS):
            # what a batch system writes is there before the run is
            foreign = [name for name in sorted(names) if not re.search(r"\.(out|err|log|tmp)$", name)]
            if foreign:
                raise RunError(f"{self.directory}: not a run directory: no resolved.yaml or metrics.csv, but '{foreign[0]}'")
            return False
        return True

    def _read_texts(self):
        try:
            with open(self._path("resolved.yaml"), encoding="utf-8", errors="replace") as file:
                self.config = parse_yaml(file.read()) or self.config
        except (FileNotFoundError, RunError):
            pass  # not there yet, or still being written
        about = self._json("run.json") or {}
        mesh = about.get("mesh") or {}
        self.started, self.hosts = about.get("started"), about.get("hosts") or []
        self.ranks = mesh.get("data", 1) * mesh.get("space", 1) if mesh else None

    def _read_metrics(self):
        replaced, rows = self.metrics.update()
        if replaced:
            self.epochs.clear()
            self._seen.clear()
        for row in rows:
            self.epochs.append({column: number(text) for column, text in row.items()})
        age = self._age("metrics.csv")
        if rows and age is not None:
            self._seen.append((self._now - age, self.done))

    def _read_layers(self):
        replaced, rows = self.spectra.update()
        if replaced:
            self.layers.clear()
        for row in rows:
            before = self.layers.get(row["layer"])
            layer = Layer(row["layer"], number(row["alpha"]), number(row["lr"]))
            if before:
                layer.alpha_before, layer.rate_before = before.alpha, before.rate
            self.layers[row["layer"]] = layer

    def _finished_summary(self):
        """The summary, once it is whole and of all epochs: one of fewer was left by a run that is being continued."""
        summary = self._json("summary.json")
        epochs = (summary or {}).get("epochs")
        return None if summary is not None and epochs is not None and self.wanted and epochs < self.wanted else summary

    def _json(self, name):
        """The object in the file; None if it is missing or half-written."""
        try:
            with open(self._path(name), encoding="utf-8") as file:
                content = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _age(self, name):
        try:
            return max(0.0, self._now - os.stat(self._path(name)).st_mtime)
        except FileNotFoundError:
            return None


def number(text):
    """NaN for an empty cell, and for one that is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def known(value, otherwise):
    return value if value is not None and math.isfinite(value) else otherwise
