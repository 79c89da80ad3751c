"""Checks of the page of table.py --html on synthetic rows. Prints a line a check; exit status 1 if one fails."""
import contextlib
import io
import json
import os
import re
import sys

import checks
import test_page as pages
import test_table as trial
from test_table import FILE, LAYERS, finish, finish_all, not_finished, place, table, text_of, write

checks.CHECKS.clear()  # those of the other two run by themselves
from checks import check, run_checks  # noqa: E402
import rows  # noqa: E402

WITHOUT_CHOICE = FILE.replace("  train_lr: [1e-3, 2.5e-3]\n", "").replace("best_of: train_lr, ", "")


def page_of(path="page.html"):
    html = text_of(path)
    seen = pages.Page(html)
    pages.assert_stands_alone(seen)
    return html, seen


def table_under(html, heading):
    """The rows of the first table under a heading; no-break and wide spaces as they are."""
    return pages.cells_of(html[html.index(f"<h2>{heading}</h2>"):])


def printed_table(output):
    """The first table on the terminal, its cells as they are on the page."""
    lines = output[:output.index("\nnRMSE of the test set")].splitlines()
    starts = [match.start() for match in re.finditer(r"(?<=  )\S|^\S", lines[0])]
    return [[line[a:b].strip() for a, b in zip([0] + starts, starts + [None])] for line in lines]


@check
def a_finished_experiment_has_a_page_that_stands_alone(scratch):
    finish_all(place(scratch))
    status, output, errors = table("--html", "new/page.html")
    assert status == 0 and not errors and "wrote new/page.html" in output, (output, errors)
    html, seen = page_of("new/page.html")
    drawn = re.findall(r"wrote (runs/trial/table/.*\.png)", output)
    assert len(drawn) == 7
    pages.assert_holds(seen, scratch, drawn)
    assert [[cell.strip() for cell in line] for line in table_under(html, "Results")] == printed_table(output)
    assert table_under(html, "Results")[4][0] == "\u2003best lr", "what belongs to a row stands in from it"
    for words in ("36 of 36 rows finished", "seed: 1, 2, 3; fraction: 100 %, 10 %, 2.5 %; rule: plain, all layers; lr: 1e-3, 2.5e-3", "v1",
                  "12 min 00 s", "18 s (2.5 %)", "over train_seed", "the choice with the least mean error", "dir: runs/trial\n",
                  "model: {type: fno2d}\n", "(fraction 2.5 %)"):
        assert words in seen.words, f"no '{words}'"
    assert "ncomplete" not in html and "class=\"warning\"" not in html and "lacks runs" not in html


@check
def the_page_needs_no_name(scratch):
    finish_all(place(scratch))
    status, output, errors = table("--html", "--out", "new")
    assert status == 0 and not errors and "wrote new/index.html\n" in output, (output, errors)
    page_of("new/index.html")
    for arguments, wanted in ((("trial.yaml",), None), (("trial.yaml", "--html"), ""), (("--html", "trial.yaml"), ""),
                              (("--html", "trial.yaml", "--out", "new"), ""), (("--html", "my.html", "trial.yaml"), "my.html"),
                              (("--out", "new", "--html", "my.html", "trial.yaml"), "my.html"), (("trial.yaml", "--html=my.html"), "my.html")):
        options = trial.program.parse(arguments)
        assert (options.file, options.html) == ("trial.yaml", wanted), (arguments, options)
    for arguments in ((), ("--html",), ("--out", "new")):
        with contextlib.redirect_stderr(io.StringIO()) as told:
            try:
                trial.program.parse(arguments)
            except SystemExit as end:
                assert end.code == 2 and "FILE is missing" in told.getvalue(), told.getvalue()
            else:
                raise AssertionError(f"{arguments} is taken")


@check
def every_choice_is_shown_with_the_best(scratch):
    finish_all(place(scratch))
    table("--html", "page.html")
    html, _ = page_of()
    choices = table_under(html, "Best hyperparameters")
    assert choices[0] == ["", "fraction", "best", "lr 1e-3", "lr 2.5e-3"] and len(choices) == 7
    assert ["all layers", "10 %", "2.5e-3", "0.300 ± 0.010", "0.261 ± 0.010"] in choices, choices
    assert ["plain", "100 %", "1e-3", "0.1050 ± 0.0050", "0.210 ± 0.010"] in choices, choices


@check
def rows_and_their_cost_are_listed(scratch):
    all_rows = place(scratch)
    for row in all_rows:
        finish(row, 0.1 + 0.01 * row.number, 0.4 if row.labels["rule"] == "plain" else 1.0)
    table("--html", "page.html")
    html, seen = page_of()
    assert "36 finished rows" in seen.words
    listed = table_under(html, "Rows")
    assert listed[0] == ["row", "seed", "fraction", "rule", "lr", "nRMSE", "training (s)", "started", "directory"]
    for row, line in zip(all_rows, listed[1:], strict=True):
        assert line == [str(row.number), *row.labels.values(), f"{0.1 + 0.01 * row.number:.4g}", "20", "–", os.path.basename(row.directory)]
    assert table_under(html, "Cost of rebalancing")[5:] == [["all layers", "", "", ""], ["\u2003training (s)", *["20.0"] * 3],
                                                            ["\u2003rebalancing (s)", *["1.000"] * 3], ["\u2003share (%)", *["5.00"] * 3]]


