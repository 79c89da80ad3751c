"""The page of a run and the page of a comparison: what report.py --html puts into page.py's parts. tablepage.py shares some of it."""
import os
import re

import numpy as np

import comparison
import page
import rundir

FIGURES = (
    ("RMSE", "root mean square error"), ("nRMSE", "RMSE relative to the norm of the truth"),
    ("cRMSE", "error of the sums over the grid (conserved quantities)"), ("max", "largest error at a point, mean over fields and frames"),
    ("bRMSE", "RMSE at the boundary"), ("fRMSE_low", "error at low wavenumbers"), ("fRMSE_mid", "error at middle wavenumbers"),
    ("fRMSE_high", "error at high wavenumbers"))
CAPTIONS = {
    "curves": "Training loss, nRMSE on the test set and its error per band of wavenumbers, over epochs. Loss that falls while the test "
              "error rises is overfitting; a band that stays high is a scale the model does not learn.",
    "layers": "Tail exponent α of each layer's eigenvalues, and the learning rate it sets for the next epoch. Layers with a large α "
              "are the less trained ones; balancing gives them the higher rate. The broad grey line is the base rate; in a map of many "
              "layers an arrow at the scale says that rates go beyond it, lower.",
    "exponents": "Tail exponent α of each layer's eigenvalues. Layers with a large α are the less trained ones.",
    "spectra": "The share of each layer's eigenvalues at or above a value, at the first and the last recorded epoch. The dashed line "
               "is the fitted power law, whose slope is 1 − α: the flatter, the heavier the tail.",
    "prediction": "Truth, prediction and their difference at the last frame of the first test trajectory. The truth sets the colours; "
                  "an arrow at the scale says that the prediction goes beyond it.",
    "rollout": "Error per field over the frames of the rollout, mean over the test trajectories kept. The model is fed its own "
               "predictions: a steep rise means that its errors feed on themselves.",
    "comparison": "Training loss and test nRMSE of every run (thin) and each group's mean (thick), over epochs. The baseline is grey.",
    "bars": "Final nRMSE of each group from zero, and enlarged: diamonds are means with the sample standard deviation, circles single "
            "runs. Where the circles of two groups overlap, the difference may be chance."}
PHASES = "Time in each phase, of the rank where it took longest, and its share of all phases."


def run_page(directory, pictures, problems):
    """HTML of one run. `pictures`: paths in the order to show; `problems`: lines about what could not be drawn."""
    about, config = optional(rundir.read_about, directory), optional(rundir.read_config, directory)
    summary, metrics = optional(rundir.read_summary, directory), optional(rundir.read_metrics, directory)
    rule, seed = config.get("balance_rule"), config.get("train_seed")
    lead = [config.get("model_type"), rule and f"rule {rule}", seed and f"seed {seed}", _state(config, summary, metrics)]
    sections = [
        page.section("Run", page.facts(_run_facts(directory, about, config, summary)), *map(page.warning, problems),
                     *_decks(directory, about)),
        page.section("Final figures", *_final(summary)),
        page.section("Figures", *_images(pictures)),
        page.section("Layers", *_layers(directory, metrics)),
        page.section("Time", *_timing(summary))]
    return page.page(rundir.name_of(directory), sections, " · ".join(part for part in lead if part))


def comparison_page(rows, pictures, notes):
    """HTML of a comparison: `rows` as comparison.compare gives them, `notes` what weakens it or was left out."""
    placed = [(place, run) for place, row in enumerate(rows, 1) for run in row.group.runs]
    abouts = [optional(rundir.read_about, run.directory) for _, run in placed]
    groups = [[place, *comparison.format_row(row)] for place, row in enumerate(rows, 1)]
    names = _names([run.directory for _, run in placed])
    listed = [[names[run.directory], place, run.config.get("train_seed"), run.nrmse, run.nrmse_published, when(about.get("started"))]
              for (place, run), about in zip(placed, abouts)]
    decks = [page.details(f"deck of {names[run.directory]}, group {place}", read_text(os.path.join(run.directory, "resolved.yaml")))
             for place, run in ((place, row.group.runs[0]) for place, row in enumerate(rows, 1))]
    facts = [("runs", f"{len(placed)} in {len(rows)} groups"), *facts_of_runs(abouts)]
    sections = [
        page.section("Comparison", page.facts(facts), *map(page.warning, notes)),
        page.section("Groups", page.table(["no.", *comparison.HEADER], groups, " ".join(comparison.CAPTION.split()))),
        page.section("Figures", *_images(pictures)),
        page.section("Runs", page.table(["run", "group no.", "seed", "nRMSE", "nRMSE (published convention)", "started"], listed)),
        page.section("Decks", *decks)]
    labels = "; ".join(row.group.label for row in rows)
    title = f"Comparison of {len(rows)} groups of runs" if len(rows) > 1 else "Runs of one group"
    return page.page(title, sections, labels if len(labels) < 120 else "")


