#!/usr/bin/env python3
"""What experiment.sbatch needs of an experiment program, and nothing else: rows of keys in a text file, a training run each.

  experiment.py count FILE          how many rows there are
  experiment.py run FILE --row K    runs one, started by what LAUNCH says; passes SIGUSR1 on; exit status that of the run
"""
import os
import shlex
import signal
import subprocess
import sys


def main():
    command, path = sys.argv[1:3]
    with open(path) as file:
        rows = [shlex.split(line) for line in file if line.strip()]
    if command == "count":
        print(len(rows))
        return 0
    keys = rows[int(sys.argv[sys.argv.index("--row") + 1])]
    run = subprocess.Popen([*shlex.split(os.environ["LAUNCH"]), os.environ["EVENKEEL"], "train", *keys, "-train_resume", "auto"])
    signal.signal(signal.SIGUSR1, lambda number, frame: run.send_signal(number))
    return run.wait()


if __name__ == "__main__":
    sys.exit(main())
