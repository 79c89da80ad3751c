#!/usr/bin/env python3
"""Tables and figures of an experiment whose rows experiment.py has run.

  table.py FILE            prints the table; writes it (CSV, Markdown, LaTeX), what balancing cost, and figures into DIR/table, where
                           DIR is the experiment's own directory
  table.py FILE --html [OUT.html]   also writes a page that stands alone, index.html there or OUT.html: tables, figures, best
                           hyperparameters, and how far every row is

Mean and standard deviation over seeds, the error reduced in % of the baseline's mean, Welch's t-test against the baseline. Rows that
are missing are counted in their cell: `(3 of 5)`.
"""
import argparse
import csv
import itertools
import math
import os
import sys
from dataclasses import dataclass

import needs  # noqa: F401 (tells of missing modules, so before the others)

import numpy as np

import comparison
import figures
import report
import rows
import rundir
import tablepage
from plain import format_p

CSV_HEADER = ["n", "expected", "mean", "std", "error_reduced_percent", "p_two_sided", "p_one_sided", "train_seconds",
              "balance_seconds", "balance_share"]
COST = "What rebalancing cost, mean over runs. (analysis): rule none rebalances nothing, but analyses its layers for layers.csv:"
ANALYSIS = " (analysis)"


@dataclass
class Cell:
    """One place of the table: the runs over seeds, of the best hyperparameters if there is a choice."""

    column: str        # label, None in a table without columns
    row: comparison.Row  # None without any run
    expected: int      # runs there should be
    best: dict         # {axis of best_of: label}
    missing: list      # one line for each choice of hyperparameters that lacks runs
    choices: dict      # {hyperparameters in words: (comparison.Row or None, runs there should be)}

    def text(self):
        return spread(self.row, self.expected)


@dataclass
class Texts:
    """What all forms of the table are made of: lists of texts, the first of them the head, and lines about them."""

    results: list
    costs: list
    choices: list      # empty if there is no choice
    explanation: list  # what the figures are
    missing: list      # choices of hyperparameters that lack runs
    doubts: list       # what weakens the comparison

    @property
    def notes(self):
        return self.explanation + [f"missing: {text}" for text in self.missing] + [f"note: {text}" for text in self.doubts]


def main(arguments=None):
    options = parse(arguments)
    try:
        experiment = rows.load(options.file)
        table = make_table(experiment)
        if not any(cell.row for line in table for cell in line):
            raise rows.ExperimentError(f"{options.file}: {nothing_to_show(experiment, options.file)}")
        out = report.make_directory(options.out or os.path.join(experiment.directory, "table"))
        texts = make_texts(experiment, table)
        write_tables(experiment, table, texts, out)
        pictures, problems = draw(experiment, table, out)
        if options.html is not None:
            page = options.html or os.path.join(out, "index.html")
            html = tablepage.experiment_page(options.file, experiment, texts, pictures, problems)
            report.make_directory(os.path.dirname(os.path.abspath(page)))
            report.write_text(page, html)
    except (rows.ExperimentError, rundir.RunError, OSError) as error:
        return complain(error)
    return 0


def nothing_to_show(experiment, file):
    finished = sum(rows.state_of(row) == "finished" for row in experiment.rows)
    if not finished:
        return f"no row is finished yet (experiment.py run {file})"
    return f"{finished} of {len(experiment.rows)} rows are finished, none with a {experiment.table.metric}: is it right, or did they diverge?"


def parse(arguments):
    parser = argparse.ArgumentParser(usage="table.py [-h] [--out DIR] FILE [--html [OUT.html]]", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", nargs="?", help="experiment, inputs/experiments/NAME.yaml")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: table/ in the experiment's directory)")
    parser.add_argument("--html", metavar="OUT.html", nargs="?", const="", help="also write a page that stands alone (default: index.html "
                        "beside the tables; report.py's --html is always that and takes no name)")
    options = parser.parse_args(arguments)
    if options.file is None:  # --html FILE, as report.py has it
        options.file, options.html = options.html, ""
    if not options.file:
        parser.error("FILE is missing")
    return options


# ---- cells --------------------------------------------------------------------------------------------------------------


