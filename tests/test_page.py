"""Checks of the pages of report.py --html, and of page.py itself. Prints a line a check; exit status 1 if one fails."""
import base64
import os
import re
import sys
from html.parser import HTMLParser

import checks
import test_report as runs
from test_report import make_run, replace, report, text_of, write

checks.CHECKS.clear()  # those of test_report.py run by themselves
from checks import check, run_checks  # noqa: E402
import page  # noqa: E402

runs.figures.plt.rcParams["figure.dpi"] = 50  # pictures are carried here, not looked at

VOID = ("meta", "img", "br", "link", "hr", "input", "base")
LOADS = ("src", "href", "srcset", "data", "action", "background", "poster", "code", "archive")


class Page(HTMLParser):
    """What a browser would see: tags balanced, attributes, text, pictures."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.images, self.words, self.style = [], [], [], "", ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.words += data + ("" if self.open and self.open[-1] == "pre" else "\n")


def page_of(directory):
    return Page(text_of(directory, "index.html"))


def assert_stands_alone(seen):
    """Nothing in the page loads anything: no script, no address but data URIs, none in the style."""
    assert not {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}, seen.tags
    for tag, attributes in seen.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in LOADS or value.startswith("data:image/png;base64,"), (tag, name, value[:60])
    assert not re.search(r"url\(|@import|https?:|file:", seen.style)
    assert any("default-src 'none'" in attributes.get("content", "") for _, attributes in seen.tags)


def assert_holds(seen, directory, names):
    """The pictures of the files, byte for byte and in this order, each with words for those who cannot see it."""
    held = [base64.b64decode(image["src"].split(",", 1)[1], validate=True) for image in seen.images]
    for name, data, image in zip(names, held, seen.images):
        with open(os.path.join(directory, name), "rb") as file:
            assert file.read() == data, name
        assert len(image["alt"]) > 60 and int(image["width"]) > 100, name
    assert len(held) == len(names)


def cells_of(html):
    """The first table's rows as text."""
    table = re.search(r"<table>.*?</table>", html, re.S)[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)]


@check
def a_run_has_a_page_that_stands_alone(scratch):
    run = make_run(scratch, "single", rule="tb_sigmoid", seed=5, dim=1, layers=("fc0", "fc2"))
    write(run, "run.json", '{"version": "v1.2", "started": "2024-05-01T10:00:00Z", "hosts": ["node7"], "mesh": {"data": 2, "space": 1}}')
    replace(run, "summary.json", '{"metrics"', '{"epochs": 20, "timing": {"train_seconds": 30.5, "balance_seconds": 0.6, "balance_share": '
            '0.02, "step_seconds_median": 0.25, "phase_seconds": {"forward": 3, "backward": 6, "spectra": 1, "solve": 0}}, "metrics"')
    status, output, errors = report(run, "--html")
    assert status == 0 and not errors and "index.html" in output
    out = os.path.join(run, "report")
    seen = page_of(out)
    assert_stands_alone(seen)
    assert_holds(seen, out, ["curves.png", "layers.png", "spectra.png", "prediction.png", "rollout.png"])
    for words in ("fno2d · rule tb_sigmoid · seed 5 · finished", "2024-05-01 10:00:00 UTC", "v1.2", "node7", "2 data × 1 space", "30.5 s",
                  "2 % of training", "  reduced_batch: 40\n", "0.05238", "60.0"):
        assert words in seen.words, f"no '{words}'"
    assert cells_of(text_of(out, "index.html"))[1:3] == [["RMSE", "0.2", "–", "root mean square error"],
                                                        ["nRMSE", "0.1", "0.05238", "RMSE relative to the norm of the truth"]]


@check
def layers_table_follows_the_file(scratch):
    run = make_run(scratch, "layers", rule="tb_sigmoid", predictions=False, layers=("fc0", "w0", "fc1"))
    os.remove(os.path.join(run, "spectra.h5"))
    report(run, "--html")
    html = text_of(os.path.join(run, "report"), "index.html")
    rows = cells_of(html[html.index("<h2>Layers"):])
    layers = runs.rundir.read_layers(run)
    metrics = runs.rundir.read_metrics(run)
    assert [row[0] for row in rows[1:]] == layers.names
    for i, row in enumerate(rows[1:]):
        assert row[1:3] == [f"{layers.alpha[0, i]:.3f}", f"{layers.alpha[-1, i]:.3f}"]
        # the row of epoch 19 is the rate of epoch 20, the last one
        assert row[5] == f"{layers.rate[19, i] / metrics['base_lr'][19]:.3f}", row