@check
def an_unfinished_experiment_says_so(scratch):
    all_rows = place(scratch)
    finish_all(all_rows, not_finished)
    open_rows = [row for row in all_rows if not_finished(row)]
    failed, stopped = open_rows[:2]
    for row, status, last in ((failed, 1, "evenkeel: train_lr: <666> is too much"), (stopped, 75, "epoch 3/15  loss 1.0")):
        rows.write_record(row)
        write(row.log, f"{rows.MARK} start\n{last}\n{rows.MARK} exit status {status}\n")
    write(all_rows[0].directory + ".row", json.dumps({**rows.all_settings(all_rows[0]), "train_lr": "9"}))
    status, _, errors = table("--html", "page.html")
    assert status == 0 and not errors, errors
    html, seen = page_of()
    told = "27 of 36 rows finished, 6 missing, 1 stopped, 1 failed, 1 changed"
    assert f"incomplete: {told}" in seen.words and f"Incomplete: {told}" in seen.words
    assert any(attributes.get("class") == "warning" for _, attributes in seen.tags)
    results = table_under(html, "Results")
    assert results[1][2] == "0.315 ± 0.021 (2 of 3)" and results[3][3] == "- (0 of 3)", results
    assert re.search(r'<th class="number">10 %</th>', html), "a column of numbers, though runs are missing"
    assert "plain, fraction 10 %, lr 1e-3: 2 of 3 runs" in seen.words
    listed = {line[0]: line[5:] for line in table_under(html, "Rows")[1:]}
    assert listed.keys() == {str(row.number) for row in [all_rows[0], *open_rows]}
    assert listed["0"] == ["changed", "train_lr was 9 and is 1e-3"]
    assert listed[str(failed.number)] == ["failed", "evenkeel: train_lr: &lt;666&gt; is too much"]
    assert listed[str(stopped.number)] == ["stopped", "epoch 3/15"] and listed[str(open_rows[2].number)] == ["missing", ""]
    assert "27 finished rows" in seen.words


@check
def undefined_figures_are_told(scratch):
    for row in place(scratch, WITHOUT_CHOICE):
        finish(row, None if row.number == 0 else 0.1 + 0.1 * row.number)
    table("--html", "page.html")
    html, seen = page_of()
    assert "Incomplete: 18 of 18 rows finished, 1 finished without a nRMSE" in seen.words
    assert table_under(html, "Rows")[1][4] == "–" and "Best hyperparameters" not in html


@check
def what_was_left_out_is_no_gap(scratch):
    """Rates that go with one rule alone, as in the paper's tables."""
    text = FILE.replace("table:", "only: {rule: {all layers: {train_lr: 1e-3, fraction: [100 %, 10 %]}}}\ntable:")
    finish_all(place(scratch, text))
    status, output, errors = table("--html", "page.html")
    assert status == 0 and not errors and "missing" not in output, (output, errors)
    html, seen = page_of()
    assert "ncomplete" not in html and "0 of 0" not in html
    choices = table_under(html, "Best hyperparameters")
    assert choices[4:] == [["all layers", "100 %", "1e-3", "0.0980 ± 0.0072", "-"], ["all layers", "10 %", "1e-3", "0.300 ± 0.010", "-"],
                           ["all layers", "2.5 %", "-", "-", "-"]], choices
    cells = trial.cells()
    assert cells["all layers", "2.5 %"]["train_lr"] == "" and cells["all layers", "2.5 %"]["expected"] == "0"


@check
def without_times_there_is_no_cost(scratch):
    for row in place(scratch, WITHOUT_CHOICE.replace("columns: fraction, rows: rule,", "rows: [fraction, rule],")):
        finish(row, 0.1)
        write(os.path.join(row.directory, "summary.json"), '{"metrics": {"nRMSE": %g}}' % (0.1 + 0.01 * row.number))
    table("--html", "page.html")
    html, seen = page_of()
    assert "Cost of rebalancing" not in html and "of it rebalancing" not in html
    assert table_under(html, "Results")[0] == ["", "nRMSE", "error reduced (%)", "p, two-sided", "p, one-sided"]
    pages.assert_holds(seen, "runs/trial/table", ["bars.png", "alpha.png"])


@check
def damage_and_doubts_are_told(scratch):
    all_rows = place(scratch, WITHOUT_CHOICE)
    for row in all_rows:
        finish(row, 0.1 + 0.01 * row.number)
    os.remove(os.path.join(all_rows[0].directory, "layers.csv"))
    write(os.path.join(all_rows[1].directory, "run.json"), '{"version": "v2"}')
    status, _, errors = table("--html", "page.html")
    _, seen = page_of()
    assert status == 0 and errors.count("\n") == 1
    for words in (f"{all_rows[0].directory}/layers.csv: no such file", "different versions: v1, v2", "v1, v2"):
        assert words in seen.words, words


@check
def names_and_keys_are_text(scratch):
    label = "<script>alert(1)</script>"
    text = WITHOUT_CHOICE.replace("all layers:", f'"{label}":').replace("table:", "data: <i>gone.yaml\ntable:")
    for row in place(scratch, text):
        finish(row, 0.1 + 0.01 * row.number)
        write(os.path.join(row.directory, "layers.csv"), text_of(os.path.join(row.directory, "layers.csv")).replace(LAYERS[0], "<b>&"))
    assert table("--html", "page.html")[0] == 0
    html, seen = page_of()
    assert label in seen.words and label not in html


@check
def no_page_unless_asked_or_without_a_finished_row(scratch):
    all_rows = place(scratch)
    status, output, errors = table("--html", "page.html")
    assert status == 1 and not output and "no row is finished yet" in errors and not os.path.exists("page.html")
    finish_all(all_rows)
    table()
    assert not [name for _, _, names in os.walk(scratch) for name in names if name.endswith(".html")]
    os.mkdir("page.html")
    status, _, errors = table("--html", "page.html")
    assert status == 1 and "page.html" in errors and errors.count("\n") == 1, errors


if __name__ == "__main__":
    sys.exit(run_checks())
