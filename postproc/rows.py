"""An experiment file and the rows of its table: which keys each runs with, where, and how far it is."""
import functools
import glob
import itertools
import json
import os
import re
from dataclasses import dataclass

import yaml

import locks
from plain import axis_says_nothing, describe, short

KNOWN = ("dir", "deck", "data", "set", "axes", "only", "table")
KNOWN_TABLE = ("columns", "rows", "best_of", "seeds", "baseline", "metric", "convention")
METRICS = ("RMSE", "nRMSE", "cRMSE", "max", "bRMSE", "fRMSE_low", "fRMSE_mid", "fRMSE_high")
CONVENTIONS = ("metrics", "metrics_published")
STATES = ("missing", "running", "stopped", "finished", "failed", "changed")
# They say where and how fast a row runs, not what it computes.
NOT_COMPARED = ("out_dir", "train_resume", "train_max_wall", "train_checkpoint_interval", "data_cache", "evaluate_write_predictions")
STOPPED = 75  # the program's exit status after a checkpoint on request
MARK = "---"  # begins the lines which experiment.py adds to a row's log


class ExperimentError(Exception):
    """What is wrong with an experiment; the text is the one line the user sees."""


@dataclass
class Row:
    number: int  # from 0, as job arrays count
    labels: dict  # {axis: label}
    deck: str
    keys: dict  # {key: value} beside the deck's
    directory: str

    @property
    def log(self):
        return self.directory + ".log"

    @property
    def lock(self):
        return self.directory + ".lock"

    @property
    def record(self):
        """The settings it was started with; written anew at every start, so that its time is the time of the last one."""
        return self.directory + ".row"

    @property
    def title(self):
        return describe(self.labels)


@dataclass
class Table:
    """What becomes of the axes; every axis is in one of the first four."""

    columns: str  # or None
    rows: list
    best_of: list
    seeds: str  # or None
    baseline: dict  # {axis of rows: label}; empty: nothing is compared
    metric: str
    convention: str


@dataclass
class Experiment:
    name: str
    directory: str
    data: list
    axes: dict  # {axis: {label: {key: value}}}
    rows: list
    table: Table


# ---- the file -----------------------------------------------------------------------------------------------------------


def load(path):
    """The experiment of a file, checked."""
    content = require_map(path, "the file", read_yaml(path), KNOWN)
    for key in ("dir", "deck", "axes"):
        if not content.get(key):
            raise ExperimentError(f"{path}: '{key}' is missing")
    directory, deck = (require_name(path, key, content[key], "a path") for key in ("dir", "deck"))
    axes = {axis: read_axis(path, axis, values) for axis, values in require_map(path, "axes", content["axes"]).items()}
    refuse_shared_keys(path, axes)
    base = {"deck": deck, **settings(path, "set", content.get("set", ""))}
    allowed = read_only(path, content.get("only", ""), axes)
    chosen = [labels for labels in itertools.product(*axes.values()) if allowed(dict(zip(axes, labels)))]
    rows = [make_row(number, directory, base, axes, labels) for number, labels in enumerate(chosen)]
    if not rows:
        raise ExperimentError(f"{path}: only: no row is left")
    refuse_shared_directories(path, rows)
    name = os.path.splitext(os.path.basename(path))[0]
    data = require_names(path, "data", content.get("data", ""), "a deck or a list of decks")
    return Experiment(name, directory, data, axes, rows, read_table(path, content.get("table", ""), axes))


def read_yaml(path):
    """The file's content, every scalar as the text that is written there: `no` stays `no`, and `1e-3` is no number."""
    try:
        with open(path, encoding="utf-8") as file:
            node = yaml.compose(file, Loader=yaml.BaseLoader)
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return plain(path, node) if node else {}


def plain(path, node):
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [plain(path, item) for item in node.value]
    content = {}
    for key, value in node.value:
        name = plain(path, key)
        if not isinstance(name, str) or name in content:
            raise ExperimentError(f"{path}: line {key.start_mark.line + 1}: '{name}' is there twice or is no name")
        content[name] = plain(path, value)
    return content


def require_map(path, where, content, known=None):
    """Nothing behind a key is an empty map."""
    if content == "":
        return {}
    if not isinstance(content, dict):
        raise unwanted(path, where, content, "`name: value` lines")
    for key in content:
        if known is not None and key not in known:
            raise ExperimentError(f"{path}: {where}: unknown key '{key}'; known are {', '.join(known)}")
    return content


def require_name(path, where, value, wanted):
    if not isinstance(value, str) or not value:
        raise unwanted(path, where, value, wanted)
    return value


def require_names(path, where, value, wanted):
    """One or several; nothing behind a key are none."""
    return [require_name(path, where, name, wanted) for name in (value if isinstance(value, list) else [value] if value != "" else [])]


