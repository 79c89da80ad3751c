"""Checks of postproc/experiment.py with a stand-in for the program. Prints a line a check; exit status 1 if one fails."""
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks  # noqa: E402
import locks  # noqa: E402
import rows  # noqa: E402

DRIVER = os.path.join(ROOT, "postproc", "experiment.py")

# Acts as the program does: train writes run.json and summary.json, counts its starts, works for `width` tenths of a second and
# stops on SIGUSR1 with status 75; train_lr 666 fails. Its checkpoint lasts as long as there is a file `hold`, and in `asked` it
# counts the requests meanwhile. generate makes the deck's file.
STAND_IN = """#!/usr/bin/env python3
import json, os, signal, sys, time
stop = []
signal.signal(signal.SIGUSR1, lambda *_: stop.append(1))
command, deck, words = sys.argv[1], sys.argv[2], sys.argv[3:]
keys = dict(zip(words[::2], words[1::2]))
if command == "generate":
    time.sleep(0.3)
    print("generate", os.getpid())
    open("data.hdf5", "w").write(open(deck).read())
    sys.exit(0)
out = keys["-out_dir"]
os.makedirs(out, exist_ok=True)
with open(out + "/starts", "a") as file:
    file.write(" ".join(words) + "\\n")
open(out + "/run.json", "w").write("{}")
if keys.get("-train_lr") == "666":
    print("evenkeel: train_lr: 666 is too much")
    print("-" * 20)
    sys.exit(1)
epochs = int(keys.get("-model_width", "1"))
for epoch in range(1, epochs + 1):
    print(f"epoch {epoch}/{epochs}  loss 1.0", flush=True)
    time.sleep(0.1)
    while stop and os.path.exists("hold"):
        open(out + "/asked.part", "w").write(str(len(stop)))
        os.replace(out + "/asked.part", out + "/asked")
        time.sleep(0.01)
    if stop:
        print("stopped on request")
        sys.exit(75)
seed = float(keys.get("-train_seed", 0))
json.dump({"metrics": {"nRMSE": 0.1 + seed / 100}, "timing": {"train_seconds": 0.1 * epochs}}, open(out + "/summary.json", "w"))
"""

FILE = """
dir: runs/trial
deck: deck.yaml
data: [data.yaml]
set: {model_width: 1, train_shuffle: no}
axes:
  train_seed: [1, 2]
  rule: {plain: {balance_rule: none}, all layers: {balance_rule: tb_sigmoid, balance_layers: all}}
  train_lr: [1e-3, 2.5e-3]
table: {rows: rule, best_of: train_lr, seeds: train_seed, baseline: {rule: plain}}
"""


def place(scratch, text=FILE):
    """A directory with an experiment, its decks and the stand-in."""
    write(scratch, "trial.yaml", text)
    write(scratch, "deck.yaml", "data: {file: data.hdf5}\ntrain: {epochs: 4}\nout: {dir: runs/deck}\n")
    write(scratch, "data.yaml", "generate: {type: cfd2d, file: data.hdf5}\n")
    write(scratch, "stand_in", STAND_IN)
    os.chmod(os.path.join(scratch, "stand_in"), 0o755)


def write(scratch, name, text):
    with open(os.path.join(scratch, name), "w", encoding="utf-8") as file:
        file.write(text)


def text_of(scratch, name):
    with open(os.path.join(scratch, name), encoding="utf-8") as file:
        return file.read()