def _names(directories):
    """{directory: what its run is called}: as many of the last parts of the paths as tell them apart."""
    paths = [os.path.abspath(directory).split(os.sep) for directory in directories]
    for parts in range(1, max(map(len, paths)) + 1):
        names = [os.sep.join(path[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(directories, names))


def optional(read, directory):
    """What a reader gives, {} where the file is missing or damaged: report.py has said so where it matters."""
    try:
        return read(directory)
    except rundir.RunError:
        return {}


def _state(config, summary, metrics):
    if summary:
        return "finished"
    done = int(metrics["epoch"].max()) if metrics else 0
    return f"not finished: epoch {done} of {config.get('train_epochs', '?')}"


def _run_facts(directory, about, config, summary):
    memory = summary.get("peak_memory_bytes")
    slurm = about.get("slurm") or {}
    return [("started", when(about.get("started"))), ("version", about.get("version")), ("hosts", _few(about.get("hosts") or [])),
            ("mesh", _mesh(about)), ("SLURM", ", ".join(f"{key} {value}" for key, value in slurm.items())),
            ("data", config.get("data_file")), ("epochs", summary.get("epochs") or config.get("train_epochs")),
            ("parameters", f"{summary['parameters']:,}" if isinstance(summary.get("parameters"), int) else None),
            ("peak memory", f"{memory / 2**20:.1f} MiB over all ranks" if memory else None), ("directory", os.path.abspath(directory))]


def facts_of_runs(abouts):
    """When, where and with what runs were made; `abouts` as rundir.read_about gives them."""
    started = sorted(about["started"] for about in abouts if about.get("started"))
    return [("first started", when(started[0]) if started else None), ("last started", when(started[-1]) if started else None),
            ("version", ", ".join(sorted({str(about.get("version", "unknown")) for about in abouts}))),
            ("hosts", _few(sorted({host for about in abouts for host in about.get("hosts") or []}))),
            ("mesh", ", ".join(sorted({mesh for about in abouts if (mesh := _mesh(about))})))]


def when(started):
    return started.replace("T", " ").replace("Z", " UTC") if started else None


def _mesh(about):
    mesh = about.get("mesh")
    return " × ".join(f"{ranks} {axis}" for axis, ranks in mesh.items()) if mesh else None


def _few(names):
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _decks(directory, about):
    parts = []
    if os.path.exists(os.path.join(directory, "resolved.yaml")):
        parts.append(page.details("deck (resolved.yaml)", read_text(os.path.join(directory, "resolved.yaml"))))
    named = {"command line": about.get("command_line"), "flags": about.get("build_flags"), **(about.get("libraries") or {})}
    built = [f"{name}: {' '.join(value) if isinstance(value, list) else value}" for name, value in named.items() if value]
    return parts + ([page.details("command line, flags and libraries", "\n".join(built))] if built else [])


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _final(summary):
    if not summary:
        return [page.text("The run has no summary.json yet: the figures of the final weights come at its end.")]
    blocks = [summary.get(name) or {} for name in ("metrics", "metrics_published")]
    rows = [[name, *(block.get(name) for block in blocks), meaning] for name, meaning in FIGURES if any(name in block for block in blocks)]
    return [page.table(["figure", "predicted frames", "all frames", "meaning"], rows,
                       "Final weights on the whole test set. The published convention averages over all frames, the given ones "
                       "(error 0) included. A dash: not defined on this grid.")]


def _images(pictures):
    return [page.image(path, CAPTIONS.get(re.sub(r"(_\d+)?\.png$", "", os.path.basename(path)), "")) for path in pictures]


def _layers(directory, metrics):
    """alpha first and last, and the rate relative to the base rate in the last epoch that a row of layers.csv set it for."""
    layers = optional(rundir.read_layers, directory)
    if not layers:
        return []
    base = dict(zip(metrics["epoch"], metrics["base_lr"])) if metrics else {}
    used = [i for i, epoch in enumerate(layers.epochs) if epoch + 1 in base]
    rows = []
    for i, name in enumerate(layers.names):
        fitted = layers.alpha[np.isfinite(layers.alpha[:, i]), i]
        change = f"{fitted[-1] - fitted[0]:+.3f}".replace("-", "−") if len(fitted) > 1 else None
        rate = float(layers.rate[used[-1], i]) if used else None
        ratio = f"{rate / base[layers.epochs[used[-1]] + 1]:.3f}" if used else None
        rows.append([name, *(f"{fitted[k]:.3f}" if len(fitted) else None for k in (0, -1)), change, rate, ratio])
    when = f"epoch {layers.epochs[used[-1]] + 1:.0f}" if used else "the last epoch"
    return [page.table(["layer", "α first", "α last", "change", "rate", "rate / base rate"], rows,
                       f"Tail exponent at the first and the last recorded epoch ({layers.epochs[0]:.0f} and {layers.epochs[-1]:.0f}), "
                       f"and the learning rate used in {when}. A dash: too few eigenvalues for a fit.")]


def _timing(summary):
    timing = summary.get("timing") or {}
    share = timing.get("balance_share")
    known = [(name, f"{timing[key]:.4g} s{what}" if timing.get(key) is not None else None) for name, key, what in (
        ("training", "train_seconds", ""), ("balancing", "balance_seconds", ""), ("step", "step_seconds_median", " (median)"))]
    known.insert(2, ("balancing's share", f"{100 * share:.2g} % of training" if share is not None else None))
    parts = [page.facts(known)] if timing else []
    phases = {name: seconds for name, seconds in (timing.get("phase_seconds") or {}).items() if seconds}
    if phases:
        total = sum(phases.values())
        longest_first = sorted(phases.items(), key=lambda item: -item[1])
        rows = [[name, f"{seconds:.3f}", f"{100 * seconds / total:.1f}"] for name, seconds in longest_first]
        parts.append(page.table(["phase", "seconds", "share (%)"], rows, PHASES))
    return parts
