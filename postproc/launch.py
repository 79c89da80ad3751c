"""Starting the program for the rows of an experiment, several at a time, and stopping it so that it can go on later."""
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import BinaryIO

import locks
import rows

POLL_SECONDS = 0.2
UPDATE_SECONDS = 2
REPEAT_SECONDS = 5  # between requests to stop: a program that was just starting may have missed the first


class Launcher:
    """The commands. ranks: of a row, None if the user has not said; jobs: rows side by side, whose cores `generate` gets."""

    def __init__(self, ranks, jobs):
        self.program = [os.environ.get("EVENKEEL") or "build/evenkeel"]
        launch = shlex.split(os.environ.get("LAUNCH", ""))
        if launch:
            self.launch = self.launch_data = launch + (["-n", str(ranks)] if ranks else [])
        else:
            most = max(ranks or 1, min((ranks or 1) * jobs, cores()))
            self.launch, self.launch_data = (["mpirun", "-n", str(n), "--bind-to", "none"] for n in (ranks or 1, most))
        self.environment = dict(os.environ)
        if os.geteuid() == 0:
            self.environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    def train(self, row):
        keys = [word for key, value in row.keys.items() for word in (f"-{key}", value)]
        return self.launch + self.program + ["train", row.deck, *keys, *time_left(), "-train_resume", "auto", "-out_dir", row.directory]

    def generate(self, deck):
        return self.launch_data + self.program + ["generate", deck]

    def start(self, command, log):
        """In a session of its own: the terminal's Ctrl-C reaches this process alone, which passes it on as what it means."""
        log.write(f"{rows.MARK} {time.strftime('%Y-%m-%dT%H:%M:%S%z')} {self.text(command)}\n".encode())
        log.flush()
        try:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environment,
                                    start_new_session=True)
        except OSError as error:
            raise rows.ExperimentError(f"{command[0]}: cannot be started: {error.strerror}") from None

    @staticmethod
    def text(command):
        return shlex.join(command)