def make_table(experiment):
    """A line of Cells for each row of the table, a Cell a column."""
    layout, axes = experiment.table, experiment.axes
    finished = {row.number: load(row, layout) for row in experiment.rows if rows.state_of(row) == "finished"}
    columns = list(axes[layout.columns]) if layout.columns else [None]
    lines = []
    for labels in itertools.product(*(axes[axis] for axis in layout.rows)):
        place = dict(zip(layout.rows, labels))
        lines.append([find_cell(experiment, finished, place, column) for column in columns])
    add_comparison(layout, lines)
    return lines


def load(row, layout):
    """The run as comparison.py has it, with the table's own error in the place of nRMSE; None where that is not defined."""
    value = rows.metric_of(row, layout)
    if value is None or not math.isfinite(value):
        return None
    config = {"train_seed": row.keys.get("train_seed", ""), comparison.RULE: rows.all_settings(row).get(comparison.RULE)}
    return comparison.Run(row.directory, config, rows.summary_of(row).get("timing") or {}, value, value, rundir.read_version(row.directory))


def find_cell(experiment, finished, place, column):
    """Of the choices of hyperparameters the one with the least mean error; one with fewer runs than another is no choice."""
    layout, axes = experiment.table, experiment.axes
    if layout.columns:
        place = {**place, layout.columns: column}
    choices, missing, known = [], [], {}
    for labels in itertools.product(*(axes[axis] for axis in layout.best_of)):
        best = dict(zip(layout.best_of, labels))
        wanted = [row for row in experiment.rows if all(row.labels[axis] == label for axis, label in {**place, **best}.items())]
        if not wanted:
            continue  # `only` has left it out
        runs = [finished[row.number] for row in wanted if finished.get(row.number)]
        if len(runs) < len(wanted):
            undefined = sum(row.number in finished and not finished[row.number] for row in wanted)
            told = f" ({undefined} finished without a {layout.metric})" if undefined else ""
            missing.append(f"{wanted[0].title if len(wanted) == 1 else rows.describe({**place, **best})}: {len(runs)} of {len(wanted)} runs{told}")
        group = comparison.Group({axis: place[axis] for axis in layout.rows}, runs)
        row = comparison.make_row(group, None) if runs else None
        choices.append((-len(runs), row.mean if row else math.inf, len(choices), best, row, len(wanted)))
        known[rows.describe(best)] = row, len(wanted)
    _, _, _, best, row, expected = min(choices, key=lambda choice: choice[:3], default=(0, 0, 0, {}, None, 0))
    return Cell(column, row, expected, best, missing, known)


def add_comparison(layout, lines):
    """Compares every cell with the one of its column and of the baseline's row."""
    if not layout.baseline:
        return
    for line in lines:
        for number, cell in enumerate(line):
            reference = next((other[number] for other in lines if cell.row and other[number].row
                              and is_baseline_of(layout, other[number].row.group, cell.row.group)), None)
            if reference:
                cell.row = comparison.make_row(cell.row.group, reference.row.group)


def is_baseline_of(layout, group, other):
    """The baseline's labels, and the other's where it says nothing."""
    return group.values == {**other.values, **layout.baseline}


# ---- tables -------------------------------------------------------------------------------------------------------------


def make_texts(experiment, table):
    # a seed occurs in every cell once, and again only if an axis other than the seeds' repeats it
    doubts = comparison.doubts([cell.row.group for line in table for cell in line if cell.row])
    missing = [text for line in table for cell in line for text in cell.missing]
    return Texts(result_lines(experiment, table), cost_lines(experiment, table), choice_lines(experiment, table),
                 explanation(experiment.table), missing, doubts)


def result_lines(experiment, table):
    layout = experiment.table

    def measures(line):
        found = {layout.metric: [cell.text() for cell in line]}
        if layout.best_of:
            found[f"best {', '.join(map(rows.short, layout.best_of))}"] = [", ".join(cell.best.values()) if cell.row else "-" for cell in line]
        if layout.columns is None or any(cell.row and is_compared(cell.row) for cell in line):
            found["error reduced (%)"] = [number(cell.row and cell.row.improvement, "+.2f") for cell in line]
            found["p, two-sided"] = [p_text(cell.row, cell.row and cell.row.p) for cell in line]
            found["p, one-sided"] = [p_text(cell.row, cell.row and cell.row.p_less) for cell in line]
        return found

    return lay_out(experiment, table, measures)


