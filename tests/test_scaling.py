"""Checks of postproc/scaling.py on made-up tables. Prints a line a check; exit status 1 if one fails."""
import csv
import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, output_of, run_checks, texts_that_clash  # noqa: E402
import scaling  # noqa: E402
import scaling_figures  # noqa: E402

# Stand-ins for what jobscripts/scaling.sh starts. A launcher notes its command line and starts one process, whose step takes 1 s.
PROGRAMS = {
    "bin/srun": """echo "$*" >>"$SCRATCH/launched"
while [ "${1#-}" != "$1" ]; do case $1 in -n | -N) shift 2 ;; *) shift ;; esac; done
exec "$@"
""",
    "bin/smpirun": """echo "$*" >>"$SCRATCH/simulated"
echo "$2,0,0.5,0.1,0.1,0.1,0.1,0.1,0.25"
""",
    "build/evenkeel": """[ "$1" = train ] || exit 0
dir=$(sed -n 's/^out: {dir: "\\(.*\\)"}/\\1/p' "$2")
mkdir -p "$dir"
echo '{"timing": {"step_seconds_median": 1, "phase_seconds": {"io": 1, "forward": 1, "backward": 1, "allreduce": 1, "optimizer": 1, "spectra": 1}},
  "peak_memory_bytes": 2, "peak_memory_bytes_rank": 1}' >"$dir/summary.json"
""",
    "build/scaling/describe": "echo floats=1\n",
    "build/scaling/skeleton_sim": "exit 0\n",
    "build/bench/bench_balance": """[ "$1" = models ] && shift
for model in ${*:-fno2d unet2d dpot_tiny dpot_small}; do echo "rebalance_$model 0.5 s"; echo "rebalance_${model}_all 0.5 s"; done
""",
    "build/bench/bench_step": "echo 'products 150 GFLOP/s'; echo \"$3 1.70 x 1 rank, ${GAIN:-40.00} side by side (0.1 s on 64 ranks)\"\n",
}

STRONG = {"serial": 0.02, "work/p": 3.0, "log2 p": 4e-3, "p - 1": 2e-4}
WEAK = {"work": 0.4, "1 - 1/p": 0.03, "log2 p": 2e-3, "p - 1": 1e-4}


def seconds(kind, terms, p):
    """The model written out by hand."""
    strong, latencies = kind == "strong", terms["log2 p"] * np.log(p) / np.log(2) + terms["p - 1"] * (p - 1)
    return latencies + (terms["serial"] + terms["work/p"] / p if strong else terms["work"] + terms["1 - 1/p"] * (p - 1) / p)


def row(model, kind, ranks, step, source="measured", repeat=1, batch=32, over=0, **more):
    """A row as scaling.sh records it: all that is no communication in fixed shares."""
    cells = dict.fromkeys(scaling.COLUMNS, "")
    shares = {"forward": 0.3, "backward": 0.5, "allreduce": 0.1, "optimizer": 0.07, "io": 0.03} if kind in ("strong", "weak") else {}
    cells.update(model=model, kind=kind, source=source, ranks=ranks, oversubscribed=over, repeat=repeat, step=f"{step:.9g}")
    cells.update({name: f"{share * step:.9g}" for name, share in shares.items()})
    if shares:
        cells.update(batch=batch * (ranks if kind == "weak" else 1), steps=12, spectra=0.01, samples_per_second=batch / step)
        if source == "measured":
            cells.update(memory_sum=ranks * 2e8, memory_rank=2e8)
    cells.update(more)
    return cells


def study(scratch, ranks=(1, 2, 4, 8, 16, 32), noise=0.0, models=("fno2d",)):
    """A table of strong and weak scaling with known coefficients, three repeats."""
    rng, rows = np.random.default_rng(1), []
    for model in models:
        for kind, terms in (("strong", STRONG), ("weak", WEAK)):
            rows += [row(model, kind, p, seconds(kind, terms, p) * (1 + noise * rng.standard_normal()), repeat=r) for p in ranks for r in (1, 2, 3)]
    return table(scratch, rows)


