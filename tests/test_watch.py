"""Checks of postproc/watch.py on run directories in every state. Prints a line a check; exit status 1 if one fails."""
import contextlib
import io
import json
import os
import pty
import random
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POSTPROC = os.path.join(ROOT, "postproc")
sys.path.insert(0, POSTPROC)
from checks import check, run_checks  # noqa: E402
import frame  # noqa: E402
import live  # noqa: E402
import textplot  # noqa: E402
import watch as program  # noqa: E402

METRICS = "epoch,train_loss,base_lr,seconds,balance_seconds,RMSE,nRMSE,cRMSE,max,bRMSE,fRMSE_low,fRMSE_mid,fRMSE_high\n"
LAYERS = "epoch,layer,alpha,D,num_evals,norm,spectral_norm,stable_rank,lr\n"
NAMES = ("fc0", "w0", "w1", "w2", "w3", "fc1", "fc2")


# ---- synthetic runs -------------------------------------------------------------------------------------------------------


def make_run(parent, name, epochs=12, wanted=40, layers=NAMES, summary=False):
    directory = os.path.join(parent, name)
    os.makedirs(directory)
    write(directory, "resolved.yaml", f"model:\n  type: fno2d\ntrain:\n  epochs: {wanted}\n  seed: 7\nbalance:\n  rule: tb_sigmoid\n")
    write(directory, "run.json", json.dumps({"version": "v1", "mesh": {"data": 2, "space": 1}, "hosts": ["node1"]}))
    write(directory, "metrics.csv", METRICS + "".join(metrics_line(epoch) for epoch in range(1, epochs + 1)))
    write(directory, "layers.csv", LAYERS + "".join(layer_lines(epoch, layers) for epoch in range(epochs + 1)))
    if summary:
        finish(directory, wanted)
    return directory


def metrics_line(epoch):
    """Evaluated every third epoch: nRMSE is 1/epoch."""
    tests = ",".join(f"{factor / epoch:.6g}" for factor in (2, 1, 0.2, 30, 2.5, 0.5, 0.05)) + "," if epoch % 3 == 0 else "," * 7
    return f"{epoch},{5000 / epoch ** 2:.6g},0.001,1.5,0.03,{tests}\n"


def layer_lines(epoch, layers):
    """alpha of layer i is 2 + i + epoch/100; the last has no fit."""
    alphas = [f"{2 + i + epoch / 100:.6f}" if i + 1 < len(layers) else "" for i in range(len(layers))]
    return "".join(f"{epoch},{name},{alpha},0.1,40,1,1,1,{1e-3 * (1 + i)}\n" for i, (name, alpha) in enumerate(zip(layers, alphas)))


def finish(directory, epochs):
    figures = {name: 0.125 for name in frame.FIGURES[:-1]}
    write(directory, "summary.json", json.dumps({
        "epochs": epochs, "metrics": {**figures, "fRMSE_high": None}, "metrics_published": {**figures, "nRMSE": 0.0625},
        "timing": {"phase_seconds": {"forward": 3.0, "backward": 6.0, "spectra": 1.0, "solve": 0}}}))


def write(directory, name, text, mode="w"):
    with open(os.path.join(directory, name), mode, encoding="utf-8") as file:
        file.write(text)


def age(directory, name, seconds):
    os.utime(os.path.join(directory, name), (time.time() - seconds, time.time() - seconds))


def look_at(directory):
    run = live.Run(directory)
    run.update()
    return run


def lines_of(run, width=100, height=None, ascii_only=False):
    return [text for _, text in frame.frame(run, frame.Look(width, height, ascii_only))]


def once(*arguments):
    """(exit status, stdout, stderr) of `watch.py --once`."""
    output, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = program.main([*arguments, "--once"])
    output.seek(0)
    return status, output.read(), errors.getvalue()


# ---- a terminal -----------------------------------------------------------------------------------------------------------


