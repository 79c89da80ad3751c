"""Lock files: one process at a time, also over hosts that share a file system; what a dead process left is taken over.

A lock holds host and processes (this one, and what it started). On the same host these are looked up; from another host, a lock
is alive as long as its file is touched now and then."""
import json
import os
import socket
import time

TOUCH_SECONDS = 20
STALE_SECONDS = 600  # without a touch: far more than clocks of two hosts differ by


def take(path):
    """None when the lock is ours now, else the line that says whose it is."""
    own = f"{path}.{socket.gethostname()}.{os.getpid()}"
    for _ in range(10):
        _write(own, _description())
        try:
            os.link(own, path)  # complete from the first moment on, unlike a file opened and then written
            return None
        except FileExistsError:
            pass
        finally:
            os.remove(own)
        found = holder(path)
        if found:
            return f"process {found['pid']} on {found['host']} has it ({path})"
        _drop(path, own)
    return f"{path} keeps changing hands"


def holder(path):
    """What a lock that is alive says, or None."""
    content = read_json(path)
    if not content or not _is_alive(content, path):
        return None
    return content


def add_child(path, pid):
    """The lock is alive as long as this process is, too: what was started may outlive the one that started it."""
    _replace(path, {**_description(), "child": pid, "child_start": _start_of(pid)})


def touch(path):
    os.utime(path)


def release(path):
    os.remove(path)


def _description():
    return {"host": socket.gethostname(), "pid": os.getpid(), "start": _start_of(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID"), "restart": os.environ.get("SLURM_RESTART_COUNT", "0")}


def _is_alive(content, path):
    if content.get("host") == socket.gethostname():
        processes = ((content.get("pid"), content.get("start")), (content.get("child"), content.get("child_start")))
        return any(pid and start and _start_of(pid) == start for pid, start in processes)
    own = _description()
    if own["job"] and own["job"] == content.get("job") and own["restart"] != content.get("restart"):
        return False  # left by this very job, before it was queued again
    try:
        return time.time() - os.path.getmtime(path) < STALE_SECONDS
    except FileNotFoundError:
        return False


def _start_of(pid):
    """When a process started, in clock ticks: tells it from a later one with the same number. None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _drop(path, own):
    """Removes a dead lock; one that came to life in the meantime goes back."""
    try:
        os.rename(path, own)
    except FileNotFoundError:
        return
    content = read_json(own)
    if content and _is_alive(content, own):
        try:
            os.link(own, path)
        except FileExistsError:
            pass
    os.remove(own)


def read_json(path):
    """The map in a file, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _replace(path, content):
    own = f"{path}.{socket.gethostname()}.{os.getpid()}"
    _write(own, content)
    os.replace(own, path)


def _write(path, content):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
