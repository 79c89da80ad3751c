#!/usr/bin/env python3
"""The scaling study's table: jobscripts/scaling.sh writes it row by row, this program reads it, fits it and draws it.

  scaling.py report CSV [--out DIR]     table and fits (scaling.txt), its points (points.csv) and figures (DIR: report beside the CSV)
  scaling.py compare CSV                measured against simulated steps of the same batch and ranks
  scaling.py record CSV NAME=VALUE ...  adds a row, or replaces the one of the same model, kind, source, ranks and repeat;
                                        summary=FILE takes times and memory from a run's summary.json
  scaling.py costs CSV MODEL            seconds of a step's parts on one rank, for tests/scaling/predict.sh
"""
import argparse
import csv
import json
import os
import sys
from dataclasses import dataclass

import needs  # noqa: F401 (tells of missing modules, so before the others)

import numpy as np
from scipy.optimize import nnls

PHASES = ("forward", "backward", "allreduce", "optimizer", "io")
COLUMNS = ("model", "kind", "source", "ranks", "oversubscribed", "repeat", "batch", "steps", "step", *PHASES, "spectra",
           "samples_per_second", "memory_sum", "memory_rank")
KEY = ("model", "kind", "source", "ranks", "repeat")
TEXTS = ("model", "kind", "source")
KINDS = ("strong", "weak", "refresh_published", "refresh_all")

# t(p) over p ranks; as many of the terms, in this order, as there are rank counts less one (two at least) are fitted, none
# negative. A sum's volume, (p - 1)/p, is work and serial part in strong scaling: rank counts alone cannot tell it from them.
STRONG_TERMS = {"serial": lambda p: 1 + 0 * p, "work/p": lambda p: 1 / p, "log2 p": np.log2, "p - 1": lambda p: p - 1}
WEAK_TERMS = {"work": lambda p: 1 + 0 * p, "1 - 1/p": lambda p: 1 - 1 / p, "log2 p": np.log2, "p - 1": lambda p: p - 1}


class ScalingError(Exception):
    """What cannot be used; the text is the one line the user sees."""


@dataclass
class Series:
    """One model, kind and source over rank counts, ascending: the fastest repeat, NaN where nothing is known. Other work on a machine makes steps
    longer, never shorter, and by more than what is looked for; median and slowest repeat show by how much."""

    model: str
    kind: str
    source: str
    ranks: np.ndarray
    oversubscribed: np.ndarray
    repeats: np.ndarray
    median: np.ndarray  # step of the repeats
    high: np.ndarray  # of the slowest
    values: dict  # of the other columns

    @property
    def step(self):
        return self.values["step"]

    @property
    def efficiency(self):
        """Against the smallest rank count there is."""
        if self.kind == "weak":
            return self.step[0] / self.step
        return self.ranks[0] * self.step[0] / (self.ranks * self.step)

    @property
    def speedup(self):
        return self.efficiency * self.ranks


@dataclass
class Fit:
    """Coefficients (s) by term with their standard errors (NaN: as many terms as points), relative misfit."""

    kind: str
    terms: dict
    errors: dict
    rms: float
    worst: float
    points: int

    def __call__(self, p):
        p = np.asarray(p, float)
        return sum(value * terms_of(self.kind)[name](p) for name, value in self.terms.items())

    @property
    def is_exact(self):
        return self.points <= len(self.terms) and self.worst < 1e-6


def main(arguments=None):
    options = parse(arguments)
    try:
        return options.run(options)
    except (ScalingError, OSError) as error:
        print(f"scaling.py: {error}", file=sys.stderr)
        return 1


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (report, compare, record, costs):
        command = commands.add_parser(run.__name__)
        command.add_argument("csv")
        command.set_defaults(run=run)
        if run is report:
            command.add_argument("--out", metavar="DIR")
        elif run is record:
            command.add_argument("items", nargs="+", metavar="NAME=VALUE")
        elif run is compare:
            command.add_argument("--tolerance", type=float, default=0, metavar="PERCENT", help="fail beyond it (0: never); oversubscribed points do not count")
        elif run is costs:
            command.add_argument("model")
    return parser.parse_args(arguments)


# ---- the table --------------------------------------------------------------------------------------------------------------