class Terminal:
    """watch.py on a pseudo-terminal of a given size."""

    def __init__(self, *arguments, width=90, height=30):
        self.text = ""
        self.master, slave = pty.openpty()
        self.resize(width, height)
        command = [sys.executable, os.path.join(POSTPROC, "watch.py"), "--interval", "0.1", *arguments]
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment["PYTHONIOENCODING"] = "utf-8"
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True)
        os.close(slave)

    def resize(self, width, height):
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def wait_for(self, words, seconds=10):
        """Reads until the words have been drawn after what was there before."""
        start, end = len(self.text), time.time() + seconds
        while words not in self.text[start:]:
            assert time.time() < end, f"no '{words}' in {self.text[start:]!r}"
            self.read(0.1)

    def read(self, seconds):
        """False once the other side has ended."""
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.text += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                return False
        return True

    def end(self, number=None):
        """The exit status, and everything that was written."""
        if number is not None:
            self.process.send_signal(number)
        end = time.time() + 10
        while self.read(0.1) and time.time() < end:
            pass
        status = self.process.wait(5)
        os.close(self.master)
        return status, self.text


# ---- checks -----------------------------------------------------------------------------------------------------------------


@check
def needs_nothing_but_python(scratch):
    run = make_run(scratch, "plain")
    # -S -I: no installed packages
    code = f"import sys; sys.path.insert(0, {POSTPROC!r}); import watch; sys.exit(watch.main([{run!r}, '--once']))"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr and "epoch 12 of 40" in done.stdout, done


@check
def frame_tells_progress_and_figures(scratch):
    run = look_at(make_run(scratch, "r"))
    text = "\n".join(lines_of(run))
    for words in ("r · running · fno2d · rule tb_sigmoid · seed 7 · node1, 2 ranks", "epoch 12 of 40", "30 %", "1.5 s an epoch",
                  "ETA 43 s", "loss 34.72", "test nRMSE 0.08333 (best 0.08333, epoch 12)", "balancing 2 %", "no checkpoint yet"):
        assert words in text, f"no '{words}' in\n{text}"
    write(run.directory, "checkpoint.h5", "")
    age(run.directory, "checkpoint.h5", 200.5)
    run.update()
    assert "checkpoint 3 min 20 s ago" in "\n".join(lines_of(run))


@check
def layers_are_sorted_worst_first(scratch):
    run = look_at(make_run(scratch, "sorted"))
    rows = lines_of(run, 60)[-7:]
    assert [row.split()[0] for row in rows] == list(NAMES[5::-1]) + ["fc2"], rows
    assert rows[0].split()[1:] == ["7.120", "↑0.010", "6.000e-03"] and "no fit" in rows[-1], rows
    write(run.directory, "layers.csv", layer_lines(3, NAMES), "a")
    run.update()
    assert "↓0.090" in lines_of(run, 60)[-7]


@check
def frames_never_exceed_the_terminal(scratch):
    many = [f"blocks.{i}.mlp.fc{i % 2}.weight" for i in range(150)]
    long = make_run(scratch, "a_run_with_quite_a_long_name_" * 3, epochs=30, layers=many)
    states = [long, make_run(scratch, "done", epochs=40, summary=True), os.path.join(scratch, "later"),
              make_run(scratch, "none_yet", epochs=0), make_run(scratch, "中文" * 20)]
    runs = [look_at(directory) for directory in states]
    for width in range(40, 201):
        # every width, the heights in turn
        height = (5, 12, 24, 60, None)[width % 5]
        for ascii_only in (False, True):
            look = frame.Look(width, height, ascii_only)
            for lines in [frame.frame(run, look) for run in runs] + [frame.overview(runs, look)]:
                assert height is None or len(lines) <= height, (width, height, len(lines))
                for _, text in lines:
                    assert textplot.columns_of(text) <= width, (width, text)
                    assert not ascii_only or text.isascii(), text
    assert "layers more" in lines_of(runs[0], 100, 24)[-1]
    assert sum("blocks." in line for line in lines_of(runs[0], 60)) == 150