def unwanted(path, where, found, wanted):
    return ExperimentError(f"{path}: {where}: found {shown(found)}, wanted {wanted}")


def shown(value):
    """As it is in the file, on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    return " ".join(value.split()) or "nothing"


def settings(path, where, content):
    """{key: value} of the file's own keys."""
    flat = flatten(path, where, require_map(path, where, content))
    for key in ("out_dir", "train_resume"):
        if key in flat:
            raise ExperimentError(f"{path}: {where}: '{key}' is set for each row by itself")
    return flat


def flatten(path, where, content, prefix=""):
    """Blocks joined by `_`, as decks have them, and lists by commas, as the command line has them."""
    flat = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat.update(flatten(path, where, value, f"{prefix}{key}_"))
        else:
            flat[prefix + key] = value if isinstance(value, str) else joined(path, f"{where}: {prefix}{key}", value)
    return flat


def joined(path, where, values):
    wanted = "a value or a list of values"
    if not values:
        raise unwanted(path, where, values, wanted)
    return ",".join(require_names(path, where, values, wanted))


@functools.lru_cache(maxsize=None)
def read_deck(path):
    """A deck's keys, {} where there is no such file."""
    return flatten(path, "the deck", require_map(path, "the deck", read_yaml(path))) if os.path.exists(path) else {}


def data_file(deck):
    """What `generate` makes of a deck."""
    path = read_deck(deck).get("generate_file")
    if not path:
        raise ExperimentError(f"{deck}: no such deck" if not os.path.exists(deck) else f"{deck}: no generate_file in it")
    return path


def has_data(deck):
    """The file, or one for each beta, is there: `generate` gives them their names when they are complete."""
    betas = read_deck(deck).get("generate_beta", "1").split(",")
    path = data_file(deck)
    names = [path] if "{beta}" not in path else glob.glob(glob.escape(path).replace("{beta}", "*"))
    return sum(map(os.path.exists, names)) >= (len(betas) if "{beta}" in path else 1)


def read_axis(path, axis, values):
    """{label: {key: value}}; a plain list are the values of the key that the axis is called by."""
    where = f"axes: {axis}"
    if not values or isinstance(values, str):
        raise unwanted(path, where, values, f"`label: {{key: value}}` lines, or a list of values of the key {axis}")
    if isinstance(values, list):
        values = {joined(path, where, value): {axis: value} for value in values}
    return {label: settings(path, f"{where}: {label}", keys) for label, keys in values.items()}


def read_only(path, content, axes):
    """Whether a row's labels are allowed: {axis: {label: {other axis: its labels that go with it}}}."""
    rules = []  # (axis, label, other axis, its labels that go with it)
    for axis, labels in require_map(path, "only", content, tuple(axes)).items():
        for label, others in require_map(path, f"only: {axis}", labels, tuple(axes[axis])).items():
            for other, values in require_map(path, f"only: {axis}: {label}", others, tuple(axes)).items():
                where = f"only: {axis}: {label}: {other}"
                values = require_names(path, where, values, f"labels of {other}")
                rules.append((axis, label, other, [one_of(path, where, value, axes[other]) for value in values]))
    return lambda row: all(row[axis] != label or row[other] in values for axis, label, other, values in rules)


def refuse_shared_keys(path, axes):
    owner = {}
    for axis, labels in axes.items():
        for key in {key for keys in labels.values() for key in keys}:
            if owner.setdefault(key, axis) != axis:
                raise ExperimentError(f"{path}: axes: '{owner[key]}' and '{axis}' both set {key}")


def refuse_shared_directories(path, rows):
    seen = {}
    for row in rows:
        other = seen.setdefault(row.directory, row)
        if other is not row:
            raise ExperimentError(f"{path}: axes: '{other.title}' and '{row.title}' would share the directory {row.directory}")


def make_row(number, directory, base, axes, labels):
    labels = dict(zip(axes, labels))
    keys = dict(base)
    for axis, label in labels.items():
        keys.update(axes[axis][label])
    name = "_".join(slug(label) if axis_says_nothing(axis, label) else f"{slug(short(axis))}-{slug(label)}"
                    for axis, label in labels.items())
    return Row(number, labels, keys.pop("deck"), keys, os.path.join(directory, name))


def slug(text):
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-") or "x"


def read_table(path, content, axes):
    """The table's layout; an axis that is not mentioned is among its rows."""
    content = require_map(path, "table", content, KNOWN_TABLE)
    columns, seeds = (read_axes(path, key, content, axes, several=False) for key in ("columns", "seeds"))
    best_of, rows = (read_axes(path, key, content, axes, several=True) for key in ("best_of", "rows"))
    used = columns + seeds + best_of
    rows = rows or [axis for axis in axes if axis not in used]
    for axis in axes:
        if (used + rows).count(axis) != 1:
            raise ExperimentError(f"{path}: table: axis '{axis}' must be in one of columns, rows, best_of, seeds, and once")
    baseline = require_map(path, "table: baseline", content.get("baseline", ""), rows)
    for axis, label in baseline.items():
        one_of(path, f"table: baseline: {axis}", label, axes[axis])
    metric = one_of(path, "table: metric", content.get("metric", "nRMSE"), METRICS)
    convention = one_of(path, "table: convention", content.get("convention", "metrics"), CONVENTIONS)
    return Table(next(iter(columns), None), rows, best_of, next(iter(seeds), None), baseline, metric, convention)


