"""Checks of postproc/table.py on synthetic rows. Prints a line a check; exit status 1 if one fails."""
import contextlib
import csv
import io
import json
import os
import re
import sys
import warnings

import numpy as np
from scipy import stats

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks, texts_that_clash  # noqa: E402
import comparison  # noqa: E402
import figures  # noqa: E402
import plain  # noqa: E402
import rows  # noqa: E402
import table as program  # noqa: E402

FILE = """
dir: runs/trial
deck: deck.yaml
axes:
  train_seed: [1, 2, 3]
  fraction: {100 %: {data_reduced_batch: 1}, 10 %: {data_reduced_batch: 10}, 2.5 %: {data_reduced_batch: 40}}
  rule: {plain: {balance_rule: none}, all layers: {balance_rule: tb_sigmoid, balance_layers: all}}
  train_lr: [1e-3, 2.5e-3]
table: {columns: fraction, rows: rule, best_of: train_lr, seeds: train_seed, baseline: {rule: plain}}
"""
# nRMSE over seeds, (rule, fraction, rate): the best rate is 1e-3 but for all layers at 10 %
ERRORS = {("plain", "100 %", "1e-3"): (0.10, 0.11, 0.105), ("plain", "100 %", "2.5e-3"): (0.2, 0.21, 0.22),
          ("plain", "10 %", "1e-3"): (0.30, 0.33, 0.315), ("plain", "10 %", "2.5e-3"): (0.4, 0.4, 0.4),
          ("plain", "2.5 %", "1e-3"): (0.60, 0.66, 0.615), ("plain", "2.5 %", "2.5e-3"): (0.7, 0.7, 0.7),
          ("all layers", "100 %", "1e-3"): (0.09, 0.10, 0.104), ("all layers", "100 %", "2.5e-3"): (0.12, 0.12, 0.12),
          ("all layers", "10 %", "1e-3"): (0.29, 0.30, 0.31), ("all layers", "10 %", "2.5e-3"): (0.25, 0.262, 0.27),
          ("all layers", "2.5 %", "1e-3"): (0.61, 0.70, 0.64), ("all layers", "2.5 %", "2.5e-3"): (0.7, 0.8, 0.9)}
LAYERS = ("fc0", "conv0", "conv1", "w0", "w1", "fc1", "fc2")


def place(scratch, text=FILE):
    """The experiment's rows in a directory that becomes the current one."""
    os.chdir(scratch)
    write("trial.yaml", text)
    write("deck.yaml", "model: {type: fno2d}\n")
    rows.read_deck.cache_clear()
    return rows.load("trial.yaml").rows


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def finish(row, error, balance_seconds=0.5):
    """Makes the row a finished run."""
    os.makedirs(row.directory)
    rows.write_record(row)
    rng = np.random.default_rng(row.number)
    lines = ["epoch,layer,alpha,D,num_evals,norm,spectral_norm,stable_rank,lr"]
    for epoch in (0, 5):
        alpha = 2 + rng.random(len(LAYERS)) + np.array([0, 0, 0, 0, 0, 2, 20 - 3 * epoch])
        lines += [f"{epoch},{name},{value},0.1,20,1,1,1,1e-3" for name, value in zip(LAYERS, alpha)]
    write(os.path.join(row.directory, "layers.csv"), "\n".join(lines) + "\n")
    write(os.path.join(row.directory, "run.json"), '{"version": "v1"}')
    timing = {"train_seconds": 20.0, "balance_seconds": balance_seconds, "balance_share": balance_seconds / 20}
    metrics = {"nRMSE": error, "RMSE": None if error is None else 2 * error}
    summary = {"timing": timing, "metrics": metrics, "metrics_published": {"nRMSE": None if error is None else error / 2}}
    write(os.path.join(row.directory, "summary.json"), json.dumps(summary))


def not_finished(row):
    """A cell without runs, and one that lacks a seed: nine rows of 36."""
    seed, fraction, rule, _ = row.labels.values()
    return (rule, fraction) == ("all layers", "2.5 %") or (rule, fraction, seed) == ("plain", "10 %", "3")


def finish_all(all_rows, leave_out=lambda row: False):
    for row in all_rows:
        if not leave_out(row):
            seed, fraction, rule, rate = row.labels.values()
            finish(row, ERRORS[rule, fraction, rate][int(seed) - 1])