def cost_lines(experiment, table):
    def measures(line):
        found = {}
        for text, key, factor, form in (("training (s)", "train_seconds", 1, ".1f"), ("rebalancing (s)", "balance_seconds", 1, ".3f"),
                                        ("share (%)", "balance_share", 100, ".2f")):
            values = [timing(cell, key) for cell in line]
            marks = [ANALYSIS if value and key != "train_seconds" and is_plain(cell) else "" for cell, value in zip(line, values)]
            found[text] = [number(None if value is None else factor * value, form) + mark for value, mark in zip(values, marks)]
        return found

    return lay_out(experiment, table, measures)


def choice_lines(experiment, table):
    """Every choice of hyperparameters in every cell, a line each cell."""
    layout = experiment.table
    if not layout.best_of:
        return []
    known = list(dict.fromkeys(name for line in table for cell in line for name in cell.choices))
    lines = [["", *([rows.short(layout.columns)] if layout.columns else []), "best", *known]]
    for label, line in zip(row_labels(experiment), table):
        for cell in line:
            best = ", ".join(cell.best.values()) if cell.row else "-"
            texts = [spread(*cell.choices[name]) if name in cell.choices else "-" for name in known]
            lines.append([label, *([cell.column] if layout.columns else []), best, *texts])
    return lines


def spread(row, expected):
    """Mean and deviation, and how many of the runs there are if not all."""
    if not row:
        return f"- (0 of {expected})" if expected else "-"
    count = len(row.group.runs)
    return comparison.format_spread(row.mean, row.std) + (f" ({count} of {expected})" if count < expected else "")


def lay_out(experiment, table, measures):
    """Without columns, a line for each row and a column for each of its measures; with columns, the measures below each other."""
    labels = row_labels(experiment)
    found = [measures(line) for line in table]
    if not experiment.table.columns:
        return [["", *found[0]]] + [[label, *(texts[0] for texts in texts_of.values())] for label, texts_of in zip(labels, found)]
    lines = [["", *(cell.column for cell in table[0])]]
    for label, texts_of in zip(labels, found):
        first, *others = texts_of.items()
        if first[0] == experiment.table.metric:
            lines.append([label, *first[1]])
        else:
            lines.append([label, *("" for _ in first[1])])
            others.insert(0, first)
        lines += [[f"  {name}", *texts] for name, texts in others]
    return lines


def row_labels(experiment):
    axes = experiment.table.rows
    return [rows.describe(dict(zip(axes, labels))) or "all" for labels in itertools.product(*(experiment.axes[axis] for axis in axes))]


def is_compared(row):
    return row.baseline is not None and row.baseline != row.group.label


def number(value, form):
    return "-" if value is None or value != value else format(value, form)


def p_text(row, value):
    if value is None:
        return row.p_note or "-" if row else "-"
    return "-" if value != value else format_p(value)


def is_plain(cell):
    """Nothing is rebalanced in any of its runs."""
    return all(run.config[comparison.RULE] == "none" for run in cell.row.group.runs)


def timing(cell, key):
    """Mean over the cell's runs, None where none says it."""
    values = [run.metrics[key] for run in cell.row.group.runs if isinstance(run.metrics.get(key), (int, float))] if cell.row else []
    return float(np.mean(values)) if values else None


def explanation(layout):
    """What the figures are, a line each."""
    frames = "the predicted frames" if layout.convention == "metrics" else "all frames, the given ones included"
    lines = [f"{layout.metric} of the test set over {frames}: mean ± sample standard deviation over {layout.seeds or 'runs'}."]
    if layout.columns:
        lines[0] += f" Columns: {layout.columns}."
    if layout.baseline:
        lines.append(f"Error reduced: in % of the mean of {rows.describe(layout.baseline)}. p: Welch's t-test against it, two-sided and one-sided "
                     "(the error is smaller); not corrected for the number of comparisons.")
    if layout.best_of:
        lines.append(f"{', '.join(layout.best_of)}: for every cell the choice with the least mean error on the test set. "
                     "To choose there is optimistic, for all rows alike; the paper's tables do so, too.")
    return lines


def write_tables(experiment, table, texts, out):
    results, costs, notes = texts.results, texts.costs, texts.notes
    print(aligned(results), *notes, "", COST, aligned(costs), sep="\n")
    report.write_text(os.path.join(out, "table.md"), markdown(results, notes) + "\n" + markdown(costs, [COST]))
    report.write_text(os.path.join(out, "table.tex"), latex(results, notes))
    report.write_text(os.path.join(out, "cost.tex"), latex(costs, [COST]))
    write_csv(report.written(os.path.join(out, "table.csv")), experiment, table)