def table(scratch, rows):
    path = os.path.join(scratch, "scaling.csv")
    scaling.write_rows(path, rows)
    return path


def run(*arguments):
    """(exit status, stdout, stderr); a Python warning counts as a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return output_of(scaling.main, *arguments)


def assert_refused(arguments, *words):
    status, _, errors = run(*arguments)
    assert status == 1 and len(errors.splitlines()) == 1, (status, errors)
    for word in words:
        assert word in errors, f"'{word}' is not in: {errors}"


def fits_of(path):
    return {one.kind: scaling.fit(one) for one in scaling.group(scaling.read_rows(path)) if one.source == "measured"}


@check
def fits_recover_what_the_table_was_made_of(scratch):
    fits = fits_of(study(scratch))
    for kind, wanted in (("strong", STRONG), ("weak", WEAK)):
        for name, value in wanted.items():
            assert abs(fits[kind].terms[name] / value - 1) < 1e-4, (kind, name, fits[kind].terms[name])
        assert fits[kind].rms < 1e-6 and not fits[kind].is_exact


@check
def fits_of_noisy_tables_say_how_far_off_they_are(scratch):
    found = fits_of(study(scratch, noise=0.03))["strong"]
    assert abs(found.terms["work/p"] / STRONG["work/p"] - 1) < 0.05
    assert abs(found.terms["work/p"] - STRONG["work/p"]) < 4 * found.errors["work/p"]
    assert 0.001 < found.rms < 0.04 and found.rms <= found.worst


@check
def few_rank_counts_get_few_terms(scratch):
    two = fits_of(study(scratch, ranks=(1, 2)))["strong"]
    assert list(two.terms) == ["serial", "work/p"] and two.is_exact and np.isnan(two.errors["serial"])
    assert list(fits_of(study(scratch, ranks=(1, 2, 4, 8)))["strong"].terms) == ["serial", "work/p", "log2 p"]
    assert fits_of(study(scratch, ranks=(4,)))["strong"] is None
    status, output, errors = run("report", study(scratch, ranks=(4,)))
    assert status == 0 and "no fit, one rank count" in output and not errors, errors


@check
def no_term_is_negative(scratch):
    path = table(scratch, [row("fno2d", "strong", p, 1.0 + 0.1 * p) for p in (1, 2, 4, 8)])
    assert min(fits_of(path)["strong"].terms.values()) >= 0
    slower = table(scratch, [row("fno2d", "strong", p, 1.0 * p) for p in (1, 2)])
    assert not fits_of(slower)["strong"].is_exact and "misfit" in run("report", slower)[1]


@check
def oversubscribed_points_are_shown_but_not_fitted(scratch):
    path = study(scratch, ranks=(1, 2, 4))
    before = fits_of(path)["strong"]
    rows = [row("fno2d", "strong", p, seconds("strong", STRONG, p)) for p in (1, 2, 4)] + [row("fno2d", "strong", 8, 9.0, over=1)]
    assert np.allclose(list(fits_of(table(scratch, rows))["strong"].terms.values()), list(before.terms.values()))
    assert "8*" in run("report", path)[1]


@check
def efficiency_starts_at_the_smallest_rank_count(scratch):
    path = table(scratch, [row("fno2d", "strong", p, 8.0 / p) for p in (2, 8)] + [row("fno2d", "weak", p, 1.0 + 0.25 * (p > 2)) for p in (2, 8)])
    strong, weak = scaling.group(scaling.read_rows(path))
    assert np.allclose(strong.efficiency, 1) and np.allclose(strong.speedup, (2, 8))
    assert np.allclose(weak.efficiency, (1, 0.8))
    assert "no run on one rank" in run("report", path)[1]


@check
def fastest_of_the_repeats(scratch):
    path = table(scratch, [row("fno2d", "strong", 1, step, repeat=r) for r, step in enumerate((1.2, 1.0, 9.0))])
    one = scaling.group(scaling.read_rows(path))[0]
    assert (one.repeats[0], one.step[0], one.median[0], one.high[0]) == (3, 1.0, 1.2, 9.0)
    assert np.isclose(one.values["forward"][0], float(row("fno2d", "strong", 1, 1.0)["forward"]))


@check
def reports_say_fastest_and_median(scratch):
    """Speed-up and efficiency are of the fastest, whatever the median."""
    rows = [row("fno2d", "strong", p, step, repeat=r) for p, steps in ((1, (4.0, 2.0, 3.5)), (2, (1.25, 1.75))) for r, step in enumerate(steps)]
    out = os.path.join(scratch, "pictures")
    status, output, errors = run("report", table(scratch, rows + [row("fno2d", "refresh_all", 1, 0.5)]), "--out", out)
    assert status == 0, errors
    with open(os.path.join(out, "scaling.txt"), encoding="utf-8") as file:
        text = file.read()
    lines = [line.split() for line in text.splitlines()]
    assert text in output and lines[0][3:7] == ["ranks", "step", "s", "median"]
    assert lines[1][3:6] == ["1", "2.00000", "3.50000"] and lines[2][3:7] == ["2", "1.25000", "1.50000", "1.60"]
    with open(os.path.join(out, "points.csv"), newline="", encoding="utf-8") as file:
        points = list(csv.DictReader(file))
    names = ("kind", "ranks", "repeats", "step", "step_median", "step_slowest", "speedup", "efficiency")
    assert [tuple(one[name] for name in names) for one in points] == [
        ("strong", "1", "3", "2", "3.5", "4", "1", "1"), ("strong", "2", "2", "1.25", "1.5", "1.75", "1.6", "0.8"),
        ("refresh_all", "1", "1", "0.5", "0.5", "0.5", "1", "1")]
    assert (points[0]["batch"], points[0]["oversubscribed"], points[2]["batch"]) == ("32", "0", "")


@check
def rows_are_recorded_and_replaced(scratch):
    path, summary = os.path.join(scratch, "scaling.csv"), os.path.join(scratch, "summary.json")
    phases = dict.fromkeys(("io", "forward", "backward", "allreduce", "optimizer", "spectra"), 2.4)
    with open(summary, "w", encoding="utf-8") as file:
        json.dump({"timing": {"step_seconds_median": 0.5, "phase_seconds": phases}, "peak_memory_bytes": 300, "peak_memory_bytes_rank": 200}, file)
    base = ("record", path, f"summary={summary}", "model=fno2d", "kind=strong", "source=measured", "ranks=2", "batch=8", "oversubscribed=0", "refreshes=2")
    for repeat, steps in ((1, 12), (2, 12), (1, 24)):
        assert run(*base, f"repeat={repeat}", f"steps={steps}")[0] == 0
    rows = scaling.read_rows(path)
    assert [(r["repeat"], r["steps"], r["forward"], r["spectra"]) for r in rows] == [(2, 12, 0.2, 1.2), (1, 24, 0.1, 1.2)]
    assert (rows[0]["samples_per_second"], rows[0]["memory_sum"], rows[0]["memory_rank"]) == (16, 300, 200)
    assert_refused(base[:2] + ("model=fno2d", "speed=3"), "no column 'speed'")
    assert_refused(base[:2] + ("model=fno2d", "kind=strong", "source=measured", "ranks=1", "step=fast"), "step", "fast")
    assert_refused(("record", path, "summary=/none", *base[3:], "repeat=1", "steps=2"), "/none")
    with open(summary, encoding="utf-8") as file:
        text = file.read()
    with open(summary, "w", encoding="utf-8") as file:
        file.write(text.replace("0.5", "null"))
    assert_refused((*base, "repeat=1", "steps=2"), "summary.json", "not a run's summary")


@check
def costs_are_those_of_one_rank(scratch):
    path = table(scratch, [row("fno2d", "strong", 1, 2.0, batch=4), row("fno2d", "strong", 2, 1.0, batch=4), row("fno2d", "refresh_published", 1, 0.7)])
    status, output, _ = run("costs", path, "fno2d")
    assert status == 0
    got = {name: float(value) for name, value in (line.split("=") for line in output.split())}
    # 90 % of the step is no communication; what is printed adds up to the step again
    assert np.isclose(4 * (got["forward"] + got["backward"] + got["io"]) + got["optimizer"], 0.9 * 2.0) and got["refresh"] == 0.7
    assert_refused(("costs", path, "unet2d"), "unet2d")
    # simulations of another batch, and another model's trouble, do not matter to them
    others = [row("fno2d", "strong", 1, 9.0, batch=batch, source="simulated") for batch in (8, 16)]
    others += [row("unet2d", "strong", 1, 9.0, batch=batch) for batch in (8, 16)]
    mixed = [row("fno2d", "strong", 1, 2.0, batch=4), row("fno2d", "refresh_published", 1, 0.7)]
    assert run("costs", table(scratch, mixed + others), "fno2d")[:2] == (0, output)


@check
def measured_and_simulated_are_compared_where_both_are(scratch):
    rows = [row("fno2d", "strong", 1, 1.0), row("fno2d", "strong", 2, 0.5), row("fno2d", "strong", 4, 0.4, over=1)]
    rows += [row("fno2d", "strong", p, t, source="simulated") for p, t in ((1, 1.0), (2, 0.55), (4, 0.8), (8, 0.1))]
    status, output, _ = run("compare", table(scratch, rows), "--tolerance", "11")
    assert status == 0 and "+10.0%" in output and "oversubscribed" in output and len(output.splitlines()) == 6, output
    assert output.splitlines()[4:] == ["not judged, more ranks than cores: fno2d strong on 4 ranks",
                                       "not judged, not measured with the same batch: fno2d strong on 8 ranks"], output
    assert "not judged, the tolerance is 0: fno2d strong on 1 rank, fno2d strong on 2 ranks\n" in run("compare", table(scratch, rows))[1]
    assert "not judged, more ranks than cores" in run("compare", table(scratch, rows), "--tolerance", "5")[1]  # failing, too
    assert_refused(("compare", table(scratch, rows), "--tolerance", "5"), "fno2d strong on 2 ranks predicted 0.55000 s, measured 0.50000 s (+10.0 %)")
    assert "8 ranks" not in run("compare", table(scratch, rows), "--tolerance", "5")[2] and run("compare", table(scratch, rows))[0] == 0
    assert "nothing was checked" not in output
    status, output, _ = run("compare", table(scratch, [one for one in rows if one["ranks"] != 2]), "--tolerance", "5")
    assert status == 0 and "nothing was checked" in output
    assert_refused(("compare", table(scratch, rows[:3])), "nothing was both")


@check
def damaged_tables_are_refused(scratch):
    assert_refused(("report", os.path.join(scratch, "none.csv")), "none.csv")
    path = study(scratch)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for old, new, word in (("step,", "stop,", "'step'"), ("fno2d,strong", "fno2d,stronger", "kind"), (",32,12,", ",x,12,", "'x'")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))
        assert_refused(("report", path), word)
    assert_refused(("report", table(scratch, [row("fno2d", "strong", 1, 1.0), row("fno2d", "strong", 2, 1.0, batch=64)])), "32, 64")
    assert_refused(("report", table(scratch, [])), "no rows")


def full_study(scratch):
    rows = scaling.read_rows(study(scratch, ranks=(1, 2, 4), models=("fno2d", "unet2d", "dpot_tiny")))
    rows += [row(m, "strong", 8, 1.0, over=1) for m in ("fno2d", "unet2d", "dpot_tiny")]
    for model in ("fno2d", "unet2d", "dpot_tiny"):
        for p in (2 ** i for i in range(11)):
            rows += [row(model, kind, p, seconds(kind, terms, p), source="simulated") for kind, terms in (("strong", STRONG), ("weak", WEAK))]
    for i, model in enumerate(("fno2d", "unet2d", "dpot_tiny", "dpot_small")):
        rows += [row(model, f"refresh_{layers}", p, 10.0 ** (i - 3) / p + 1e-4) for p in (1, 2, 4) for layers in ("published", "all")]
    return table(scratch, rows)


def stand_ins(scratch, without=()):
    """Environment of a scaling.sh with one small model, all of whose programs are PROGRAMS."""
    for name, text in PROGRAMS.items():
        if name in without:
            continue
        path = os.path.join(scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "EVENKEEL", "SIMULATE"))}
    for name in ("BATCH", "PER_RANK", "CORES", "CLUSTER", "STEPS"):
        ours.pop(name, None)
    return {**ours, "PATH": f"{scratch}/bin:{os.environ['PATH']}", "SCRATCH": scratch, "BUILD": f"{scratch}/build/", "OUT": f"{scratch}/out",
            "DATA": f"{scratch}/data", "PYTHON": sys.executable, "LAUNCH": "srun", "MODELS": "fno2d", "KINDS": "strong", "REPEATS": "1", "RANKS": "1",
            "SIMULATE_RANKS": "1"}


def study_script(environment, *arguments, **more):
    return subprocess.run([os.path.join(ROOT, "jobscripts", "scaling.sh"), *arguments], env={**environment, **more}, capture_output=True, text=True, check=False)


def recorded(environment, *columns):
    return [tuple(one[name] for name in columns) for one in scaling.read_rows(os.path.join(environment["OUT"], "scaling.csv"))]


def assert_not_started(environment, words, *arguments, **more):
    """Refused in a line, before anything was launched."""
    launched = os.path.join(environment["SCRATCH"], "launched")
    before = os.path.exists(launched) and os.path.getsize(launched)
    done = study_script(environment, *arguments, **more)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, f"'{word}' is not in: {done.stderr}"
    assert before == (os.path.exists(launched) and os.path.getsize(launched)), "something was launched"


@check
def every_rank_of_a_strong_step_has_a_sample(scratch):
    environment = stand_ins(scratch)
    done = study_script(environment, RANKS="1 40", CORES="40")
    assert done.returncode == 0, done.stderr
    assert recorded(environment, "ranks", "batch") == [(1, 40), (40, 40)]
    assert_not_started(environment, ["BATCH=16 leaves", "40 ranks", "BATCH=40 or more"], RANKS="1 40", BATCH="16")
    assert_not_started(environment, ["BATCH", "'many'"], BATCH="many")
    assert_not_started(environment, ["SIMULATE_BATCH=8 or more"], "--simulate", RANKS="1 40", SIMULATE_RANKS="1 8", SIMULATE_BATCH="4")
    # a table keeps one batch: rows of another one that stay are seen before the runs, those that are measured again go
    assert_not_started(environment, ["batch of 40, now it would be 32", "OUT"], RANKS="1 2")
    done = study_script(environment, RANKS="1 40", BATCH="80", CORES="40", PYTHON="true")
    assert done.returncode == 0 and "40 ranks, batch 80" in done.stdout, (done.stdout, done.stderr)


@check
def a_simulation_is_refused_before_the_runs(scratch):
    environment = stand_ins(scratch, without=["build/scaling/skeleton_sim"])
    assert_not_started(environment, ["SimGrid", "simgrid libsimgrid-dev", "make scaling-programs"], "--simulate")
    environment = stand_ins(scratch)
    assert_not_started(environment, ["RANKS", "fno2d on one rank"], "--simulate", RANKS="2")
    assert_not_started(environment, ["KINDS", "fno2d on one rank"], "--simulate", KINDS="weak")
    cluster = os.path.join(scratch, "cluster.txt")
    with open(cluster, "w", encoding="utf-8") as file:
        file.write("NODES=2\n")
    assert_not_started(environment, ["CLUSTER", "NODES x CORES", cluster], "--simulate", CLUSTER=cluster, CORES="4")


@check
def simulations_are_of_the_kinds_and_cores_that_were_asked_for(scratch):
    environment = stand_ins(scratch)
    cluster = os.path.join(scratch, "cluster.txt")
    with open(cluster, "w", encoding="utf-8") as file:
        file.write("NODES=1\nCORES=2\nNODE_BANDWIDTH=1e9\nNODE_LATENCY=1e-6\n")
    more = {"CLUSTER": cluster, "SIMULATE_RANKS": "1 2 4", "CORES": "64"}
    done = study_script(environment, "--simulate", **more)
    assert done.returncode == 0, done.stderr
    columns = ("kind", "source", "ranks", "oversubscribed")
    strong = [("strong", "measured", 1, 0)] + [("strong", "simulated", p, over) for p, over in ((1, 0), (2, 0), (4, 1))]
    assert recorded(environment, *columns) == strong
    one = scaling.group(scaling.read_rows(os.path.join(environment["OUT"], "scaling.csv")))[1]
    assert scaling.fit(one).points == 2
    done = study_script(environment, SIMULATE="1", KINDS="weak rebalance", **{**more, "SIMULATE_RANKS": "4"})
    assert done.returncode == 0, done.stderr
    others = [("weak", "measured", 1, 0), ("refresh_published", "measured", 1, 0), ("refresh_all", "measured", 1, 0),
              ("refresh_published", "simulated", 4, 1), ("weak", "simulated", 4, 1)]
    assert recorded(environment, *columns) == strong + others


@check
def rebalancing_is_that_of_the_chosen_models(scratch):
    environment = stand_ins(scratch)
    done = study_script(environment, KINDS="rebalance", MODELS="fno2d dpot_tiny", RANKS="1 2", CORES="2")
    assert done.returncode == 0, done.stderr
    wanted = {(model, kind, p) for model in ("fno2d", "dpot_tiny") for kind in ("refresh_published", "refresh_all") for p in (1, 2)}
    assert set(recorded(environment, "model", "kind", "ranks")) == wanted
    os.remove(os.path.join(environment["OUT"], "scaling.csv"))
    assert study_script(environment, KINDS="rebalance", MODELS="", RANKS="1", CORES="2").returncode == 0
    assert {model for model, in recorded(environment, "model")} >= {"fno2d", "unet2d", "dpot_tiny", "dpot_small"}


@check
def predictions_know_what_neighbours_cost(scratch):
    """64 ranks that do as much as 40 alone take 1.6 times as long each; a cluster may have its own figure."""
    environment = stand_ins(scratch)
    cluster, simulated = (os.path.join(scratch, name) for name in ("cluster.txt", "simulated"))
    for own, told in (("", ["crowd=1.6"]), ("CROWD=1.25\n", ["crowd=1.6", "crowd=1.25"])):
        with open(cluster, "w", encoding="utf-8") as file:
            file.write("NODES=1\nCORES=16\nNODE_BANDWIDTH=1e9\nNODE_LATENCY=1e-6\n" + own)
        done = study_script(environment, "--simulate", CLUSTER=cluster, CORES="64")
        assert done.returncode == 0 and "1.6 times as long" in done.stdout, done.stderr
        with open(simulated, encoding="utf-8") as file:
            words = file.read().splitlines()[-1].split()
        assert [word for word in words if word.startswith("crowd=")] == told and "cores=16" in words, words
    done = study_script(environment, "--simulate", CLUSTER=cluster, CORES="64", GAIN="none")
    assert done.returncode == 1 and "bench_step" in done.stderr, done.stderr
    assert study_script(environment, "--simulate", CLUSTER=cluster, CORES="1", GAIN="none").returncode == 0


def launches(environment):
    """Options of the launcher for a strong step on each of RANKS."""
    path = os.path.join(environment["SCRATCH"], "launched")
    with open(path, encoding="utf-8") as file:
        found = [line.split(" /")[0] for line in file if " train " in line]
    os.remove(path)
    return found


@check
def srun_fills_one_node_after_the_other(scratch):
    environment = {**stand_ins(scratch), "RANKS": "1 4 5 16", "CORES": "8", "PYTHON": "true", "SLURM_JOB_NUM_NODES": "3"}
    assert study_script(environment, SLURM_NTASKS_PER_NODE="4").returncode == 0
    assert launches(environment) == ["-N 1 -n 1", "-N 1 -n 4", "-N 2 -n 5", "-N 3 -n 16"]
    del environment["SLURM_JOB_NUM_NODES"]
    environment["RANKS"] = "5"
    for told, wanted in (({"SLURM_TASKS_PER_NODE": "4(x3)"}, "-N 2 -n 5"), ({"SLURM_TASKS_PER_NODE": "4(x2),1"}, "-n 5"), ({}, "-n 5"),
                         ({"SLURM_NTASKS_PER_NODE": "4", "LAUNCH": "srun --mpi=pmix --nodes=3"}, "--mpi=pmix --nodes=3 -n 5")):
        done = study_script(environment, **told)
        assert done.returncode == 0 and launches(environment) == [wanted], (told, done.stderr)


@check
def the_job_loads_modules_and_finds_the_tree(scratch):
    """A job's script is a copy elsewhere, its directory that of the submission."""
    environment = stand_ins(scratch)
    copy, site, work = (os.path.join(scratch, name) for name in ("job", "site.sh", "work"))
    shutil.copy(os.path.join(ROOT, "jobscripts", "scaling.sbatch"), copy)
    os.mkdir(work)
    with open(site, "w", encoding="utf-8") as file:
        file.write(f'. {ROOT}/jobscripts/site.sh\nsite_launch="srun --site"\nsite_setup() {{ export PATH="{scratch}/bin:$PATH"; }}\n')
    environment.update(PATH=os.environ["PATH"], EVENKEEL_HOME=ROOT, EVENKEEL_SITE=site, PYTHON="true", SLURM_JOB_ID="7", SLURM_JOB_NODELIST="n[1-3]",
                       SLURM_NTASKS="3", SLURM_NTASKS_PER_NODE="1", SLURM_JOB_NUM_NODES="3")
    del environment["LAUNCH"], environment["RANKS"]
    done = subprocess.run(["bash", copy], env=environment, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "job 7" in done.stdout and "srun --site on n[1-3]" in done.stdout, (done.stdout, done.stderr)
    assert launches(environment) == [f"--site -N {p} -n {p}" for p in (1, 2, 3)]
    done = subprocess.run(["bash", copy, "--wrong"], env=environment, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "'--wrong' is not known" in done.stderr, (done.returncode, done.stderr)


@check
def no_text_is_cut_or_overlaps(scratch):
    for make in (full_study, lambda where: study(where, ranks=(1, 2))):
        path = make(scratch)
        fits = [(one, scaling.fit(one)) for one in scaling.group(scaling.read_rows(path))]
        for name, figure in scaling_figures.draw(fits):
            clash = texts_that_clash(figure)
            assert clash is None, f"{name}: {clash}"
            scaling_figures.plt.close(figure)


@check
def refreshes_fill_their_panels(scratch):
    """Predictions for many more ranks than were measured do not push the measured points into a corner; without measured ones they are all shown."""
    rows = scaling.read_rows(full_study(scratch))
    many = [row("fno2d", "refresh_published", 2 ** i, 1e-3 / 2 ** i, source="simulated") for i in range(11)]
    for more, most, low, high in ((rows + many, 4, 1e-3 / 4, 1.1), (many, 1024, 1e-6 / 2, 2e-3)):
        fits = [(one, None) for one in scaling.group(scaling.read_rows(table(scratch, more)))]
        figure = dict(scaling_figures.draw(fits))["refresh.png"]
        ax = figure.axes[0]
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert 0.5 < left < 1 and most < right < 2 * most, (left, right)
        assert low / 2 < bottom < top < 2 * high, (bottom, top)
        even = [line for line in ax.lines if line.get_color() == scaling_figures.REFERENCE]
        assert even and all(line.get_xdata()[-1] == most for line in even)
        assert texts_that_clash(figure) is None
        scaling_figures.plt.close(figure)


@check
def a_user_gets_five_pictures(scratch):
    out = os.path.join(scratch, "pictures")
    command = [sys.executable, os.path.join(ROOT, "postproc", "scaling.py"), "report", full_study(scratch), "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert sorted(os.listdir(out)) == ["efficiency.png", "memory.png", "phases.png", "points.csv", "refresh.png", "scaling.txt", "speedup.png"]
    for name in os.listdir(out):
        if name.endswith(".png"):
            assert scaling_figures.plt.imread(os.path.join(out, name)).std() > 0.02, f"{name} is blank"


if __name__ == "__main__":
    sys.exit(run_checks())