@check
def half_written_lines_wait(scratch):
    directory = make_run(scratch, "half")
    run = look_at(directory)
    before = lines_of(run)
    for name, line in (("metrics.csv", metrics_line(13)), ("layers.csv", layer_lines(13, NAMES[:1]))):
        for cut in (1, 10, 4):
            write(directory, name, line[:cut], "a")
            line = line[cut:]
            run.update()
            if name == "metrics.csv":
                assert lines_of(run) == before and lines_of(look_at(directory)) == before, (name, cut)
            assert run.layers["fc0"].alpha == 2.12
        write(directory, name, line, "a")
        run.update()
    assert run.done == 13 and run.damaged == 0 and "no fit" in lines_of(run, 60)[-1]
    write(directory, "metrics.csv", "14,0.5\n" + metrics_line(15), "a")
    run.update()
    assert run.done == 15 and "1 damaged" in "\n".join(lines_of(run))


@check
def following_equals_reading_anew(scratch):
    directory = make_run(scratch, "follow", epochs=0)
    rng = random.Random(1)
    text = "".join(metrics_line(epoch) for epoch in range(1, 30))
    run = look_at(directory)
    while text:
        cut = rng.randrange(1, 90)
        write(directory, "metrics.csv", text[:cut], "a")
        text = text[cut:]
        run.update()
        assert str(run.epochs) == str(look_at(directory).epochs)  # as text: NaN differs from itself
    assert run.done == 29


@check
def resumed_runs_are_read_again(scratch):
    """A continued run's tables are cut after the checkpoint and renamed into place; its old summary does not count."""
    directory = make_run(scratch, "resumed", epochs=12, wanted=12, summary=True)
    run = look_at(directory)
    assert run.state == live.FINISHED
    write(directory, "resolved.yaml", "train:\n  epochs: 20\n")
    write(directory, "metrics.csv.tmp", METRICS + "".join(map(metrics_line, (1, 2, 3))))
    os.rename(os.path.join(directory, "metrics.csv.tmp"), os.path.join(directory, "metrics.csv"))
    run.update()
    assert run.state == live.RUNNING and run.done == 3 and len(run.epochs) == 3
    os.truncate(os.path.join(directory, "metrics.csv"), len(METRICS + metrics_line(1)))
    run.update()
    assert run.done == 1


@check
def silence_and_divergence_are_told(scratch):
    directory = make_run(scratch, "silent")
    age(directory, "metrics.csv", 900.5)
    run = look_at(directory)
    assert run.state == live.SILENT and "no epoch for 15 min 00 s: stopped, or waiting to be continued?" in lines_of(run)
    write(directory, "metrics.csv", "13,,0.001,1.5,0.03" + "," * 8 + "\n", "a")
    run.update()
    assert run.state == live.RUNNING and "has diverged" in "\n".join(lines_of(run))


@check
def finished_runs_show_final_figures(scratch):
    status, output, errors = once(make_run(scratch, "done", epochs=40, summary=True))
    assert status == 0 and not errors
    assert re.search(r"nRMSE +0\.125 +0\.0625\n", output) and re.search(r"fRMSE_high +- +-\n", output), output
    assert "time: backward 60 % · forward 30 % · spectra 10 %\n" in output and "\x1b" not in output
    write(scratch, "done/summary.json", '{"metrics": {')
    assert look_at(os.path.join(scratch, "done")).state != live.FINISHED, "half a summary is none"


@check
def several_runs_are_a_line_each(scratch):
    runs = [make_run(scratch, "going"), make_run(scratch, "done", 40, summary=True), os.path.join(scratch, "later")]
    status, output, errors = once(*runs)
    lines = output.splitlines()
    assert status == 0 and not errors and len(lines) == 4
    assert re.match(r"going +12/40 .* 30 % .* 0\.08333 +ETA 43 s$", lines[1]), lines[1]
    assert re.match(r"done +40/40 .*100 % .* 0\.125 +finished$", lines[2]), lines[2]
    assert lines[3].startswith("later") and lines[3].endswith("waiting to start")
    shown = frame.overview([look_at(run) for run in runs * 10], frame.Look(90, 12))
    assert len(shown) == 12 and shown[-1][1] == "and 20 runs more"


