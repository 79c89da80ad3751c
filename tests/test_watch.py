"""Checks of postproc/watch.py on run directories made by hand. Prints a line a check; exit status 1 if one fails."""
import json
import os
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks  # noqa: E402
import watch  # noqa: E402

PROGRAM = os.path.join(ROOT, "postproc", "watch.py")


def make(scratch, name="run", epochs=4, total=10, layers=3, summary=None, cut=False):
    """A run directory after `epochs` of `total` epochs."""
    directory = os.path.join(scratch, name)
    os.makedirs(directory)
    write(directory, "resolved.yaml", f"data:\n  file: a\ntrain:\n  epochs: {total}\n  batch: 4\nout:\n  epochs: 7\n")
    rows = [f"{e},{2.0 / e},{1e-3},{3.0},0.01,{0.5 / e if e % 2 == 0 else ''}" for e in range(1, epochs + 1)]
    write(directory, "metrics.csv", "\n".join(["epoch,train_loss,base_lr,seconds,balance_seconds,nRMSE", *rows]) + "\n" + (f"{epochs + 1},0.1" if cut else ""))
    rows = [f"{e},fc{i},{2 + i + 0.1 * e},0.1,20,1,1,1,{1e-3}" for e in (0, 1) for i in range(layers)]
    write(directory, "layers.csv", "\n".join(["epoch,layer,alpha,D,num_evals,norm,spectral_norm,stable_rank,lr", *rows]) + "\n")
    if summary:
        write(directory, "summary.json", json.dumps(summary))
    return directory


def write(directory, name, text):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)


def program(*arguments):
    """(exit status, stdout, stderr)"""
    done = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    return done.returncode, done.stdout, done.stderr


@check
def a_run_shows_where_it_is(scratch):
    text = "\n".join(watch.frame([make(scratch)], 100, 40, False))
    for word in ("epoch 4/10", "loss 0.5", "nRMSE 0.125", "18s left", " 40 %", "fc2", "↑"):
        assert word in text, f"'{word}' is not in\n{text}"
    names = [line.split()[0] for line in text.splitlines() if line.startswith("fc")]
    assert names == ["fc2", "fc1", "fc0"], names


@check
def a_line_cut_short_is_left_out(scratch):
    assert watch.frame([make(scratch, "a", cut=True)], 100, 40, True)[1:] == watch.frame([make(scratch, "b")], 100, 40, True)[1:]


@check
def no_line_is_longer_than_the_terminal(scratch):
    runs = [make(scratch, "r" * 60, layers=60), make(scratch, "other", summary={"metrics": {"nRMSE": 0.1}, "timing": {}})]
    for width in range(40, 201, 20):
        for height in (5, 24, 60):
            for chosen in (runs, runs[:1], runs[1:]):
                lines = watch.frame(chosen, width, height, False)
                assert 0 < len(lines) <= height and max(map(len, lines)) <= width, (width, height)
    assert any("and" in line and "more" in line for line in watch.frame(runs[:1], 100, 24, False))


@check
def letters_alone_where_asked(scratch):
    assert "\n".join(watch.frame([make(scratch)], 100, 40, True)).isascii()


@check
def it_waits_for_a_run_and_ends_with_it(scratch):
    directory = os.path.join(scratch, "later")
    assert program("--once", directory)[1].count("waiting for it to start") == 1
    threading.Timer(1, make, [scratch, "later"], {"epochs": 10, "summary": {"metrics": {"nRMSE": 0.25}, "timing": {"train_seconds": 61, "balance_share": 0.5, "phase_seconds": {"forward": 3, "io": 1}}}}).start()
    start = time.time()
    status, output, _ = program("--interval", "0.2", directory)
    assert status == 0 and time.time() - start > 0.8
    for word in ("done  nRMSE 0.25", "training 1m01s, rebalancing 50.0 %", "forward 75 %"):
        assert word in output, output
    assert "\033" not in output


@check
def what_is_no_run_is_one_plain_line(scratch):
    os.makedirs(os.path.join(scratch, "other"))
    write(os.path.join(scratch, "other"), "a.txt", "")
    status, output, errors = program("--once", os.path.join(scratch, "other"))
    assert (status, output) == (1, "") and errors.endswith("holds no run\n") and errors.count("\n") == 1, errors
    status, _, errors = program("--once", PROGRAM)
    assert status == 1 and "is no run directory" in errors, errors


if __name__ == "__main__":
    sys.exit(run_checks())
