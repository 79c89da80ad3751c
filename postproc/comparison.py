"""Groups of runs and their statistics: what differs between runs, means with spread, improvement, Welch's t-test."""
import csv
import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

import rundir
from plain import describe, format_p, short

RULE = "balance_rule"
# Seeds are what a group averages over; the rest says where and how fast a run went, not what it computed.
NOT_GROUPED = (
    "train_seed", "out_dir", "train_resume", "train_max_wall", "train_checkpoint_interval", "train_recompute", "data_cache",
    "evaluate_write_predictions", "model_transform", "mesh_data", "mesh_space", "mesh_shard", "balance_solver",
    "balance_scalapack_min")

HEADER = ["group", "n", "nRMSE", "improvement (%)", "p (Welch)", "nRMSE (published convention)"]
CSV_HEADER = ["group", "n", "nRMSE_mean", "nRMSE_std", "baseline", "improvement_percent", "p_value"]
CSV_HEADER += ["nRMSE_published_mean", "nRMSE_published_std", "runs"]
CAPTION = """\
nRMSE of the final weights over the predicted frames of the test set, mean ± sample standard deviation over the n runs of a
group. The published convention averages over all frames, the given ones (error 0) included. Improvement is relative to the
baseline's mean; p is the two-sided p-value of Welch's t-test against the baseline."""


@dataclass
class Run:
    directory: str
    config: dict
    metrics: dict
    nrmse: float            # over predicted frames
    nrmse_published: float  # over all frames, the given ones included
    version: str

    @property
    def name(self):
        return rundir.name_of(self.directory)


@dataclass
class Group:
    values: dict  # {key: value} that sets this group apart
    runs: list = field(default_factory=list)

    @property
    def label(self):
        if not self.values:
            return "all runs"
        told = {key: value for key, value in self.values.items() if value}
        return describe(told) or ", ".join(f"{short(key)} unset" for key in self.values)

    @property
    def nrmse(self):
        return np.array([run.nrmse for run in self.runs])


@dataclass
class Row:
    """One line of the table; improvement, p and baseline are None where there is nothing to compare with."""

    group: Group
    mean: float
    std: float  # sample standard deviation, NaN for one run
    published_mean: float
    published_std: float
    baseline: str = None
    improvement: float = None  # % less nRMSE than the baseline
    p: float = None         # two-sided
    p_less: float = None    # one-sided: the group's error is the smaller one
    p_note: str = ""        # why there is no p


def load_run(directory):
    """A finished run with everything the comparison needs; RunError for one that is damaged or not finished."""
    config, metrics = rundir.read_config(directory), rundir.read_metrics(directory)
    summary = rundir.read_summary(directory)
    epochs = config.get("train_epochs", "")
    if epochs.isdigit() and metrics["epoch"].max() < int(epochs):
        raise rundir.RunError(f"{directory}: not finished, epoch {metrics['epoch'].max():.0f} of {epochs}")
    figures = [_figure(directory, summary, block) for block in ("metrics", "metrics_published")]
    return Run(directory, config, metrics, *figures, rundir.read_version(directory))


def group_runs(runs, keys=None):
    """Groups in order of appearance, by the given keys or else by those that differ and are not in NOT_GROUPED."""
    known = sorted({key for run in runs for key in run.config})
    for key in keys or ():
        if key not in known:
            raise rundir.RunError(f"--group: no run has the key '{key}' in resolved.yaml")
    if keys is None:
        keys = _telling_keys(runs, [key for key in known if key not in NOT_GROUPED])
    groups = {}
    for run in runs:
        values = {key: _value(run.config, key) for key in keys}
        groups.setdefault(tuple(values.values()), Group(values)).runs.append(run)
    return list(groups.values())


def _telling_keys(runs, known):
    """The keys that differ, the rule first. One that some runs lack and the others agree in (the parameters of a rule, of an
    optimizer) says nothing where another key tells the same groups apart."""
    found = {key: [_value(run.config, key) for run in runs] for key in known}
    keys = [key for key in known if len(set(found[key])) > 1]
    for key in [key for key in keys if len(set(found[key]) - {""}) == 1]:
        others = [other for other in keys if other != key]
        if len(set(zip(*(found[other] for other in others)))) == len(set(zip(*(found[other] for other in keys)))):
            keys = others
    return sorted(keys, key=lambda key: key != RULE)


def find_baseline(groups, group, name):
    """The group called `name` (its label, or its value where there is one key), or the one with balance_rule `name` that differs from
    `group` in balance_* alone, or None."""
    named = [other for other in groups if name in (other.label, *(other.values.values() if len(other.values) == 1 else ()))]
    alike = [other for other in groups if other.values.get(RULE) == name and _beside_balance(other) == _beside_balance(group)]
    # of several, the one that shares the rule's parameters too
    alike.sort(key=lambda other: other.values != {**group.values, RULE: name})
    return next(iter(named + alike), None)