@check
def what_is_no_run_is_one_plain_line(scratch):
    write(scratch, "notes.txt", "")
    empty = os.path.join(scratch, "empty")
    os.makedirs(empty)
    write(empty, "job-12.out", "queued\n")
    wrong = make_run(scratch, "wrong")
    write(wrong, "metrics.csv", "epoch,loss\n1,2\n")
    for arguments, word in (([scratch], "not a run directory"), ([os.path.join(scratch, "notes.txt")], "not a directory"),
                            ([empty, scratch], "not a run directory"), ([wrong], "no column 'train_loss'")):
        status, output, errors = once(*arguments)
        assert status == 1 and not output and len(errors.splitlines()) == 1 and word in errors, errors
    status, output, _ = once(empty)
    assert status == 0 and "waiting for the run to start" in output


@check
def control_characters_do_not_reach_the_terminal(scratch):
    run = look_at(make_run(scratch, "nasty\x1b[2J", layers=("a\x1b]0;x\x07", "b")))
    for lines in (lines_of(run), [text for _, text in frame.overview([run], frame.Look(100))]):
        assert all(line.isprintable() for line in lines), lines


@check
def plots_go_through_their_points(_):
    for ascii_only in (False, True):
        rising = textplot.plot([(x, x) for x in range(1, 4)], 40, 8, ascii_only=ascii_only)
        assert len(rising) == 8 and rising[0].split()[0] == "3" and rising[6].split()[0] == "1" and rising[7].split() == ["1", "3"]
        ink = [[i for i, c in enumerate(line[textplot.LABEL + 2:]) if c != " "] for line in rising[:7]]
        assert all(ink) and all(max(low) <= min(high) + 1 for high, low in zip(ink, ink[1:])), "a straight line, upwards to the right"
        assert "no values yet" in "".join(textplot.plot([(1, float("nan"))], 40, 8, ascii_only=ascii_only))
        assert len(textplot.plot([(1, 5.0)], 40, 8, ascii_only=ascii_only)) == 8
    for width in (5, 10, 33):
        for share in (0, 0.01, 0.5, 0.999, 1, 3):
            assert len(textplot.bar(share, width)) == len(textplot.bar(share, width, True)) == width


@check
def terminal_is_redrawn_in_place_and_given_back(scratch):
    directory = os.path.join(scratch, "live")
    screen = Terminal(directory)
    screen.wait_for("waiting for the run to start")
    make_run(scratch, "live")
    screen.wait_for("epoch 12 of 40")
    write(directory, "metrics.csv", metrics_line(13), "a")
    screen.wait_for("epoch 13 of 40")
    screen.resize(44, 12)
    screen.process.send_signal(signal.SIGWINCH)
    screen.wait_for("\x1b[H")
    screen.wait_for("\x1b[J")
    drawn = screen.text[:screen.text.rindex("\x1b[J")].split("\x1b[H")[-1]
    lines = re.split(r"\r+\n", re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", drawn))
    assert len(lines) <= 12 and max(map(textplot.columns_of, lines)) <= 44, lines
    finish(directory, 40)
    status, text = screen.end()
    assert status == 0 and text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1
    assert text.count("\x1b[2J") == 1, "cleared once, then drawn over"
    after = text.split("\x1b[?1049l")[1]
    assert "finished" in after and "0.0625" in after, "final figures stay on the screen"


@check
def interrupts_give_the_terminal_back(scratch):
    directory = make_run(scratch, "stopped")
    for number, wanted in ((signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)):
        screen = Terminal(directory)
        screen.wait_for("epoch 12")
        status, text = screen.end(number)
        assert status == wanted and "Traceback" not in text, (status, text[-300:])
        assert text.endswith("\x1b[?25h\x1b[?1049l"), text[-60:]


@check
def without_a_terminal_a_line_a_change(scratch):
    directory = make_run(scratch, "log")
    command = [sys.executable, os.path.join(POSTPROC, "watch.py"), "--interval", "0.05", "--ascii", directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "12/40" in process.stdout.readline()
        write(directory, "metrics.csv", metrics_line(13), "a")
        assert "13/40" in process.stdout.readline()
        finish(directory, 40)
        rest = process.stdout.read()
    assert process.returncode == 0 and "finished" in rest and "\x1b" not in rest and rest.isascii()


if __name__ == "__main__":
    sys.exit(run_checks())