def read_rows(path):
    """Rows as dicts, numbers as floats, NaN where a cell is empty."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ScalingError(f"{path}: no column '{missing[0]}'")
            return [convert(row, f"{path}: line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise ScalingError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from error


def convert(row, where):
    converted = {name: row[name] for name in TEXTS}
    for name in COLUMNS:
        if name in TEXTS:
            continue
        try:
            converted[name] = float(row[name]) if row[name] else np.nan
        except (TypeError, ValueError) as error:
            raise ScalingError(f"{where}: {name} is '{row[name]}', not a number") from error
    if converted["kind"] not in KINDS or not converted["ranks"] >= 1 or not converted["step"] > 0:
        raise ScalingError(f"{where}: a row wants a kind of {', '.join(KINDS)}, ranks and a positive step")
    return converted


def record(options):
    row = dict.fromkeys(COLUMNS, "")
    items = dict(item.partition("=")[::2] for item in options.items)
    summary, refreshes = items.pop("summary", None), float(items.pop("refreshes", 1))
    unknown = [name for name in items if name not in COLUMNS]
    if unknown:
        raise ScalingError(f"record: no column '{unknown[0]}'")
    row.update(items)
    if summary:
        row.update(measured(summary, float(items["steps"]), float(items["batch"]), refreshes))
    elif row["batch"]:
        row["samples_per_second"] = f"{float(row['batch']) / float(row['step']):.6g}"
    convert(row, "record")
    rows = []
    if os.path.exists(options.csv):
        read_rows(options.csv)
        with open(options.csv, newline="", encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if any(old[name] != row[name] for name in KEY)]
    write_rows(options.csv, rows + [row])
    return 0


def measured(path, steps, batch, refreshes):
    """The median step, the mean of its phases over all steps (each the slowest rank's), spectra a refresh."""
    try:
        with open(path, encoding="utf-8") as file:
            summary = json.load(file)
        phases = summary["timing"]["phase_seconds"]
        values = {name: phases[name] / steps for name in PHASES}
        values["step"] = summary["timing"]["step_seconds_median"]
        values["memory_sum"], values["memory_rank"] = summary["peak_memory_bytes"], summary["peak_memory_bytes_rank"]
        values["samples_per_second"] = batch / values["step"]  # null: no step since the run was continued
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScalingError(f"{path}: not a run's summary ({error})") from error
    values["spectra"] = phases["spectra"] / refreshes
    return {name: f"{value:.6g}" if name[:6] != "memory" else f"{value:.0f}" for name, value in values.items()}


def write_rows(path, rows, columns=COLUMNS):
    with open(path + ".tmp", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(path + ".tmp", path)


def group(rows):
    """Every series there is, models in order of appearance, kinds as KINDS has them, measured first."""
    found = {}
    for row in rows:
        found.setdefault((row["model"], row["kind"], row["source"]), []).append(row)
    models = list(dict.fromkeys(row["model"] for row in rows))
    order = sorted(found, key=lambda key: (models.index(key[0]), KINDS.index(key[1]), key[2]))
    return [make_series(key, found[key]) for key in order]


def make_series(key, rows):
    ranks = sorted({row["ranks"] for row in rows})
    batches = {row["batch"] for row in rows if row["batch"] > 0}
    if key[1] == "strong" and len(batches) > 1:
        raise ScalingError(f"{key[0]} strong, {key[2]}: batches of {', '.join(f'{b:g}' for b in sorted(batches))}; strong scaling keeps one")
    at = [[row for row in rows if row["ranks"] == p] for p in ranks]
    fastest = [min(some, key=lambda row: row["step"]) for some in at]
    values = {name: np.array([row[name] for row in fastest]) for name in COLUMNS[COLUMNS.index("batch"):]}
    steps = [[row["step"] for row in some] for some in at]
    repeats, median, high = (np.array([statistic(some) for some in steps]) for statistic in (len, np.median, max))
    over = np.array([any(row["oversubscribed"] == 1 for row in some) for some in at])
    return Series(*key, np.array(ranks), over, repeats, median, high, values)


def costs(options):
    """name=value lines. Phases are means over steps, a step is a median: they are scaled to it."""
    rows = [row for row in read_rows(options.csv) if row["model"] == options.model and row["source"] == "measured"]
    series = {one.kind: one for one in group(rows)}
    strong = series.get("strong")
    if strong is None or strong.ranks[0] != 1:
        raise ScalingError(f"{options.csv}: no strong scaling of {options.model} on one rank: RANKS has to have 1, KINDS strong")
    part = {name: strong.values[name][0] for name in PHASES}
    scale = strong.step[0] / sum(part.values())
    refresh, spectra = series.get("refresh_published"), strong.values["spectra"][0]
    if refresh is not None and refresh.ranks[0] == 1:
        spectra = refresh.step[0]
    for name in ("forward", "backward", "io"):
        print(f"{name}={part[name] * scale / strong.values['batch'][0]:.6g}")
    print(f"optimizer={part['optimizer'] * scale:.6g}\nrefresh={spectra:.6g}")
    return 0


# ---- fits -------------------------------------------------------------------------------------------------------------------


def terms_of(kind):
    return WEAK_TERMS if kind == "weak" else STRONG_TERMS


def fit(series):
    """Least squares of the relative misfit over what is not oversubscribed; None with fewer than two rank counts."""
    keep = ~series.oversubscribed
    p, t = series.ranks[keep], series.step[keep]
    if len(p) < 2:
        return None
    names = list(terms_of(series.kind))[:max(2, min(len(p) - 1, 4))]
    columns = np.array([terms_of(series.kind)[name](p) for name in names]).T
    values, _ = nnls(columns / t[:, None], np.ones(len(p)))
    misfit = columns @ values / t - 1
    errors = standard_errors(columns / t[:, None], values, misfit)
    return Fit(series.kind, dict(zip(names, values)), dict(zip(names, errors)), np.sqrt(np.mean(misfit ** 2)), np.abs(misfit).max(), len(p))


def standard_errors(columns, values, misfit):
    """Of the coefficients that are not held at zero."""
    errors, active = np.full(len(values), np.nan), values > 0
    freedom = len(misfit) - np.count_nonzero(active)
    if freedom > 0 and len(misfit) > len(values):
        some = columns[:, active]
        errors[active] = np.sqrt(np.diag(np.linalg.pinv(some.T @ some)) * (misfit @ misfit) / freedom)
    return errors


# ---- text -------------------------------------------------------------------------------------------------------------------


def format_table(all_series):
    lines = [f"{'model':<11}{'kind':<18}{'source':<10}{'ranks':>6}{'step s':>11}{'median s':>11}{'speed-up':>10}{'efficiency':>11}{'samples/s':>11}"
             f"{'allreduce':>10}{'MiB/rank':>10}"]
    for one in all_series:
        for i, p in enumerate(one.ranks):
            total = sum(one.values[name][i] for name in PHASES)
            mark = "*" if one.oversubscribed[i] else ""
            lines.append(f"{one.model:<11}{one.kind:<18}{one.source:<10}{f'{p:g}{mark}':>6}{one.step[i]:>11.5f}{one.median[i]:>11.5f}{one.speedup[i]:>10.2f}"
                         f"{100 * one.efficiency[i]:>10.1f}%{cell(one.values['samples_per_second'][i], '.1f'):>11}"
                         f"{cell(100 * one.values['allreduce'][i] / total, '.1f', '%'):>10}{cell(one.values['memory_rank'][i] / 2**20, '.0f'):>10}")
    lines.append("step: the fastest repeat, which speed-up, efficiency, fits and figures are of; median: of all repeats")
    if any(one.oversubscribed.any() for one in all_series):
        lines.append("* more ranks than cores: left out of the fits")
    lost = {one.ranks[0] for one in all_series} - {1}
    if lost:
        lines.append(f"no run on one rank: speed-up and efficiency start at 1 per rank with {min(lost):g} ranks")
    return "\n".join(lines)


def cell(value, form, unit=""):
    return f"{value:{form}}{unit}" if np.isfinite(value) else "-"


def points(all_series):
    """The rows of points.csv: a line of the table each, beside it the number of repeats and the slowest."""
    for one in all_series:
        for i, p in enumerate(one.ranks):
            cells = {"model": one.model, "kind": one.kind, "source": one.source, "ranks": f"{p:g}", "oversubscribed": f"{one.oversubscribed[i]:d}",
                     "repeats": f"{one.repeats[i]:d}"}
            numbers = {"batch": one.values["batch"][i], "step": one.step[i], "step_median": one.median[i], "step_slowest": one.high[i],
                       "speedup": one.speedup[i], "efficiency": one.efficiency[i]}
            numbers.update({name: one.values[name][i] for name in (*PHASES, "spectra", "samples_per_second", "memory_rank")})
            yield cells | {name: f"{value:.6g}" if np.isfinite(value) else "" for name, value in numbers.items()}


def format_fits(fits):
    """fits: pairs of a series and its fit or None."""
    lines = ["fits: strong and rebalancing t(p) = serial + work/p + a log2 p + b (p - 1), weak t(p) = work + v (1 - 1/p) + a log2 p + b (p - 1);",
             "      a: latency of trees, b: of rings, v: volume of sums; no term negative, as many as rank counts less one (two at least)"]
    for series, found in fits:
        name = f"{series.model} {series.kind} {series.source}"
        if found is None:
            lines.append(f"{name}: no fit, one rank count")
            continue
        parts = " + ".join(term(found, key) for key in found.terms)
        error = "exact: as many terms as rank counts, no error is known" if found.is_exact else (
            f"misfit {100 * found.rms:.1f} % rms, {100 * found.worst:.1f} % at most over {found.points} rank counts")
        lines.append(f"{name}: {parts} s; {error}{serial_share(found)}")
    return "\n".join(lines)


def term(found, name):
    error = found.errors[name]
    return f"{found.terms[name]:.3g}{f' +- {error:.1g}' if np.isfinite(error) else ''} [{name}]"


def serial_share(found):
    total = found.terms.get("serial", 0) + found.terms.get("work/p", 0)
    return f"; serial share {100 * found.terms['serial'] / total:.1f} %" if "serial" in found.terms and total > 0 else ""


def compare(options):
    """1 without a pair to compare, or where a deviation exceeds the tolerance. Says of which predictions nothing was judged, and why."""
    all_series = group(read_rows(options.csv))
    pairs, beyond = matches(all_series), []
    print(f"{'model':<11}{'kind':<18}{'ranks':>6}{'measured s':>12}{'predicted s':>12}{'deviation':>10}")
    for real, i, predicted in pairs:
        deviation = 100 * (predicted / real.step[i] - 1)
        note = "  oversubscribed" if real.oversubscribed[i] else ""
        if 0 < options.tolerance < abs(deviation) and not note:
            beyond.append(f"{place(real, i)} predicted {predicted:.5f} s, measured {real.step[i]:.5f} s ({deviation:+.1f} %)")
        print(f"{real.model:<11}{real.kind:<18}{real.ranks[i]:>6g}{real.step[i]:>12.5f}{predicted:>12.5f}{deviation:>+9.1f}%{note}")
    for reason, places in not_judged(all_series, pairs, options.tolerance).items():
        if places:
            print(f"not judged, {reason}: {', '.join(places)}")
    if not pairs:
        raise ScalingError(f"{options.csv}: nothing was both measured and simulated with the same batch")
    if beyond:
        raise ScalingError(f"predictions deviate by more than {options.tolerance:g} %: {', '.join(beyond)}")
    if options.tolerance > 0 and not any(real.ranks[i] > 1 and not real.oversubscribed[i] for real, i, _ in pairs):
        print("nothing was checked: a prediction starts from one rank, and all other points are oversubscribed")
    return 0


def not_judged(all_series, pairs, tolerance):
    """Reason: predictions."""
    compared = {place(real, i) for real, i, _ in pairs}
    predicted = [place(one, i) for one in all_series if one.source == "simulated" for i in range(len(one.ranks))]
    return {"more ranks than cores": [place(real, i) for real, i, _ in pairs if real.oversubscribed[i]],
            "the tolerance is 0": [place(real, i) for real, i, _ in pairs if tolerance <= 0 and not real.oversubscribed[i]],
            "not measured with the same batch": [name for name in predicted if name not in compared]}


def place(series, i):
    return f"{series.model} {series.kind} on {series.ranks[i]:g} rank{'' if series.ranks[i] == 1 else 's'}"


def matches(all_series):
    """(measured series, index, simulated seconds) wherever model, kind, ranks and batch agree."""
    simulated = {(one.model, one.kind, p): (one.values["batch"][i], one.step[i])
                 for one in all_series if one.source == "simulated" for i, p in enumerate(one.ranks)}
    found = []
    for one in all_series:
        for i, p in enumerate(one.ranks):
            batch, seconds = simulated.get((one.model, one.kind, p), (np.nan, np.nan))
            if one.source == "measured" and batch == one.values["batch"][i]:
                found.append((one, i, seconds))
    return found


def report(options):
    import scaling_figures  # matplotlib, which recording rows does without

    rows = read_rows(options.csv)
    if not rows:
        raise ScalingError(f"{options.csv}: no rows")
    all_series = group(rows)
    fits = [(one, fit(one)) for one in all_series]
    text = format_table(all_series) + "\n\n" + format_fits(fits) + "\n"
    print(text, end="")
    out = options.out or os.path.join(os.path.dirname(os.path.abspath(options.csv)), "report")
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "scaling.txt"), "w", encoding="utf-8") as file:
        file.write(text)
    rows = list(points(all_series))
    write_rows(os.path.join(out, "points.csv"), rows, list(rows[0]))
    for name, figure in scaling_figures.draw(fits):
        figure.savefig(os.path.join(out, name))
        scaling_figures.plt.close(figure)
        print(f"wrote {os.path.join(out, name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