def aligned(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def markdown(lines, notes):
    texts = [["&nbsp;&nbsp;" + line[0].strip() if line[0].startswith(" ") else line[0], *line[1:]] for line in lines]
    texts = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in texts]
    return "\n".join([texts[0], "|---|" + "---:|" * (len(lines[0]) - 1), *texts[1:], "", *(f"{note}  " for note in notes), ""])


def latex(lines, notes):
    """A tabular that needs no package; the notes are comments, to be made a caption of."""
    rules = {0: " \\hline"}
    texts = [" & ".join(latex_text(cell) for cell in line) + " \\\\" + rules.get(number, "") for number, line in enumerate(lines)]
    head = ["% " + note for note in notes] + ["\\begin{tabular}{l" + "r" * (len(lines[0]) - 1) + "}", "\\hline"]
    return "\n".join(head + texts + ["\\hline", "\\end{tabular}", ""])


def latex_text(text):
    indent = "\\quad " if text.startswith("  ") else ""
    text = text.strip().replace("\\", "\\textbackslash ")
    for character in "%&#_${}":
        text = text.replace(character, "\\" + character)
    for character in "<>":  # which the fonts of text have other characters for
        text = text.replace(character, f"${character}$")
    return indent + text.replace("±", "$\\pm$").replace("^", "\\textasciicircum ").replace("~", "\\textasciitilde ")


def write_csv(path, experiment, table):
    """A line a cell with full precision; empty where a figure is not defined."""
    layout = experiment.table
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([axis for axis in [layout.columns, *layout.rows, *layout.best_of] if axis] + CSV_HEADER)
        places = list(itertools.product(*(experiment.axes[axis] for axis in layout.rows)))
        for labels, line in zip(places, table):
            for cell in line:
                row = cell.row
                figures_of_cell = [row.mean, row.std, row.improvement, row.p, row.p_less] if row else [None] * 5
                figures_of_cell += [timing(cell, key) for key in ("train_seconds", "balance_seconds", "balance_share")]
                count = len(row.group.runs) if row else 0
                writer.writerow([*([cell.column] if layout.columns else []), *labels, *(cell.best.get(axis, "") for axis in layout.best_of),
                                 count, cell.expected]
                                + ["" if value is None or value != value else value for value in figures_of_cell])


# ---- figures ------------------------------------------------------------------------------------------------------------


def draw(experiment, table, out):
    """([tablepage.Picture], lines about what could not be drawn)"""
    layout, pictures, problems = experiment.table, [], []

    def keep(kind, figure, place=""):
        name = f"{kind}_{rows.slug(place)}.png" if place else f"{kind}.png"
        pictures.append(tablepage.Picture(kind, place, report.save(figure, os.path.join(out, name))))

    if layout.columns:
        series = [[cell.row for cell in line] for line in table]
        labels = [cell.column for cell in table[0]]
        title = f"{experiment.name} · mean and standard deviation over {layout.seeds or 'runs'}"
        keep("error", figures.error_over(rows.short(layout.columns), labels, series, layout.metric, title))
    for column in zip(*table):
        known = [cell.row for cell in column if cell.row]
        if not known:
            continue
        place = rows.describe({layout.columns: column[0].column}) if layout.columns else ""
        title = f"{experiment.name} · {place}" if place else experiment.name
        keep("bars", figures.bars(known, layout.metric, title), place)
        panels = [panel for panel in (alpha_panel(row, problems) for row in known) if panel]
        if panels:
            keep("alpha", figures.alphas(panels, title), place)
    return pictures, problems


def alpha_panel(row, problems):
    """What figures.alphas draws of a cell; None, and a line in `problems`, where layers.csv cannot be read."""
    try:
        layers = [rundir.read_layers(run.directory) for run in row.group.runs]
    except rundir.RunError as error:
        problems.append(str(error))
        complain(error)
        return None
    names = layers[0].names
    same = [layer for layer in layers if layer.names == names]
    return row.group.label, names, np.array([layer.alpha[0] for layer in same]), np.array([layer.alpha[-1] for layer in same])


def complain(message):
    print(f"table.py: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
