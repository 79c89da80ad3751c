#!/usr/bin/env python3
"""Figures of one training run, or the table and figures that compare groups of runs.

  report.py RUN            curves, layers, spectra, prediction and rollout as PNGs in RUN/report
  report.py DIR            of what `evenkeel spectrum` wrote: exponents and spectra as PNGs in DIR/report
  report.py RUN RUN ...    groups the runs by what differs in their resolved.yaml (seed and directory aside), prints the table
                           (nRMSE mean +- std, improvement, Welch's t-test), writes it and the figures into COMMON_PARENT/report
  report.py --html ...     also writes index.html there: a page that holds the figures, tables and decks itself

An experiment, inputs/experiments/NAME.yaml, is table.py's: `table.py NAME.yaml --html`.
"""
import argparse
import os
import sys

import needs  # noqa: F401 (tells of missing modules, so before the others)
import comparison
import figures
import rundir
import runpage


def main(arguments=None):
    options = parse(arguments)
    try:
        directories = distinct(options.runs)
        if len(directories) > 1 or options.group:
            report_groups(directories, options)
        if len(directories) == 1 or options.each:
            out = options.out if len(directories) == 1 else None
            return max([report_run(directory, out, options.html) for directory in directories])
    except (rundir.RunError, OSError) as error:
        return complain(error)
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory (out_dir of `evenkeel train`)")
    keys = {"metavar": "KEY[,KEY]", "type": lambda text: text.split(",")}
    parser.add_argument("--group", **keys, help="group by these keys of resolved.yaml (default: all that differ)")
    parser.add_argument("--baseline", metavar="NAME", help="group, or balance_rule, to compare with (default: none)")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: RUN/report, or report beside the runs)")
    parser.add_argument("--each", action="store_true", help="with several runs: also write every run's own figures")
    parser.add_argument("--html", action="store_true", help="also write a page that stands alone, index.html (takes no name; table.py's may)")
    return parser.parse_args(arguments)


def distinct(runs):
    """The directories, each once: a run given twice would count as two samples."""
    seen = {}
    for directory in runs:
        if directory.endswith((".yaml", ".yml")) and os.path.isfile(directory):
            raise rundir.RunError(f"{directory}: a file, not a run directory; the tables of an experiment are table.py's: table.py {directory}")
        rundir.require_directory(directory)
        if os.path.realpath(directory) in seen:
            complain(f"{directory}: given more than once, counted once")
        seen.setdefault(os.path.realpath(directory), directory)
    return list(seen.values())


def report_run(directory, out=None, html=False):
    """Every figure the directory has data for; 1 if one of them had to be left out because of a damaged or missing file."""
    out = make_directory(out or os.path.join(directory, "report"))
    title = describe(directory)
    pictures, problems = [], []
    draws = (draw_exponents, draw_spectra) if is_of_weights(directory) else (draw_curves, draw_layers, draw_spectra, draw_predictions)
    for draw in draws:
        try:
            for name, figure in draw(directory, title):
                pictures.append(save(figure, os.path.join(out, name)))
        except rundir.RunError as error:
            problems.append(str(error))
            complain(error)
    if html:
        write_text(os.path.join(out, "index.html"), runpage.run_page(directory, pictures, problems))
    return 1 if problems else 0


def report_groups(directories, options):
    runs, skipped = finished_runs(directories)
    groups = comparison.group_runs(runs, options.group)
    if options.baseline and not any(comparison.find_baseline(groups, group, options.baseline) for group in groups):
        known = "; ".join(group.label for group in groups)
        raise rundir.RunError(f"--baseline: no group '{options.baseline}'; there is: {known}")
    rows = comparison.compare(groups, options.baseline or "none")
    print(comparison.format_table(rows))
    notes = comparison.doubts(groups)
    for line in notes:
        print(f"note: {line}")
    out = make_directory(options.out or os.path.join(common_parent(directories), "report"))
    comparison.write_csv(written(os.path.join(out, "table.csv")), rows)
    write_text(os.path.join(out, "table.md"), comparison.markdown_table(rows))
    drawn = {"comparison.png": figures.comparison(rows), "bars.png": figures.bars(rows)}
    pictures = [save(figure, os.path.join(out, name)) for name, figure in drawn.items()]
    if options.html:
        write_text(os.path.join(out, "index.html"), runpage.comparison_page(rows, pictures, notes + skipped))


def finished_runs(directories):
    """The runs that can be compared, and a line about each of the others."""
    runs, skipped = [], []
    for directory in directories:
        try:
            runs.append(comparison.load_run(directory))
        except rundir.RunError as error:
            skipped.append(f"skipped: {error}")
            complain(skipped[-1])
    if not runs:
        raise rundir.RunError("no usable run")
    return runs, skipped


def is_of_weights(directory):
    """A weight file's spectra and not a run."""
    return rundir.has_file(directory, "spectra.h5") and not rundir.has_file(directory, "resolved.yaml") and not rundir.has_file(directory, "metrics.csv")


def draw_exponents(directory, title):
    yield "exponents.png", figures.exponents(rundir.read_layers(directory), title)


def draw_curves(directory, title):
    yield "curves.png", figures.curves(rundir.read_metrics(directory), title)


def draw_layers(directory, title):
    yield "layers.png", figures.layers(rundir.read_layers(directory), rundir.read_metrics(directory), title)


def draw_spectra(directory, title):
    order = rundir.read_layers(directory).names
    for page, figure in enumerate(figures.spectra(rundir.read_spectra(directory), order, title), 1):
        yield "spectra.png" if page == 1 else f"spectra_{page}.png", figure


def draw_predictions(directory, title):
    if not rundir.has_file(directory, "predictions.h5"):
        print(f"note: {directory} has no predictions.h5, so no prediction.png and rollout.png")
        return
    data = rundir.read_predictions(directory)
    if data.weights:
        print(f"note: predictions.h5 of {directory} is of {data.weights}, evaluated")
        title += f" · weights {os.path.basename(data.weights)}"
    yield "prediction.png", figures.prediction(data, title)
    yield "rollout.png", figures.rollout(data, title)


def describe(directory):
    """Name, model, rule and seed for the figures' headings; the name alone where resolved.yaml is missing."""
    try:
        config = rundir.read_config(directory)
    except rundir.RunError:
        return rundir.name_of(directory)
    parts = [config.get("model_type"), config.get("balance_rule") and f"rule {config['balance_rule']}",
             config.get("train_seed") and f"seed {config['train_seed']}"]
    return " · ".join([rundir.name_of(directory)] + [part for part in parts if part])


def common_parent(directories):
    return os.path.commonpath([os.path.dirname(os.path.abspath(directory)) for directory in directories])


def make_directory(path):
    os.makedirs(path, exist_ok=True)
    return path


def save(figure, path):
    figure.savefig(written(path))
    figures.plt.close(figure)
    return path


def write_text(path, text):
    with open(written(path), "w", encoding="utf-8") as file:
        file.write(text)


def written(path):
    print(f"wrote {path}")
    return path


def complain(message):
    print(f"report.py: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