def compare(groups, baseline="none"):
    """A Row for each group, baselines first."""
    rows = [make_row(group, find_baseline(groups, group, baseline)) for group in groups]
    return sorted(rows, key=lambda row: row.baseline != row.group.label)


def make_row(group, baseline):
    """The group's figures, compared with those of the baseline (a group or None)."""
    mean, std = _mean_std(group.nrmse)
    row = Row(group, mean, std, *_mean_std(np.array([run.nrmse_published for run in group.runs])))
    if baseline:
        row.baseline = baseline.label
    if baseline and baseline is not group:
        reference = float(baseline.nrmse.mean())
        row.improvement = 100 * (reference - mean) / reference if reference else None
        row.p, row.p_note = welch(group.nrmse, baseline.nrmse)
        row.p_less, _ = welch(group.nrmse, baseline.nrmse, "less")
    return row


def welch(sample, reference, alternative="two-sided"):
    """(p, note) of Welch's t-test; p is None and the note says why where the test is not defined."""
    if min(len(sample), len(reference)) < 2:
        return None, "n < 2"
    if np.ptp(sample) == 0 and np.ptp(reference) == 0:
        return None, "no spread"
    # from the moments: scipy's test of samples warns where one of them has no spread
    moments = [figure for values in (sample, reference) for figure in (np.mean(values), np.std(values, ddof=1), len(values))]
    return float(stats.ttest_ind_from_stats(*moments, equal_var=False, alternative=alternative).pvalue), ""


def doubts(groups):
    """Lines about what weakens the comparison: repeated seeds, different program versions."""
    lines = []
    for group in groups:
        seeds = [run.config.get("train_seed", "") for run in group.runs]
        repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if repeated:
            lines.append(f"group '{group.label}': train_seed {', '.join(repeated)} occurs more than once; not independent")
    versions = sorted({run.version for group in groups for run in group.runs})
    if len(versions) > 1:
        lines.append(f"the runs were made by different versions: {', '.join(versions)}")
    return lines


def format_spread(mean, std):
    """'0.1234 ± 0.0012': two significant digits of the spread decide; the mean alone where there is no spread."""
    if not std > 0:
        return f"{mean:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(std)))
    if decimals > 8 or mean >= 1e5:
        return f"{mean:.4g} ± {std:.2g}"
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def format_row(row):
    """The cells of a row as text, under HEADER."""
    is_baseline = row.baseline == row.group.label
    return [row.group.label, str(len(row.group.runs)), format_spread(row.mean, row.std),
            "baseline" if is_baseline else "-" if row.improvement is None else f"{row.improvement:+.2f}",
            "-" if is_baseline else row.p_note or "-" if row.p is None else format_p(row.p),
            format_spread(row.published_mean, row.published_std)]


def format_table(rows):
    """The table as aligned text for the terminal."""
    cells = [HEADER] + [format_row(row) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells)


def markdown_table(rows):
    lines = ["| " + " | ".join(HEADER) + " |", "|---|" + "---:|" * (len(HEADER) - 1)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in format_row(row)) + " |" for row in rows]
    versions = sorted({run.version for row in rows for run in row.group.runs})
    return "\n".join(lines + ["", CAPTION, f"Runs made by evenkeel {', '.join(versions)}.", ""])


def write_csv(path, rows):
    """The table with full precision, one line a group; empty cells where a figure is not defined."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_HEADER)
        for row in rows:
            numbers = [row.mean, row.std, row.baseline, row.improvement, row.p, row.published_mean, row.published_std]
            numbers = ["" if value is None or value != value else value for value in numbers]
            writer.writerow([row.group.label, len(row.group.runs), *numbers, ";".join(run.directory for run in row.group.runs)])


def _value(config, key):
    """What a key sets; the parameters of balancing set nothing where there is none."""
    if key.startswith("balance_") and key != RULE and config.get(RULE) == "none":
        return ""
    return config.get(key, "")


def _beside_balance(group):
    return {key: value for key, value in group.values.items() if not key.startswith("balance_")}


def _figure(directory, summary, block):
    value = (summary.get(block) or {}).get("nRMSE")
    if not isinstance(value, (int, float)):
        wrong = "missing or not defined" if value is None else repr(value)
        raise rundir.RunError(f"{directory}/summary.json: {block}.nRMSE is {wrong}")
    return float(value)


def _mean_std(values):
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