def table(*arguments):
    """(exit status, stdout, stderr); a Python warning counts as a failure."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("error")
        status = program.main(["trial.yaml", *arguments])
    return status, output.getvalue(), errors.getvalue()


def cells():
    with open("runs/trial/table/table.csv", newline="", encoding="utf-8") as file:
        return {(line["rule"], line["fraction"]): line for line in csv.DictReader(file)}


# ---- checks -----------------------------------------------------------------------------------------------------------------


@check
def figures_of_a_whole_table(scratch):
    finish_all(place(scratch))
    status, output, errors = table()
    assert status == 0 and not errors, errors
    for (rule, fraction), cell in cells().items():
        rate = "2.5e-3" if (rule, fraction) == ("all layers", "10 %") else "1e-3"
        mine, reference = np.array(ERRORS[rule, fraction, rate]), np.array(ERRORS["plain", fraction, "1e-3"])
        assert cell["train_lr"] == rate and (cell["n"], cell["expected"]) == ("3", "3"), cell
        assert np.isclose(float(cell["mean"]), mine.mean()) and np.isclose(float(cell["std"]), mine.std(ddof=1))
        if rule == "plain":
            assert cell["p_two_sided"] == cell["error_reduced_percent"] == ""
            continue
        assert np.isclose(float(cell["error_reduced_percent"]), 100 * (1 - mine.mean() / reference.mean()))
        assert np.isclose(float(cell["p_two_sided"]), stats.ttest_ind(mine, reference, equal_var=False).pvalue)
        assert np.isclose(float(cell["p_one_sided"]), stats.ttest_ind(mine, reference, equal_var=False, alternative="less").pvalue)
    assert "0.1050 ± 0.0050" in output and "+17.25" in output and "best lr" in output
    assert "the choice with the least mean error on the test set" in output and "missing" not in output and "note:" not in output


@check
def p_values_of_known_numbers(_):
    """By hand: means 3 and 5, variances 1, n = 3: t = -2 / sqrt(2/3), 4 degrees of freedom."""
    p, _ = comparison.welch(np.array([2.0, 3, 4]), np.array([4.0, 5, 6]))
    less, _ = comparison.welch(np.array([2.0, 3, 4]), np.array([4.0, 5, 6]), "less")
    more, _ = comparison.welch(np.array([4.0, 5, 6]), np.array([2.0, 3, 4]), "less")
    assert np.isclose(p, 2 * stats.t.cdf(-2 / np.sqrt(2 / 3), 4)) and np.isclose(less, p / 2) and np.isclose(more, 1 - p / 2)


@check
def a_probability_is_never_shown_as_one(scratch):
    """All layers at 100 %: far worse than plain."""
    for row in place(scratch, FILE.replace("  train_lr: [1e-3, 2.5e-3]\n", "").replace("best_of: train_lr, ", "")):
        seed, fraction, rule = row.labels.values()
        finish(row, ERRORS[rule, fraction, "1e-3"][int(seed) - 1] + 0.2 * ((rule, fraction) == ("all layers", "100 %")))
    status, output, _ = table()
    shown = next(line for line in output.splitlines() if line.strip().startswith("p, one-sided") and " - " not in line)
    exact = float(cells()["all layers", "100 %"]["p_one_sided"])
    assert status == 0 and re.split(r"  +", shown.strip())[1] == "> 0.99" and 0.999 < exact < 1, (shown, exact)
    assert "$>$ 0.99 &" in text_of("runs/trial/table/table.tex") and "| > 0.99 |" in text_of("runs/trial/table/table.md")
    assert [plain.format_p(p) for p in (1.0, 0.99, 0.04321, 3.21e-9)] == ["> 0.99", "0.99", "0.043", "3.2e-09"]
    bar = figures.bars([line[0].row for line in program.make_table(rows.load("trial.yaml"))])
    assert not any(text.get_text().endswith("p = 1") for text in bar.axes[1].texts)
    figures.plt.close("all")


@check
def missing_rows_are_told(scratch):
    all_rows = place(scratch)
    finish_all(all_rows, not_finished)
    write(all_rows[0].directory + ".row", "{}")  # started with other settings: not this experiment's row any more
    status, output, errors = table()
    assert status == 0 and not errors, errors
    assert "(2 of 3)" in output and "- (0 of 3)" in output
    assert "missing: all layers, fraction 2.5 %, lr 1e-3: 0 of 3 runs" in output
    line = cells()["all layers", "2.5 %"]
    assert line["n"] == "0" and line["mean"] == "" and cells()["plain", "10 %"]["n"] == "2"
    plain = cells()["plain", "100 %"]
    assert (plain["n"], plain["train_lr"]) == ("3", "2.5e-3"), "a choice that lacks runs is not compared with one that does not"


@check
def undefined_figures_are_told(scratch):
    text = FILE.replace("  train_lr: [1e-3, 2.5e-3]\n", "").replace("best_of: train_lr, ", "")
    for row in place(scratch, text):
        finish(row, None if row.number == 0 else 0.1 + 0.1 * row.number)
    status, output, _ = table()
    assert status == 0 and "plain, fraction 100 %: 2 of 3 runs (1 finished without a nRMSE)" in output, output
    assert "best" not in output


@check
def a_table_without_columns_and_another_metric(scratch):
    text = FILE.replace("columns: fraction, rows: rule,", "rows: [fraction, rule], metric: nRMSE, convention: metrics_published,")
    finish_all(place(scratch, text))
    status, output, _ = table("--out", "elsewhere")
    assert status == 0 and "all frames, the given ones included" in output
    lines = [re.split(r"  +", line) for line in output.splitlines()]
    assert lines[0] == ["", "nRMSE", "best lr", "error reduced (%)", "p, two-sided", "p, one-sided"], lines[0]
    assert lines[1] == ["fraction 100 %, plain", "0.0525 ± 0.0025", "1e-3", "-", "-", "-"] and lines[4][3] == "+17.25", lines
    names = sorted(os.listdir("elsewhere"))
    assert names == ["alpha.png", "bars.png", "cost.tex", "table.csv", "table.md", "table.tex"], names
    with open("elsewhere/table.csv", newline="", encoding="utf-8") as file:
        reduced = {(line["fraction"], line["rule"]): line["error_reduced_percent"] for line in csv.DictReader(file)}
    assert np.isclose(float(reduced["10 %", "all layers"]), 17.2487, atol=1e-3), "compared within the fraction"


@check
def cost_is_that_of_the_rows_shown(scratch):
    for row in place(scratch):
        finish(row, 0.1 + 0.01 * row.number, 0.4 if row.labels["rule"] == "plain" else 1.0)
    _, output, _ = table()
    cost = output[output.index("What rebalancing cost"):].splitlines()
    assert [re.split(r"  +", line.strip()) for line in cost[7:10]] == [
        ["training (s)", "20.0", "20.0", "20.0"], ["rebalancing (s)", "1.000", "1.000", "1.000"], ["share (%)", "5.00", "5.00", "5.00"]], cost
    assert [re.split(r"  +", line.strip()) for line in cost[3:6]] == [
        ["training (s)", "20.0", "20.0", "20.0"], ["rebalancing (s)", *["0.400 (analysis)"] * 3], ["share (%)", *["2.00 (analysis)"] * 3]], cost
    assert "rule none rebalances nothing, but analyses its layers for layers.csv" in cost[0]
    with open("runs/trial/table/table.csv", newline="", encoding="utf-8") as file:
        found = {(line["rule"], round(float(line["balance_seconds"]), 9)) for line in csv.DictReader(file)}
    assert found == {("plain", 0.4), ("all layers", 1.0)}, found


@check
def the_rule_may_be_of_the_deck_or_of_a_column(scratch):
    text = FILE.replace("columns: fraction, rows: rule,", "columns: rule, rows: fraction,").replace(", baseline: {rule: plain}", "")
    place(scratch, text.replace("plain: {balance_rule: none}", "plain: {deck: plain.yaml}"))
    write("plain.yaml", "balance: {rule: none}\n")
    for row in rows.load("trial.yaml").rows:
        finish(row, 0.1 + 0.01 * row.number, 0.0 if row.labels["fraction"] == "10 %" else 0.5)
    status, output, errors = table("--html")
    assert status == 0 and not errors, errors
    cost = [re.split(r"  +", line.strip()) for line in output[output.index("What rebalancing cost"):].splitlines()]
    assert [line[1:] for line in cost if line[0] == "share (%)"] == [["2.50 (analysis)", "2.50"], ["0.00", "0.00"], ["2.50 (analysis)", "2.50"]], cost


@check
def latex_and_markdown_are_sound(scratch):
    finish_all(place(scratch, FILE.replace("all layers:", "tb_100% & more:").replace("all layers", "tb_100% & more")),
               lambda row: row.labels["rule"] != "plain")
    assert table()[0] == 0
    tex = [line for line in text_of("runs/trial/table/table.tex").splitlines() if not line.startswith("%")]
    body = [line for line in tex if line.endswith("\\\\") or line.endswith("\\\\ \\hline")]
    assert len(body) == 5 and all(len(re.findall(r"(?<!\\)&", line)) == 3 for line in body), tex
    assert any("tb\\_100\\% \\& more" in line for line in body) and "0.1050 $\\pm$ 0.0050" in tex[3], tex
    markdown = text_of("runs/trial/table/table.md").splitlines()
    assert markdown[1] == "|---|---:|---:|---:|" and all(line.count("|") == 5 for line in markdown[:6]), markdown


@check
def no_text_is_cut_or_overlaps(scratch):
    finish_all(place(scratch))
    experiment = rows.load("trial.yaml")
    lines = program.make_table(experiment)
    series = [[cell.row for cell in line] for line in lines]
    panels = [program.alpha_panel(line[1].row, []) for line in lines]
    many = [(f"TB_Linear_Map {i}", [f"blocks.{i}.filter.w1" for i in range(50)], np.full((3, 50), 2.0), np.full((3, 50), 3.0)) for i in range(8)]
    drawn = {"error": figures.error_over("fraction", list(experiment.axes["fraction"]), series, "nRMSE", "a title"),
             "error, words": figures.error_over("set", ["Darcy", "1D CFD", "2D CFD"], series, "nRMSE", "a title"),
             "bars": figures.bars([line[0].row for line in lines], "nRMSE", "a title"),
             "alphas": figures.alphas(panels, "a title"), "many alphas": figures.alphas(many, "a title")}
    clashes = {name: clash for name, figure in drawn.items() if (clash := texts_that_clash(figure))}
    figures.plt.close("all")
    assert not clashes, clashes


@check
def only_numbers_are_joined_by_lines(scratch):
    finish_all(place(scratch))
    series = [[cell.row for cell in line] for line in program.make_table(rows.load("trial.yaml"))]
    series[1][1] = None
    for labels, is_joined in ((["100 %", "10 %", "2.5 %"], True), (["1e-3", "2.5e-3", ".5"], True), (["0 runs", "40 runs", "80"], True),
                              (["pre-trained", "from scratch", "frozen"], False), (["Darcy", "1D CFD", "2D CFD"], False),
                              (["10 % of A", "10 % of B", "5 %"], False), (["1.2.3", "1.2", "2"], False)):
        figure = figures.error_over("set", labels, series, "nRMSE", "a title")
        lines = [bars.lines[0] for bars in figure.axes[0].containers]
        assert len(lines) == 2 and all(line.get_marker() == "o" for line in lines)
        assert all((line.get_linestyle() != "None") == is_joined for line in lines), labels
        assert lines[0].get_xdata()[0] < lines[1].get_xdata()[0], "side by side"
        if not is_joined:
            assert list(np.round(lines[1].get_xdata())) == [0, 2], "a place of its own for each name, the empty one too"
    figures.plt.close("all")


@check
def pictures_lie_beside_the_table(scratch):
    finish_all(place(scratch), lambda row: row.labels["fraction"] == "2.5 %")
    assert table()[0] == 0
    names = sorted(name for name in os.listdir("runs/trial/table") if name.endswith(".png"))
    assert names == ["alpha_fraction-10.png", "alpha_fraction-100.png", "bars_fraction-10.png", "bars_fraction-100.png", "error.png"], names
    for name in names:
        assert figures.plt.imread(os.path.join("runs/trial/table", name)).std() > 0.02, f"{name} is blank"


@check
def nothing_finished_is_one_plain_line(scratch):
    place(scratch)
    status, output, errors = table()
    assert status == 1 and not output and "no row is finished yet" in errors and len(errors.splitlines()) == 1, errors
    for row in place(scratch)[:2]:
        finish(row, None)
    status, output, errors = table()
    assert status == 1 and not output and "2 of 36 rows are finished, none with a" in errors and len(errors.splitlines()) == 1, errors
    write("trial.yaml", FILE + "x: 1\n")
    assert table()[0] == 1


if __name__ == "__main__":
    sys.exit(run_checks())
