"""Checks of postproc/ on synthetic run directories. Prints a line a check; exit status 1 if one fails."""
import contextlib
import csv
import io
import json
import os
import struct
import subprocess
import sys
import warnings

import h5py
import numpy as np
from scipy.special import betainc

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks, texts_that_clash  # noqa: E402
import comparison  # noqa: E402
import figures  # noqa: E402
import report as program  # noqa: E402
import rundir  # noqa: E402

LAYERS = ("fc0", "w0", "w1", "w2", "w3", "fc1", "fc2")
FIGURES = ("RMSE", "nRMSE", "cRMSE", "max", "bRMSE", "fRMSE_low", "fRMSE_mid", "fRMSE_high")


# ---- synthetic runs -------------------------------------------------------------------------------------------------------


def power_law(rng, count, alpha, xmin=0.1):
    """Eigenvalues whose upper half follows density ~ x^-alpha from xmin on, ascending."""
    tail = xmin * (1 - rng.random(count - count // 2)) ** (1 / (1 - alpha))
    return np.sort(np.concatenate([xmin * rng.random(count // 2), tail]))


def make_run(parent, name, rule="none", seed=0, nrmse=0.1, epochs=20, layers=LAYERS, dim=2, predictions=True, extra=""):
    directory = os.path.join(parent, name)
    os.makedirs(directory)
    rng = np.random.default_rng(seed + 1)
    write(directory, "resolved.yaml", f"data:\n  file: cfd.h5\n  reduced_batch: 40\nmodel:\n  type: fno2d\n  modes: [12, 12]\n"
          f"train:\n  epochs: {epochs}\n  seed: {seed}\nbalance:\n  rule: {rule}\n{extra}out:\n  dir: {directory}\n")
    write(directory, "run.json", json.dumps({"version": "v1", "mesh": {"data": 2, "space": 1}}))
    figures_of_run = {"RMSE": 2 * nrmse, "nRMSE": nrmse, "fRMSE_high": None}
    write(directory, "summary.json", json.dumps({"metrics": figures_of_run, "metrics_published": {"nRMSE": nrmse * 11 / 21}}))
    write_metrics(directory, rng, epochs, nrmse)
    write_spectra(directory, rng, epochs, layers)
    if predictions:
        write_predictions(directory, rng, dim)
    return directory


def write(directory, name, text):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)


def replace(directory, name, old, new):
    write(directory, name, text_of(directory, name).replace(old, new))


def text_of(directory, name):
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        return file.read()


def write_metrics(directory, rng, epochs, nrmse):
    """Evaluated every fifth epoch, empty cells between; the highest band is undefined throughout."""
    lines = [",".join(("epoch", "train_loss", "base_lr", "seconds", "balance_seconds") + FIGURES)]
    for epoch in range(1, epochs + 1):
        decay = 1 + 8 * np.exp(-6 * epoch / epochs)
        value = nrmse * decay * np.exp(0.03 * rng.standard_normal())
        tests = [value * factor for factor in (2, 1, 0.2, 30, 2.5, 0.5, 0.05)] + [""] if epoch % 5 == 0 else [""] * 8
        cells = [epoch, 0.3 * decay ** 2 * np.exp(0.05 * rng.standard_normal()), 1e-3 * 0.5 ** (epoch // 10), 1.5, 0.02] + tests
        lines.append(",".join(str(cell) for cell in cells))
    write(directory, "metrics.csv", "\n".join(lines) + "\n")


def write_spectra(directory, rng, epochs, layers):
    lines = ["epoch,layer,alpha,D,num_evals,norm,spectral_norm,stable_rank,lr"]
    with h5py.File(os.path.join(directory, "spectra.h5"), "w") as file:
        for epoch in range(epochs + 1):
            group = file.create_group(f"epoch_{epoch:05d}")
            for i, layer in enumerate(layers):
                alpha = 2.2 + 3 * i / len(layers) - 0.3 * epoch / epochs + 0.03 * rng.standard_normal()
                # the last layer of a network has few eigenvalues, close together
                values = power_law(rng, 40, alpha) if layer != "fc2" else np.sort(rng.uniform(0.3, 0.5, 4))
                data = group.create_dataset(layer, data=values)
                data.attrs.update(alpha=alpha, xmin=values[len(values) // 2], D=0.1)
                text = "" if layer == "fc1" and epoch == 2 else f"{alpha:.6f}"
                rate = 1e-3 * 0.5 ** ((epoch + 1) // 10) * 2 ** np.tanh(alpha - 3.5)
                lines.append(f"{epoch},{layer},{text},0.1,40,{values.sum()},{values[-1]},{values.sum() / values[-1]},{rate}")
    write(directory, "layers.csv", "\n".join(lines) + "\n")


def write_predictions(directory, rng, dim):
    fields = ("density", "pressure", "Vx", "Vy")[:4 if dim == 2 else 3]
    x = np.arange(32) / 32
    grid = np.meshgrid(x, x, indexing="ij") if dim == 2 else [x]
    shape = (2, len(fields), 21) + (32,) * dim
    target, noise = np.empty(shape, np.float32), np.zeros(shape, np.float32)
    for n, f, t in np.ndindex(shape[:3]):
        waves = [np.sin(2 * np.pi * ((i + 1) * axis + 0.02 * t * (f + 1)) + n) for i, axis in enumerate(grid)]
        target[n, f, t] = 10.0 ** (2 * (f == 1)) * (np.prod(waves, axis=0) + (2 if f < 2 else 0))
        if t >= 10:
            noise[n, f, t] = 0.01 * (t - 9) * target[n, f, t].std() * rng.standard_normal((32,) * dim)
    with h5py.File(os.path.join(directory, "predictions.h5"), "w") as file:
        file["target"], file["prediction"] = target, target + noise
        file.attrs.update(initial_step=10, fields=",".join(fields))


# ---- running the program ----------------------------------------------------------------------------------------------------


def report(*arguments):
    """(exit status, stdout, stderr) of the program's main; a Python warning counts as a failure."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("error")
        status = program.main(list(arguments))
    return status, output.getvalue(), errors.getvalue()


def report_as_a_user(*arguments):
    """The same from the command line."""
    command = [sys.executable, os.path.join(ROOT, "postproc", "report.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def png_size(path):
    """(width, height, dots per inch), read from the file's own header."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    at = data.index(b"pHYs") + 4
    return *struct.unpack(">II", data[16:24]), round(struct.unpack(">I", data[at:at + 4])[0] * 0.0254)


def assert_refused(arguments, *words):
    """Exit status 1 and one plain line that holds the words."""
    status, _, errors = report(*arguments)
    assert status == 1, f"status {status}: {errors}"
    assert len(errors.splitlines()) == 1 and "Traceback" not in errors, errors
    for word in words:
        assert word in errors, f"'{word}' is not in: {errors}"


def refusal(read, directory):
    """The line with which a reader refuses the directory."""
    try:
        read(directory)
    except rundir.RunError as error:
        assert "\n" not in str(error), error
        return str(error)
    raise AssertionError(f"{read.__name__} took a damaged file")


def table_of(directory):
    with open(os.path.join(directory, "table.csv"), newline="", encoding="utf-8") as file:
        return {row["group"]: row for row in csv.DictReader(file)}


def welch_by_hand(a, b):
    """Two-sided p from the t and Welch-Satterthwaite formulas and the incomplete beta function."""
    va, vb = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    t2 = (np.mean(a) - np.mean(b)) ** 2 / (va + vb)
    freedom = (va + vb) ** 2 / (va ** 2 / (len(a) - 1) + vb ** 2 / (len(b) - 1))
    return betainc(freedom / 2, 0.5, freedom / (freedom + t2))


# ---- checks -----------------------------------------------------------------------------------------------------------------


@check
def yaml_of_resolved_files(_):
    text = "# made by evenkeel\ndata:\n  file: a b.h5\n  modes: [12, 16]\ntrain:\n  max_wall: \"01:30:00\"\n  resume: no # why\n"
    wanted = {"data_file": "a b.h5", "data_modes": "12,16", "train_max_wall": "01:30:00", "train_resume": "no"}
    assert rundir.parse_yaml(text + "out:\n  dir: x#1\n") == {**wanted, "out_dir": "x#1"}


@check
def one_run_gives_five_pictures(scratch):
    run = make_run(scratch, "single", rule="tb_sigmoid")
    status, output, errors = report_as_a_user(run)
    assert status == 0 and not errors, errors
    for name in ("curves", "layers", "spectra", "prediction", "rollout"):
        path = os.path.join(run, "report", name + ".png")
        width, height, dpi = png_size(path)
        assert dpi == 150 and width > 500 and height > 300, (name, width, height, dpi)
        assert f"{name}.png" in output
        assert figures.plt.imread(path).std() > 0.02, f"{name}.png is blank"


@check
def pictures_of_one_dimensional_runs_and_many_layers(scratch):
    many = [f"blocks.{i}.mlp.{part}" for i in range(12) for part in ("0", "2")]
    run = make_run(scratch, "deep", dim=1, layers=many, epochs=3)
    status, _, errors = report(run, "--out", os.path.join(scratch, "elsewhere"))
    assert status == 0, errors
    written = sorted(os.listdir(os.path.join(scratch, "elsewhere")))
    assert written == ["curves.png", "layers.png", "prediction.png", "rollout.png", "spectra.png", "spectra_2.png"], written


@check
def no_text_is_cut_or_overlaps(scratch):
    run = make_run(scratch, "texts")
    many = make_run(scratch, "texts_many", dim=1, layers=[f"blocks.{i}.filter.w{i % 2 + 1}" for i in range(60)], epochs=12)
    cases = [("none", 0, 0.12), ("none", 1, 0.125), ("tb_sigmoid", 0, 0.11), ("tb_sigmoid", 1, 0.112), ("tb_linear_map", 0, 0.13)]
    runs = [comparison.load_run(make_run(scratch, f"texts_{rule}{seed}", rule, seed, nrmse)) for rule, seed, nrmse in cases]
    rows = comparison.compare(comparison.group_runs(runs))
    drawn = {"comparison": figures.comparison(rows), "bars": figures.bars(rows)}
    for directory in (run, many):
        metrics, layers = rundir.read_metrics(directory), rundir.read_layers(directory)
        data = rundir.read_predictions(directory)
        name = rundir.name_of(directory)
        drawn.update({name + " curves": figures.curves(metrics, name), name + " layers": figures.layers(layers, metrics, name),
                      name + " exponents": figures.exponents(layers, name), name + " prediction": figures.prediction(data, name), name + " rollout": figures.rollout(data, name),
                      name + " spectra": figures.spectra(rundir.read_spectra(directory), layers.names, name)[0]})
    clashes = {name: clash for name, figure in drawn.items() if (clash := texts_that_clash(figure))}
    figures.plt.close("all")
    assert not clashes, clashes


@check
def rates_that_vanish_leave_the_colours_to_the_others(scratch):
    """One cycle: up, and down to 1e-12 or zero. The map shows the rates at which the network learned."""
    epochs = np.arange(101)
    base = 1e-3 * np.where(epochs < 30, 0.04 + 0.96 * epochs / 30, 0.5 * (1 + np.cos(np.pi * (epochs - 30) / 70)))
    names = [f"blocks.{i}.filter.w{i % 2 + 1}" for i in range(40)]
    alpha = np.tile(np.geomspace(1.5, 2e12, len(names)), (len(epochs), 1))
    for last in (1e-12, 0):
        base[-1] = last
        rate = base[:, None] * np.linspace(0.5, 1.5, len(names))
        figure = figures.layers(rundir.Layers(names, epochs, alpha, rate), None, "vanishing")
        clash = texts_that_clash(figure)
        images = [ax.collections[0] for ax in figure.axes if ax.collections and ax.get_xlabel() == "epoch"]
        bars = [image.colorbar for image in images]
        labels = [[text.get_text() for text in bar.ax.get_xticklabels()] for bar in bars]
        figures.plt.close("all")
        assert not clash, clash
        assert all(3 <= sum(map(bool, texts)) <= 9 for texts in labels), labels
        assert np.isclose(images[1].norm.vmax, 1.5e-3) and np.isclose(images[1].norm.vmin, 1.5e-6) and bars[1].extend == "min"
        assert (images[1].norm(images[1].get_array()).filled(1) < 0).any(), "what is below the scale is drawn as well"
        assert np.isclose(images[0].norm.vmin, 1.5) and bars[0].extend == "neither"


@check
def absent_predictions_are_a_note(scratch):
    run = make_run(scratch, "blind", layers=("fc0",), predictions=False)
    status, output, errors = report(run)
    assert status == 0 and not errors and "no predictions.h5" in output
    assert not os.path.exists(os.path.join(run, "report", "prediction.png"))


@check
def predictions_of_other_weights_are_said_to_be(scratch):
    run = make_run(scratch, "other", layers=("fc0",), epochs=2)
    assert "note" not in report(run)[1]
    with h5py.File(os.path.join(run, "predictions.h5"), "r+") as file:
        file.attrs["weights"] = np.bytes_("runs/a/init.safetensors")
    status, output, errors = report(run)
    assert status == 0 and not errors and f"note: predictions.h5 of {run} is of runs/a/init.safetensors" in output, output + errors
    for name, figure in program.draw_predictions(run, "other"):
        headings = [text.get_text() for text in figure.texts]
        assert any(heading.startswith("other · weights init.safetensors · ") for heading in headings), (name, headings)
    figures.plt.close("all")


@check
def spectra_of_weights_are_no_broken_run(scratch):
    run = make_run(scratch, "weights", layers=("fc0", "blocks.0.filter", "out"), predictions=False, epochs=1)
    for name in ("resolved.yaml", "metrics.csv", "summary.json", "run.json"):
        if os.path.exists(os.path.join(run, name)):
            os.remove(os.path.join(run, name))
    status, output, errors = report(run, "--html")
    assert status == 0 and not errors and "note" not in output, errors + output
    assert sorted(os.listdir(os.path.join(run, "report"))) == ["exponents.png", "index.html", "spectra.png"]
    os.remove(os.path.join(run, "spectra.h5"))
    assert "metrics.csv: no such file" in report(run)[2]


@check
def missing_things_are_one_plain_line(scratch):
    assert_refused([os.path.join(scratch, "nowhere")], "nowhere", "no such directory")
    assert_refused([os.path.join(scratch, "trial.yaml")], "no such directory")
    with open(os.path.join(scratch, "trial.yaml"), "w", encoding="utf-8"):
        pass
    assert_refused([os.path.join(scratch, "trial.yaml")], "not a run directory", f"table.py {os.path.join(scratch, 'trial.yaml')}")
    run = make_run(scratch, "holes", layers=("fc0",), predictions=False, epochs=2)
    os.remove(os.path.join(run, "spectra.h5"))
    assert_refused([run], "spectra.h5", "no such file")
    status, _, errors = report_as_a_user(run)
    assert status == 1 and len(errors.splitlines()) == 1, errors
    replace(run, "layers.csv", "alpha", "beta")
    assert refusal(rundir.read_layers, run).endswith("layers.csv: no column 'alpha'")
    write(run, "metrics.csv", "epoch,train_loss\n")
    assert refusal(rundir.read_metrics, run).endswith("metrics.csv: no column 'base_lr'")
    assert "metrics.csv: no column" in report(run)[2]
    files = {"resolved.yaml": rundir.read_config, "summary.json": rundir.read_summary, "layers.csv": rundir.read_layers}
    for name, reader in files.items():
        os.remove(os.path.join(run, name))
        assert refusal(reader, run).endswith(f"{name}: no such file")


@check
def damaged_files_are_one_plain_line(scratch):
    run = make_run(scratch, "damaged", epochs=3)
    for name, read in (("predictions.h5", rundir.read_predictions), ("spectra.h5", rundir.read_spectra)):
        os.truncate(os.path.join(run, name), os.path.getsize(os.path.join(run, name)) // 2)
        assert name in refusal(read, run)
    with h5py.File(os.path.join(run, "spectra.h5"), "w") as file:
        file["wrong"] = 1
    assert refusal(rundir.read_spectra, run).endswith("no group epoch_NNNNN")
    replace(run, "layers.csv", "0.1,40", "0.1,many")
    assert "column 'num_evals'" in refusal(rundir.read_layers, run)
    os.truncate(os.path.join(run, "layers.csv"), os.path.getsize(os.path.join(run, "layers.csv")) - 60)
    assert "of 9 cells" in refusal(rundir.read_layers, run)
    write(run, "resolved.yaml", "data:\n  file\n")
    assert "line 2" in refusal(rundir.read_config, run)


@check
def table_of_groups(scratch):
    values = {"none": (0.100, 0.104, 0.108), "tb_sigmoid": (0.090, 0.0905, 0.094)}
    cases = [(rule, seed, nrmse) for rule, figures_of_rule in values.items() for seed, nrmse in enumerate(figures_of_rule)]
    runs = [make_run(scratch, f"g_{rule}_{seed}", rule, seed, nrmse) for rule, seed, nrmse in cases]
    out = os.path.join(scratch, "groups")
    status, output, errors = report(*runs[::-1], "--out", out)
    assert status == 0 and not errors, errors
    table = table_of(out)
    assert list(table) == ["rule none", "rule tb_sigmoid"], "the baseline comes first"
    none, tb = table["rule none"], table["rule tb_sigmoid"]
    assert none["n"] == "3" and none["improvement_percent"] == none["p_value"] == ""
    assert np.isclose(float(none["nRMSE_std"]), 0.004) and np.isclose(float(tb["nRMSE_mean"]), 0.0915)
    assert np.isclose(float(tb["improvement_percent"]), 100 * (0.104 - 0.0915) / 0.104)
    assert np.isclose(float(tb["p_value"]), welch_by_hand(values["tb_sigmoid"], values["none"]), rtol=1e-9)
    assert np.isclose(float(tb["nRMSE_published_mean"]), 0.0915 * 11 / 21)
    assert "0.1040 ± 0.0040" in output and "+12.02" in output
    assert "0.1040 ± 0.0040" in text_of(out, "table.md")
    for name in ("comparison.png", "bars.png"):
        assert png_size(os.path.join(out, name))[2] == 150


@check
def default_output_lies_beside_the_runs(scratch):
    parent = os.path.join(scratch, "beside")
    runs = [make_run(parent, f"run{seed}", "none", seed, layers=("fc0",), predictions=False) for seed in range(2)]
    assert report(*runs, "--each")[0] == 0
    assert os.path.exists(os.path.join(parent, "report", "table.md"))
    assert os.path.exists(os.path.join(runs[0], "report", "curves.png"))


@check
def damaged_and_partial_runs_are_skipped(scratch):
    cases = [(rule, seed) for rule in ("none", "tb_sqrt") for seed in range(4)]
    runs = [make_run(scratch, f"s_{rule}_{seed}", rule, seed, 0.1 + 0.01 * seed) for rule, seed in cases]
    os.remove(os.path.join(runs[0], "summary.json"))
    write(runs[4], "summary.json", '{"metrics": {"nRMSE"')
    write(runs[5], "metrics.csv", "\n".join(text_of(runs[5], "metrics.csv").splitlines()[:8]) + "\n")
    write(runs[1], "summary.json", '{"metrics": {"nRMSE": null}}')
    out = os.path.join(scratch, "skipped")
    status, _, errors = report(*runs, "--out", out)
    assert status == 0 and errors.count("skipped") == 4 and "not valid JSON" in errors and "epoch 7 of 20" in errors, errors
    assert {group: row["n"] for group, row in table_of(out).items()} == {"rule none": "2", "rule tb_sqrt": "2"}
    for run in runs:
        write(run, "summary.json", "")
    status, _, errors = report(*runs, "--out", out)
    assert status == 1 and errors.splitlines()[-1].endswith("no usable run")


@check
def single_samples_have_no_p(scratch):
    runs = [make_run(scratch, f"one_{rule}", rule, 0, 0.1) for rule in ("none", "tb_exp")]
    out = os.path.join(scratch, "ones")
    status, output, _ = report(*runs, "--out", out)
    assert status == 0 and "n < 2" in output
    assert table_of(out)["rule tb_exp"]["p_value"] == table_of(out)["rule tb_exp"]["nRMSE_std"] == ""
    assert comparison.welch(np.full(3, 0.1), np.full(3, 0.1)) == (None, "no spread")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p, note = comparison.welch(np.full(3, 0.1), np.array([0.2, 0.3, 0.25]))
    assert np.isclose(p, welch_by_hand(np.full(3, 0.1), np.array([0.2, 0.3, 0.25]))) and not note


@check
def repeated_runs_and_seeds_are_told(scratch):
    runs = [make_run(scratch, f"again{i}", "none", 7, 0.1 + i) for i in range(2)]
    status, output, errors = report(*runs, runs[0] + "/", "--out", os.path.join(scratch, "again"))
    assert status == 0 and "given more than once" in errors and "train_seed 7 occurs more than once" in output
    assert table_of(os.path.join(scratch, "again"))["all runs"]["n"] == "2"


@check
def groups_follow_what_differs(scratch):
    runs = []
    for rule, width, seed in [(rule, width, seed) for rule in ("tb_rank", "none") for width in (20, 32) for seed in range(2)]:
        extra = f"mesh:\n  data: {seed + 1}\nx:\n  width: {width}\n"
        directory = make_run(scratch, f"d_{rule}_{width}_{seed}", rule, seed, 0.1 + width / 1000, extra=extra)
        runs.append(comparison.load_run(directory))
    groups = comparison.group_runs(runs)
    assert [group.label for group in groups][0] == "rule tb_rank, width 20" and len(groups) == 4
    for row in comparison.compare(groups):
        assert row.baseline == f"rule none, width {row.group.values['x_width']}", "the baseline has the same width"
    assert [group.label for group in comparison.group_runs(runs, ["x_width"])] == ["width 20", "width 32"]
    rows = comparison.compare(comparison.group_runs(runs, ["x_width"]), "32")
    assert {row.baseline for row in rows} == {"width 32"} and rows[0].group.label == "width 32"


@check
def parameters_of_balancing_count_only_with_a_rule(scratch):
    runs = []
    for rule, s1, seed in (("none", 1, 0), ("none", 2, 1), ("tb_sigmoid", 1, 0), ("tb_sigmoid", 2, 0)):
        directory = make_run(scratch, f"p_{rule}_{s1}", rule, seed, predictions=False, layers=("fc0",), extra=f"  s1: {s1}\n")
        runs.append(comparison.load_run(directory))
    rows = comparison.compare(comparison.group_runs(runs))
    labels = ["rule none", "rule tb_sigmoid, s1 1", "rule tb_sigmoid, s1 2"]
    assert [row.group.label for row in rows] == labels and len(rows[0].group.runs) == 2
    assert {row.baseline for row in rows} == {"rule none"}
    alone = comparison.group_runs(runs[:2])
    assert [group.label for group in alone] == ["all runs"]


@check
def labels_name_what_differs(scratch):
    """Plain and balanced runs differ in the rule, whatever a rule has for parameters; so do optimizers. Keys of one name are told whole."""
    def groups(*settings):
        runs = [comparison.Run(f"x{i}/run", config, {}, 0.1, 0.05, "v1") for i, config in enumerate(settings)]
        return [group.label for group in comparison.group_runs(runs)]

    plain = {"balance_rule": "none", "balance_s1": "1", "balance_fit": "xmin_mid", "train_lr": "1e-3"}
    balanced = {**plain, "balance_rule": "tb_sigmoid"}
    assert groups(plain, balanced, {**plain, "train_seed": "2"}) == ["rule none", "rule tb_sigmoid"]
    assert groups(plain, balanced, {**balanced, "balance_s1": "2"}) == ["rule none", "rule tb_sigmoid, s1 1", "rule tb_sigmoid, s1 2"]
    adam, sgd = {"train_optimizer": "adam", "train_beta1": "0.9", "train_beta2": "0.999"}, {"train_optimizer": "sgd", "train_momentum": "0"}
    assert groups(adam, sgd) == ["optimizer adam", "optimizer sgd"]
    assert groups({"model_weights": ""}, {"model_weights": "w", "model_load": "all"}) == ["weights unset", "weights w"]
    first, second = ({"data_normalize": value, "model_normalize": value} for value in ("none", "field"))
    assert groups(first, second) == ["data_normalize none, model_normalize none", "data_normalize field, model_normalize field"]


@check
def wrong_options_are_one_plain_line(scratch):
    runs = [make_run(scratch, f"o_{rule}", rule) for rule in ("none", "tb_exp")]
    assert_refused([*runs, "--group", "balance_rul"], "balance_rul", "no run has the key")
    assert_refused([*runs, "--baseline", "tb_log2"], "tb_log2", "rule none; rule tb_exp")
    write(scratch, "a_file", "")
    assert_refused([*runs, "--out", os.path.join(scratch, "a_file", "below")], "a_file")


@check
def fitted_tail_follows_a_power_law(_):
    alpha, xmin, count = 2.7, 0.5, 20000
    quantiles = (np.arange(count) + 0.5) / count
    values = np.concatenate([np.linspace(-1e-9, 0.4, count), xmin * (1 - quantiles) ** (1 / (1 - alpha))])
    spectrum = rundir.Spectrum(values, alpha, values[count])
    x, law = figures.fitted_tail(spectrum)
    assert np.isclose(law[0], 0.5, rtol=1e-3)
    seen, fraction = figures.tail_fraction(spectrum)
    assert seen.min() > 0 and np.all(np.diff(fraction) < 0)
    inside = x < np.quantile(values, 0.99)
    assert np.allclose(np.interp(x[inside], seen, fraction), law[inside], rtol=0.01)
    assert figures.fitted_tail(rundir.Spectrum(values, np.nan, np.nan)) is None


@check
def rollout_errors_follow_their_definition(_):
    target = np.zeros((2, 2, 3, 4, 4))
    target[:, 0] = 2.0
    guess = target.copy()
    guess[0, 0, 1] += 1.0
    guess[1, 0, 2] += 0.5
    rmse, nrmse = figures.rollout_errors(rundir.Predictions(guess, target, 1, ["a", "b"]))
    assert np.allclose(rmse, [[0.5, 0.25], [0, 0]]) and np.allclose(nrmse[0], [0.25, 0.125]) and np.isnan(nrmse[1]).all()


@check
def mean_curves_use_common_epochs(scratch):
    runs = [comparison.load_run(make_run(scratch, f"m{seed}", seed=seed)) for seed in range(3)]
    runs[0].metrics["nRMSE"][9] = np.nan
    epochs, means = figures.mean_curve(runs, "nRMSE")
    assert list(epochs) == [5, 15, 20] and np.isclose(means[-1], np.mean([run.metrics["nRMSE"][19] for run in runs]))


@check
def diverged_runs_still_get_pictures(scratch):
    run = make_run(scratch, "diverged", epochs=1)
    with h5py.File(os.path.join(run, "predictions.h5"), "r+") as file:
        file["prediction"][:, :, 15:] = np.nan
        file["prediction"][:, 1, 12:] = np.inf
    write(run, "metrics.csv", text_of(run, "metrics.csv").splitlines()[0] + "\n1,nan,0.001,1.5,0.02" + "," * 8 + "\n")
    status, _, errors = report(run)
    assert status == 0 and not errors, errors


@check
def spread_decides_the_digits(_):
    cases = {(0.10412, 0.00398): "0.1041 ± 0.0040", (12.34, 5.1): "12.3 ± 5.1", (0.5, np.nan): "0.5", (123.5, 67): "124 ± 67"}
    for (mean, std), text in cases.items():
        assert comparison.format_spread(mean, std) == text, comparison.format_spread(mean, std)


if __name__ == "__main__":
    sys.exit(run_checks())