def start(scratch, *arguments, **environment):
    environment = {**os.environ, "LAUNCH": "env", "EVENKEEL": "./stand_in", **environment}
    return subprocess.Popen([sys.executable, DRIVER, *arguments], cwd=scratch, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def experiment(scratch, *arguments, **environment):
    """(exit status, stdout, stderr)"""
    process = start(scratch, *arguments, **environment)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def loaded(scratch):
    """The experiment's rows as seen from its own directory."""
    os.chdir(scratch)
    rows.read_deck.cache_clear()
    return rows.load("trial.yaml").rows


def starts(row):
    path = os.path.join(row.directory, "starts")
    return text_of("", path).splitlines() if os.path.exists(path) else []


def assert_refused(text, *words):
    write("", "wrong.yaml", text)
    try:
        rows.load("wrong.yaml")
    except rows.ExperimentError as error:
        assert "\n" not in str(error)
        for word in words:
            assert word in str(error), f"'{word}' is not in: {error}"
    else:
        raise AssertionError(f"taken: {text}")


def wait_for(condition, what):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


# ---- checks -----------------------------------------------------------------------------------------------------------------


@check
def rows_are_the_product_of_the_axes(scratch):
    place(scratch)
    all_rows = loaded(scratch)
    assert len(all_rows) == 8 and experiment(scratch, "count", "trial.yaml")[1] == "8\n"
    row = all_rows[3]
    assert row.number == 3 and row.labels == {"train_seed": "1", "rule": "all layers", "train_lr": "2.5e-3"}
    assert row.directory == "runs/trial/seed-1_all-layers_lr-2.5e-3"
    assert row.keys == {"model_width": "1", "train_shuffle": "no", "train_seed": "1", "balance_rule": "tb_sigmoid",
                        "balance_layers": "all", "train_lr": "2.5e-3"}
    assert row.title == "seed 1, all layers, lr 2.5e-3"
    status, output, _ = experiment(scratch, "list", "trial.yaml")
    assert status == 0 and output.splitlines()[4].split()[:2] == ["3", "1"] and output.count("missing") == 8
    assert not os.path.exists("runs")


@check
def a_deck_can_be_an_axis(scratch):
    place(scratch, FILE.replace("  train_lr: [1e-3, 2.5e-3]", "  model: {a: {deck: deck.yaml}, b: {deck: other.yaml, model_modes: [8, 6]}}")
          .replace("best_of: train_lr", "columns: model"))
    decks = [(row.deck, row.keys.get("model_modes")) for row in loaded(scratch)[:2]]
    assert decks == [("deck.yaml", None), ("other.yaml", "8,6")], decks
    status, _, errors = experiment(scratch, "run", "trial.yaml")
    assert status == 1 and "other.yaml: no such deck" in errors, errors


@check
def only_restricts_what_goes_with_a_label(scratch):
    place(scratch, FILE + "only: {rule: {all layers: {train_lr: [2.5e-3], train_seed: 1}}}\n")
    found = [tuple(row.labels.values()) for row in loaded(scratch)]
    assert found == [("1", "plain", "1e-3"), ("1", "plain", "2.5e-3"), ("1", "all layers", "2.5e-3"), ("2", "plain", "1e-3"), ("2", "plain", "2.5e-3")], found
    assert [row.number for row in loaded(scratch)] == list(range(5))
    assert_refused(FILE + "only: {rules: {}}\n", "only: unknown key 'rules'; known are train_seed, rule, train_lr")
    assert_refused(FILE + "only: {rule: {plane: {}}}\n", "only: rule: unknown key 'plane'")
    assert_refused(FILE + "only: {rule: {plain: {train_lr: 1}}}\n", "only: rule: plain: train_lr: found 1, wanted one of 1e-3, 2.5e-3")


@check
def all_rows_run_once_and_data_is_made_first(scratch):
    place(scratch)
    status, output, errors = experiment(scratch, "run", "trial.yaml", "--jobs", "4")
    assert status == 0 and not errors, (status, output, errors)
    lines = output.splitlines()
    assert lines[0] == "making data.hdf5" and os.path.exists(os.path.join(scratch, "data.hdf5"))
    assert len(lines) == 9 and lines[-1].startswith("8/8") and "nRMSE 0.1" in lines[-1], output
    for row in loaded(scratch):
        words = starts(row)
        assert len(words) == 1 and "-train_resume auto" in words[0] and f"-train_seed {row.labels['train_seed']}" in words[0]
        assert rows.state_of(row) == "finished" and not os.path.exists(row.lock)
    data = os.path.getmtime("data.hdf5")
    status, output, _ = experiment(scratch, "run", "trial.yaml")
    assert status == 0 and "nothing to do" in output and all(len(starts(row)) == 1 for row in loaded(scratch))
    assert os.path.getmtime("data.hdf5") == data


@check
def a_dry_run_prints_commands(scratch):
    place(scratch)
    status, output, _ = experiment(scratch, "run", "trial.yaml", "--dry-run", "--ranks", "3", LAUNCH="srun --mpi=pmix")
    assert status == 0 and output.splitlines()[0] == "srun --mpi=pmix -n 3 ./stand_in generate data.yaml"
    assert len(output.splitlines()) == 9 and not os.path.exists(os.path.join(scratch, "runs"))
    status, output, _ = experiment(scratch, "run", "trial.yaml", "--dry-run", "--row", "1", LAUNCH="")
    assert output.splitlines()[1].startswith("mpirun -n 1 --bind-to none ./stand_in train deck.yaml -model_width 1")


@check
def a_row_stops_when_its_job_says(scratch):
    place(scratch)
    for seconds, wall in ((3600, "00:59:5"), (-5, "00:00:01")):
        status, output, _ = experiment(scratch, "run", "trial.yaml", "--dry-run", "--row", "1", STOP_BY=str(int(time.time()) + seconds))
        assert status == 0 and f"-train_max_wall {wall}" in output or seconds > 0 and "-train_max_wall 01:00:00" in output, output
    assert "max_wall" not in experiment(scratch, "run", "trial.yaml", "--dry-run", "--row", "1", STOP_BY="")[1]


@check
def an_interrupted_experiment_goes_on(scratch):
    place(scratch, FILE.replace("model_width: 1,", "model_width: 20,").replace("[1, 2]", "[1]").replace("[1e-3, 2.5e-3]", "[1e-3]"))
    first, second = loaded(scratch)
    process = start(scratch, "run", "trial.yaml", "--jobs", "1")
    wait_for(lambda: rows.epochs_done(first), "the first row's first epoch")
    assert rows.state_of(first) == "running"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 75 and not errors, (process.returncode, output, errors)
    assert "stopped after a checkpoint  epoch" in output and not starts(second)
    assert rows.state_of(first) == "stopped" and rows.last_status(first) == 75
    assert rows.last_words(first.log) == "stopped on request", "the program was asked, not killed"
    assert "1 stopped" in experiment(scratch, "status", "trial.yaml")[1]
    process = start(scratch, "run", "trial.yaml", "--jobs", "2")
    status = process.wait(timeout=30)
    process.communicate()
    assert status == 0 and len(starts(first)) == 2 and len(starts(second)) == 1
    assert "2 of 2 rows finished" in experiment(scratch, "status", "trial.yaml")[1]


def begin_checkpoint(scratch, number):
    """(row, process) of an experiment whose one row has been asked by a signal and is busy with its checkpoint."""
    place(scratch, FILE.replace("model_width: 1,", "model_width: 1000,"))
    row = loaded(scratch)[0]
    process = start(scratch, "run", "trial.yaml", "--row", "0")
    wait_for(lambda: rows.epochs_done(row), "the first epoch")
    write(scratch, "hold", "")
    process.send_signal(number)
    wait_for(lambda: asked(row) >= 1, "the request")
    return row, process


def asked(row):
    path = os.path.join(row.directory, "asked")
    return int(text_of("", path)) if os.path.exists(path) else 0


@check
def a_repeated_request_leaves_the_checkpoint_alone(scratch):
    row, process = begin_checkpoint(scratch, signal.SIGUSR1)
    for times in (2, 3):
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: asked(row) >= times, f"request {times}")
    assert process.poll() is None
    os.remove("hold")
    process.communicate(timeout=30)
    assert process.returncode == 75 and rows.last_words(row.log) == "stopped on request"