def time_left():
    """A job script whose launcher keeps signals to itself says in STOP_BY (seconds since 1970) when training has to stop."""
    by = os.environ.get("STOP_BY")
    if not by:
        return []
    seconds = max(1, int(by) - int(time.time()))
    return ["-train_max_wall", f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"]


def cores():
    return len(os.sched_getaffinity(0))


@dataclass
class Job:
    """A program that runs; row is None while it makes data."""

    process: subprocess.Popen
    row: rows.Row
    lock: str
    log: BinaryIO
    start: float

    @property
    def status(self):
        """Exit status as a shell has it, None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code


class Runner:
    """Runs rows. The first SIGINT, SIGTERM or SIGUSR1 asks the programs for a checkpoint, another SIGINT or SIGTERM ends them; SLURM sends
    SIGUSR1 more than once."""

    HOPELESS = 3  # so many rows failed and none was finished: the others would fail as well

    def __init__(self, launcher, screen, jobs, keep_going):
        self.launcher, self.screen, self.jobs, self.keep_going = launcher, screen, jobs, keep_going
        self.running = []
        self.signals = 0
        self.finished, self.failed, self.elsewhere = 0, [], []
        self.last_status = 0
        self.touched = self.updated = self.asked = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def run(self, chosen):
        """Exit status: 0 all finished, 75 stopped on request, 1 a row failed; of a single row the program's."""
        waiting = [row for row in chosen if rows.state_of(row) != "finished"]
        if not waiting:
            self.screen.line(f"nothing to do: {len(chosen)} of {len(chosen)} rows are finished")
        while self.running or (waiting and not self.signals):
            while waiting and len(self.running) < self.jobs and not self.signals:
                self._start_row(waiting.pop(0))
            self._wait()
            for job in [job for job in self.running if job.status is not None]:
                self._end_row(job)
            if waiting and self._is_hopeless():
                self.screen.line(f"the first {len(self.failed)} rows have all failed, so no more are started (--keep-going starts them)")
                waiting.clear()
        for row, whose in self.elsewhere:
            self.screen.line(f"left out: row {row.number}: {whose}")
        return self._status(chosen)

    def make_data(self, decks):
        """Runs `generate` for every deck whose file is missing; the program's exit status."""
        for deck in decks:
            path = rows.data_file(deck)
            if rows.has_data(deck):
                continue
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            status = self._make(deck, path)
            if status:
                return status
        return 0

    def _make(self, deck, path):
        lock, told = path + ".lock", None
        while whose := locks.take(lock):
            if whose != told:
                self.screen.line(f"waiting for {path}: {whose}")
            told = whose
            time.sleep(POLL_SECONDS)
            if self.signals:
                return rows.STOPPED
        if rows.has_data(deck):
            locks.release(lock)
            return 0
        self.screen.line(f"making {path}")
        job = self._start(None, self.launcher.generate(deck), lock, path + ".log")
        while job.status is None:
            self._wait()
        status = self._end(job)
        if status not in (0, rows.STOPPED):
            self.screen.line(f"FAILED, exit status {status}: {rows.last_words(path + '.log')} ({path}.log)")
        return status

    def _start_row(self, row):
        os.makedirs(os.path.dirname(row.directory) or ".", exist_ok=True)
        whose = locks.take(row.lock)
        if whose:
            self.elsewhere.append((row, whose))
        elif rows.is_finished(row):  # by another process, since this one looked
            locks.release(row.lock)
        else:
            rows.write_record(row)
            self._start(row, self.launcher.train(row), row.lock, row.log)

    def _start(self, row, command, lock, log_path):
        log = open(log_path, "ab")
        try:
            process = self.launcher.start(command, log)
        except rows.ExperimentError:
            log.close()
            locks.release(lock)
            raise
        locks.add_child(lock, process.pid)
        job = Job(process, row, lock, log, time.monotonic())
        self.running.append(job)
        return job

    def _end_row(self, job):
        row, start = job.row, job.start
        status = self.last_status = self._end(job)
        if status == 0:
            self.finished += 1
            self.screen.finished(row, time.monotonic() - start)
        elif status == rows.STOPPED:
            self.screen.stopped(row)
        else:
            self.failed.append(row)
            self.screen.failed(row, status)

    def _end(self, job):
        """The exit status, which also ends the log."""
        self.running.remove(job)
        status = job.status
        if self.signals and status > 128:
            status = rows.STOPPED  # the request met it before it could answer, or it was ended
        if status == 0 and job.row and not rows.is_finished(job.row):
            job.log.write(f"exit status 0, but no new {job.row.directory}/summary.json\n".encode())
            status = 1
        job.log.write(f"{rows.MARK} exit status {status}\n".encode())
        job.log.close()
        locks.release(job.lock)
        return status

    def _wait(self):
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        if now > self.touched + locks.TOUCH_SECONDS:
            self.touched = now
            for job in self.running:
                locks.touch(job.lock)
        if now > self.updated + UPDATE_SECONDS:
            self.updated = now
            self.screen.update([job.row for job in self.running if job.row])
        if self.signals and now > self.asked + REPEAT_SECONDS:
            self._ask()

    def _on_signal(self, number, _):
        self.signals += 1
        if self.signals == 1 or number == signal.SIGUSR1:
            self._ask()
            return
        for job in self.running:
            if job.status is None:
                os.killpg(job.process.pid, signal.SIGTERM)

    def _ask(self):
        self.asked = time.monotonic()
        for job in self.running:
            if job.status is None:
                job.process.send_signal(signal.SIGUSR1)

    def _is_hopeless(self):
        return not self.keep_going and not self.finished and len(self.failed) >= self.HOPELESS

    def _status(self, chosen):
        if len(chosen) == 1 and self.last_status:
            return self.last_status
        if self.failed:
            self.screen.line(f"failed: rows {', '.join(str(row.number) for row in self.failed)}")
            return 1
        if all(rows.is_finished(row) for row in chosen):
            return 0
        return rows.STOPPED if self.signals else 1 if len(chosen) == 1 else 0