@check
def unfinished_and_damaged_runs_have_pages(scratch):
    run = make_run(scratch, "going", predictions=False, layers=("fc0",))
    for name in ("summary.json", "run.json", "spectra.h5"):
        os.remove(os.path.join(run, name))
    replace(run, "resolved.yaml", "epochs: 20", "epochs: 50")
    status, _, errors = report(run, "--html")
    assert status == 1 and len(errors.splitlines()) == 1
    seen = page_of(os.path.join(run, "report"))
    assert_stands_alone(seen)
    assert_holds(seen, os.path.join(run, "report"), ["curves.png", "layers.png"])
    for words in ("not finished: epoch 20 of 50", "no summary.json yet", "spectra.h5: no such file"):
        assert words in seen.words, words


@check
def names_and_keys_are_text(scratch):
    name = "a<b>&\"c\"'d'"
    run = make_run(scratch, name, predictions=False, layers=("fc0", "<script>alert(1)</script>"), extra="  fit: <img src=http://a/b.png> & </pre>\n")
    other = make_run(scratch, "other", rule="tb_<i>", predictions=False)
    report(run, "--html")
    html = text_of(os.path.join(run, "report"), "index.html")
    seen = Page(html)
    assert_stands_alone(seen)
    for words in (name, "<script>alert(1)</script>", "fit: <img src=http://a/b.png> & </pre>"):
        assert words in seen.words, words
    report(run, other, "--html", "--group", "balance_rule", "--out", os.path.join(scratch, "both"))
    assert_stands_alone(page_of(os.path.join(scratch, "both")))
    assert "tb_<i>" in page_of(os.path.join(scratch, "both")).words


@check
def a_comparison_has_a_page(scratch):
    cases = [(rule, seed) for rule in ("none", "tb_exp") for seed in range(2)]
    small = {"epochs": 5, "predictions": False, "layers": ("fc0",)}
    directories = [make_run(scratch, f"{rule}{seed}", rule, seed, 0.1 + 0.01 * seed, **small) for rule, seed in cases]
    broken = make_run(scratch, "broken", **small)
    os.remove(os.path.join(broken, "summary.json"))
    out = os.path.join(scratch, "out")
    status, _, _ = report(*directories, broken, "--html", "--out", out)
    seen = page_of(out)
    assert status == 0
    assert_stands_alone(seen)
    assert_holds(seen, out, ["comparison.png", "bars.png"])
    for words in ("4 in 2 groups", "skipped:", "0.1050 ± 0.0071", "+0.00", "deck of tb_exp0, group 2", "  rule: tb_exp\n"):
        assert words in seen.words, f"no '{words}'"
    each = os.path.join(scratch, "each")
    report(*directories[::3], "--html", "--each", "--out", each)
    assert all(os.path.exists(os.path.join(at, "index.html")) for at in (each, *(f"{run}/report" for run in directories[::3])))


@check
def runs_of_one_name_are_told_apart(scratch):
    directories = [make_run(os.path.join(scratch, f"x{seed}"), "run", "none", seed, epochs=5, predictions=False, layers=("fc0",)) for seed in range(2)]
    out = os.path.join(scratch, "same")
    assert report(*directories, "--html", "--out", out)[0] == 0
    seen = page_of(out)
    assert all(words in seen.words for words in ("x0/run", "x1/run", "deck of x0/run, group 1")), seen.words


@check
def no_page_unless_asked(scratch):
    run = make_run(scratch, "quiet", layers=("fc0",), predictions=False, epochs=2)
    report(run)
    assert not os.path.exists(os.path.join(run, "report", "index.html"))


@check
def parts_of_pages(_):
    table = page.table(["a", "b", "c"], [["x", 1.23456, "2024-05-01"], ["y", None, "-"], ["z", float("nan"), ""]], "words")
    assert cells_of(table.html) == [["a", "b", "c"], ["x", "1.235", "2024-05-01"], ["y", "–", "-"], ["z", "–", ""]]
    assert re.findall(r"<th( class=\"number\")?>", table.html) == ["", ' class="number"', ""]
    counted = page.table(["a", "b", "c"], [["0.10 ± 0.02 (2 of 3)", "rows (2 of 3)", "> 0.99"], ["- (0 of 3)", "- (0 of 3)", "-"],
                                            ["0.25 (analysis)", "", ""], ["2.00 (analysis)", "", ""]])
    assert re.findall(r"<th( class=\"number\")?>", counted.html) == [' class="number"', "", ' class="number"']
    assert page.text("one\n\ntwo <b>").html == "<p>one</p>\n<p>two &lt;b&gt;</p>\n"
    assert page.section("empty").html == "" and "\ufffd" in page.text("a\x00b\x1b").html
    assert "node" not in page.facts([("hosts", ""), ("mesh", None)]).html
    Page(page.page("t", [page.section("h", table, page.details("more", "<pre>"), page.fold("tables", table, table), page.image(b"GIF89a", "moving"))], "lead"))
    try:
        page.image(b"<svg/>")
    except ValueError as error:
        assert "no PNG" in str(error)
    else:
        raise AssertionError("took what is no picture")


if __name__ == "__main__":
    sys.exit(run_checks())