@check
def another_ctrl_c_ends_the_programs(scratch):
    row, process = begin_checkpoint(scratch, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 75 and rows.state_of(row) == "stopped"
    assert asked(row) and rows.last_words(row.log) != "stopped on request"


@check
def one_row_gives_the_program_s_status(scratch):
    place(scratch, FILE.replace("model_width: 1,", "model_width: 20,").replace("2.5e-3]", "666]"))
    first, second = loaded(scratch)[:2]
    process = start(scratch, "run", "trial.yaml", "--row", "0")
    wait_for(lambda: rows.epochs_done(first), "the first epoch")
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert experiment(scratch, "run", "trial.yaml", "--row", "0")[0] == 0
    assert experiment(scratch, "run", "trial.yaml", "--row", "0")[0] == 0 and len(starts(first)) == 2
    status, output, _ = experiment(scratch, "run", "trial.yaml", "--row", "1")
    assert status == 1 and "train_lr: 666 is too much" in output and rows.state_of(second) == "failed"
    status, _, errors = experiment(scratch, "run", "trial.yaml", "--row", "9")
    assert status == 1 and "the rows are 0 to 7" in errors


@check
def a_failed_row_is_told_and_the_others_go_on(scratch):
    place(scratch, FILE.replace("[1e-3, 2.5e-3]", "[666, 1e-3]"))
    status, output, _ = experiment(scratch, "run", "trial.yaml", "--jobs", "2")
    assert status == 1 and output.count("FAILED, exit status 1: evenkeel: train_lr: 666 is too much") == 4, output
    assert output.splitlines()[-1] == "failed: rows 0, 2, 4, 6"
    states = [rows.state_of(row) for row in loaded(scratch)]
    assert states == ["failed", "finished"] * 4, states
    assert "4 failed" in experiment(scratch, "status", "trial.yaml")[1]


@check
def where_every_row_fails_no_more_are_started(scratch):
    place(scratch, FILE.replace("[1e-3, 2.5e-3]", "[666]").replace("[1, 2]", "[1, 2, 3, 4]"))
    status, output, _ = experiment(scratch, "run", "trial.yaml", "--jobs", "1")
    assert status == 1 and output.count("FAILED") == 3 and "--keep-going" in output, output
    assert experiment(scratch, "run", "trial.yaml", "--jobs", "2", "--keep-going")[1].count("FAILED") == 8


@check
def a_program_that_cannot_be_started_is_one_line(scratch):
    place(scratch)
    status, _, errors = experiment(scratch, "run", "trial.yaml", LAUNCH="no_such_launcher")
    assert status == 1 and errors == "experiment.py: no_such_launcher: cannot be started: No such file or directory\n", errors


@check
def two_processes_share_the_rows(scratch):
    place(scratch, FILE.replace("model_width: 1,", "model_width: 3,"))
    processes = [start(scratch, "run", "trial.yaml", "--jobs", "2") for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert not any(errors for _, errors in outputs), outputs
    assert [len(starts(row)) for row in loaded(scratch)] == [1] * 8, outputs
    assert text_of(scratch, "data.hdf5.log").count("exit status 0") == 1, "the data was made once"


@check
def a_dead_process_s_lock_is_taken_over(scratch):
    place(scratch, FILE.replace("model_width: 1,", "model_width: 30,"))
    first = loaded(scratch)[0]
    process = start(scratch, "run", "trial.yaml", "--row", "0")
    wait_for(lambda: rows.epochs_done(first), "the first epoch")
    process.kill()
    process.communicate()
    status, output, _ = experiment(scratch, "run", "trial.yaml", "--row", "0")
    assert status == 1 and "left out: row 0" in output, "what the dead process started is still running"
    child = json.loads(text_of("", first.lock))["child"]
    os.kill(child, signal.SIGUSR1)
    wait_for(lambda: not locks.holder(first.lock), "the end of the row")
    assert rows.state_of(first) == "stopped"
    assert experiment(scratch, "run", "trial.yaml", "--row", "0")[0] == 0 and len(starts(first)) == 2


@check
def locks_of_other_hosts_are_judged_by_their_age(scratch):
    path = os.path.join(scratch, "lock")
    write(scratch, "lock", json.dumps({"host": "elsewhere", "pid": 1, "start": "1", "job": "7", "restart": "0"}))
    assert "process 1 on elsewhere has it" in locks.take(path)
    os.environ.update(SLURM_JOB_ID="7", SLURM_RESTART_COUNT="1")
    assert locks.take(path) is None, "this job's own, from before it was queued again"
    del os.environ["SLURM_JOB_ID"], os.environ["SLURM_RESTART_COUNT"]
    locks.release(path)
    write(scratch, "lock", json.dumps({"host": "elsewhere", "pid": 1, "start": "1"}))
    long_ago = time.time() - 2 * locks.STALE_SECONDS
    os.utime(path, (long_ago, long_ago))
    assert locks.take(path) is None and json.loads(text_of("", path))["host"] == socket.gethostname()
    assert "has it" in locks.take(path), "not even a second time by the same process"
    assert os.listdir(scratch) == ["lock"]


@check
def other_settings_are_not_mixed_up(scratch):
    place(scratch)
    assert experiment(scratch, "run", "trial.yaml", "--row", "0")[0] == 0
    write(scratch, "deck.yaml", "# a comment\ndata: {file: data.hdf5}\ntrain: {epochs: 4, max_wall: 1:00}\n")
    assert rows.state_of(loaded(scratch)[0]) == "finished", "a comment or a time limit changes nothing"
    write(scratch, "deck.yaml", "data: {file: data.hdf5}\ntrain: {epochs: 5}\n")
    assert rows.state_of(loaded(scratch)[0]) == "changed"
    status, _, errors = experiment(scratch, "run", "trial.yaml")
    assert status == 1 and "train_epochs was 4 and is 5" in errors and len(errors.splitlines()) == 1, errors
    os.remove(loaded(scratch)[0].record)
    assert "it is no row of an experiment" in experiment(scratch, "run", "trial.yaml")[2]


@check
def an_old_summary_does_not_finish_a_row(scratch):
    place(scratch)
    experiment(scratch, "run", "trial.yaml", "--row", "0")
    row = loaded(scratch)[0]
    os.utime(os.path.join(row.directory, "summary.json"), (1, 1))
    assert rows.state_of(row) != "finished"
    assert experiment(scratch, "run", "trial.yaml", "--row", "0")[0] == 0 and len(starts(row)) == 2


@check
def odd_tables_are_one_plain_line(scratch):
    os.chdir(scratch)
    one, several, map_of = "one axis of train_seed, rule, train_lr", "an axis or a list of axes of train_seed, rule, train_lr", "`name: value` lines"
    wrong = {"rows: rule": [("rows: 3", "rows: found 3, wanted one of train_seed"), ("rows: null", "rows: found null, wanted one of train_seed"),
                            ("rows: {rule: plain}", f"rows: found {{rule: plain}}, wanted {several}"),
                            ("rows: [[rule]]", f"rows: found [rule], wanted {several}"), ("rows: [rule, rule]", "axis 'rule' must be in one of")],
             "best_of: train_lr": [("best_of: {}", f"best_of: found {{}}, wanted {several}"), ("best_of: ['']", f"best_of: found nothing, wanted {several}")],
             "seeds: train_seed": [("seeds: [train_seed]", f"seeds: found [train_seed], wanted {one}"), ("columns: [], seeds: train_seed", f"columns: found [], wanted {one}"),
                                   ("metric: [nRMSE], seeds: train_seed", "metric: found [nRMSE], wanted one of RMSE"),
                                   ("metric: , seeds: train_seed", "metric: found nothing, wanted one of RMSE"),
                                   ("convention: {a: {b: c}}, seeds: train_seed", "convention: found {a: {b: c}}, wanted one of metrics"),
                                   ("columms: rule, seeds: train_seed", "unknown key 'columms'; known are columns")],
             "baseline: {rule: plain}": [("baseline: plain", f"baseline: found plain, wanted {map_of}"), ("baseline: [plain]", f"baseline: found [plain], wanted {map_of}"),
                                         ("baseline: {rule: [plain]}", "baseline: rule: found [plain], wanted one of plain, all layers"),
                                         ("baseline: {rules: plain}", "baseline: unknown key 'rules'; known are rule")]}
    for right, lines in wrong.items():
        for text, words in lines:
            assert right in FILE
            assert_refused(FILE.replace(right, text), f"wrong.yaml: table: {words}")
    table = FILE[FILE.index("table:"):]
    for text, found in (("table: rule\n", "rule"), ("table: [rows, rule]\n", "[rows, rule]")):
        assert_refused(FILE.replace(table, text), f"wrong.yaml: table: found {found}, wanted {map_of}")
    write("", "one.yaml", FILE.replace(table, "table:\n"))
    assert rows.load("one.yaml").table.rows == ["train_seed", "rule", "train_lr"], "nothing behind table: no table"
    write("", "one.yaml", "dir: runs/trial\ndeck: deck.yaml\naxes: {train_lr: [1, 2]}\ntable: {rows: [train_lr]}\n")
    assert rows.load("one.yaml").table.rows == ["train_lr"]


@check
def values_of_a_wrong_kind_are_one_plain_line(scratch):
    os.chdir(scratch)
    assert_refused(FILE.replace("dir: runs/trial", "dir: [runs/trial]"), "wrong.yaml: dir: found [runs/trial], wanted a path")
    assert_refused(FILE.replace("deck: deck.yaml", "deck: {a: b}"), "wrong.yaml: deck: found {a: b}, wanted a path")
    assert_refused(FILE.replace("data: [data.yaml]", "data: {a: b}"), "wrong.yaml: data: found {a: b}, wanted a deck or a list of decks")
    assert_refused(FILE.replace("model_width: 1", "model_width: [{a: b}]"), "wrong.yaml: set: model_width: found {a: b}, wanted a value or a list of values")
    assert_refused(FILE.replace("[1, 2]", "[1, {a: b}]"), "wrong.yaml: axes: train_seed: found {a: b}, wanted a value or a list of values")
    assert_refused(FILE.replace("{balance_rule: none}", "[none]"), "wrong.yaml: axes: rule: plain: found [none], wanted `name: value` lines")
    assert_refused(FILE + "only: {rule: {plain: {train_lr: [[1e-3]]}}}\n", "wrong.yaml: only: rule: plain: train_lr: found [1e-3], wanted labels of train_lr")


@check
def wrong_files_are_one_plain_line(scratch):
    os.chdir(scratch)
    assert_refused(FILE + "axis: {}\n", "unknown key 'axis'", "known are dir, deck, data, set, axes, only, table")
    assert_refused(FILE.replace("seeds:", "seed:"), "table: unknown key 'seed'", "columns, rows, best_of, seeds")
    assert_refused(FILE.replace("rows: rule, ", "rows: rules, "), "table: rows: found rules, wanted one of train_seed, rule, train_lr")
    assert_refused(FILE.replace("rule: plain}", "rule: plane}"), "table: baseline: rule: found plane, wanted one of plain, all layers")
    assert_refused(FILE.replace("seeds: train_seed", "seeds: train_seed, metric: nrmse"), "table: metric: found nrmse, wanted one of RMSE, nRMSE")
    assert_refused(FILE.replace("dir: runs/trial", ""), "'dir' is missing")
    assert_refused(FILE.replace("model_width: 1", "out_dir: x"), "'out_dir' is set for each row by itself")
    assert_refused(FILE.replace("train_lr: [1e-3", "x: {a: {balance_rule: none}}\n  train_lr: [1e-3"), "'rule' and 'x' both set balance_rule")
    assert_refused(FILE.replace("all layers:", "plain:"), "'plain' is there twice")
    assert_refused(FILE.replace("[1, 2]", "[1, 1 %]"), "would share the directory")
    assert_refused(FILE.replace("[1, 2]", "3"), "axes: train_seed: found 3, wanted `label: {key: value}` lines, or a list of values of the key train_seed")
    assert_refused("axes: [", "not valid YAML")
    status, _, errors = experiment(scratch, "list", "nowhere.yaml")
    assert status == 1 and errors == "experiment.py: nowhere.yaml: No such file or directory\n", errors


@check
def the_experiments_that_come_along_are_sound(scratch):
    os.chdir(ROOT)
    known = set()
    for source in glob.glob("src/*/*.c"):
        known.update(re.findall(r'\{"([a-z]+_[A-Za-z0-9_]+)",\s*EK_KEY_', text_of("", source)))
    files = glob.glob("inputs/experiments/*.yaml")
    assert len(files) > 10 and len(known) > 80, (files, known)
    for path in files:
        rows.read_deck.cache_clear()
        found = rows.load(path)
        for row in found.rows:
            assert os.path.exists(row.deck), f"{path}: {row.deck}"
            assert set(row.keys) <= known, f"{path}: {set(row.keys) - known}"
        for deck in found.data:
            assert rows.data_file(deck), f"{path}: {deck}"


@check
def a_missing_yaml_module_is_one_plain_line(scratch):
    place(scratch)
    write(scratch, "yaml.py", "raise ModuleNotFoundError(name='yaml')\n")
    status, _, errors = experiment(scratch, "list", "trial.yaml", PYTHONPATH=scratch)
    assert status == 2 and len(errors.splitlines()) == 1 and "python3-yaml" in errors, errors


@check
def it_needs_nothing_but_yaml(scratch):
    place(scratch)
    for module in ("numpy", "h5py", "scipy", "matplotlib"):
        write(scratch, f"{module}.py", "raise ImportError\n")
    status, _, errors = experiment(scratch, "list", "trial.yaml", PYTHONPATH=scratch)
    assert status == 0, errors


if __name__ == "__main__":
    sys.exit(run_checks())