def read_axes(path, key, content, axes, several):
    """The axes that a key of the table names."""
    where, value = f"table: {key}", content.get(key, "")
    wanted = f"{'an axis or a list of axes' if several else 'one axis'} of {', '.join(axes)}"
    if isinstance(value, list) and not several:
        raise unwanted(path, where, value, wanted)
    return [one_of(path, where, axis, axes) for axis in require_names(path, where, value, wanted)]


def one_of(path, where, value, known):
    if not isinstance(value, str) or value not in known:
        raise unwanted(path, where, value, f"one of {', '.join(known)}")
    return value


# ---- rows ---------------------------------------------------------------------------------------------------------------


def row_of_number(experiment, number):
    if not 0 <= number < len(experiment.rows):
        raise ExperimentError(f"there is no row {number}; the rows are 0 to {len(experiment.rows) - 1}")
    return experiment.rows[number]


def state_of(row):
    """One of STATES: `changed` is a directory that was started with other settings, or by something else."""
    if locks.holder(row.lock):
        return "running"
    if differences(row):
        return "changed"
    if not os.path.exists(row.record):
        return "missing"
    if is_finished(row):
        return "finished"
    return "failed" if last_status(row) not in (None, STOPPED) else "stopped"


def count_unfinished(states):
    """'1 missing, 2 failed', empty if all are finished."""
    counts = [(state, list(states).count(state)) for state in STATES if state != "finished"]
    return ", ".join(f"{count} {state}" for state, count in counts if count)


def remark(row, state):
    """What is known of a row that is not finished: why it failed, how far it is."""
    if state == "failed":
        return last_words(row.log)
    if state == "changed":
        return differences(row)
    epochs = epochs_done(row) if state in ("running", "stopped") else None
    return f"epoch {epochs[0]}/{epochs[1]}" if epochs else ""


def is_finished(row):
    """A summary that is not older than the row's last start."""
    try:
        return os.stat(os.path.join(row.directory, "summary.json")).st_mtime_ns >= os.stat(row.record).st_mtime_ns
    except FileNotFoundError:
        return False


def all_settings(row):
    """What the row computes with: the deck's keys with the row's over them."""
    return {key: value for key, value in {**read_deck(row.deck), **row.keys}.items() if key not in NOT_COMPARED}


def differences(row):
    """What the directory was started with and what it would be now, in words; empty where they agree."""
    was = locks.read_json(row.record)
    if was is None:
        return "it is no row of an experiment" if os.path.exists(os.path.join(row.directory, "run.json")) else ""
    now = all_settings(row)
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    return ", ".join(f"{key} was {was.get(key, 'not set')} and is {now.get(key, 'not set')}" for key in keys)


def write_record(row):
    with open(row.record, "w", encoding="utf-8") as file:
        json.dump(all_settings(row), file, indent=1)


def summary_of(row):
    return locks.read_json(os.path.join(row.directory, "summary.json")) or {}


def metric_of(row, table):
    """The row's figure in the table, None where it is not defined."""
    value = (summary_of(row).get(table.convention) or {}).get(table.metric)
    return float(value) if isinstance(value, (int, float)) else None


def seconds_of(row):
    return (summary_of(row).get("timing") or {}).get("train_seconds")


def epochs_done(row):
    """(epoch, epochs) of the log's last line of progress, or None."""
    found = re.findall(r"^epoch (\d+)/(\d+)", "\n".join(log_of_last_start(row.log)), re.MULTILINE)
    return tuple(map(int, found[-1])) if found else None


def last_status(row):
    """Exit status of the last start; None while it runs, and when what started it died before."""
    lines = log_tail(row.log)
    match = re.match(MARK + r" exit status (-?\d+)", lines[-1]) if lines else None
    return int(match[1]) if match else None


def last_words(log):
    """The line that says best why a start failed: the program's own error, or else whatever came last."""
    lines = [line for line in log_of_last_start(log) if line.strip("- ")]
    own = [line for line in lines if line.startswith("evenkeel: ")]
    return (own or lines or ["its log says nothing"])[-1].strip()


def log_of_last_start(log):
    lines = log_tail(log)
    while lines and lines[-1].startswith(f"{MARK} exit status"):
        lines.pop()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"{MARK} ")]
    return lines[starts[-1] + 1:] if starts else lines


def log_tail(log, size=16384):
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - size))
            return file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
