"""What reading a run needs without numpy or HDF5, so that watch.py works with any Python."""
import os
import re


class RunError(Exception):
    """A run directory that cannot be used; the text is the one line the user sees."""


def name_of(directory):
    """Last part of the path: how a run is called in tables and figures."""
    return os.path.basename(os.path.abspath(directory))


def describe(labels):
    """{axis of an experiment or key of a deck: its label} in words."""
    names = list(map(short, labels))
    return ", ".join(label if axis_says_nothing(axis, label) else f"{name if names.count(name) == 1 else axis} {label}"
                     for name, (axis, label) in zip(names, labels.items()))


def short(axis):
    """train_lr: lr."""
    return axis.partition("_")[2] or axis


def axis_says_nothing(axis, label):
    """A word speaks for itself (plain, balanced); a number needs to be told of what it is one."""
    return "_" not in axis and not re.match(r"[-+.\d]", label)


def parse_yaml(text, where="text"):
    """The subset of YAML that resolved.yaml uses: nested blocks, scalars, [lists] (comma-joined here, as in PETSc)."""
    config, open_blocks = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not line or line in ("---", "..."):
            continue
        match = re.match(r"( *)([^\s:][^:]*):(?:\s+(.*))?$", line)
        if not match:
            raise RunError(f"{where}: line {number} is not `key: value`: '{line.strip()}'")
        indent, key, value = len(match[1]), match[2], match[3]
        open_blocks = [block for block in open_blocks if block[0] < indent]
        if value is None:
            open_blocks.append((indent, key))
        else:
            config["_".join([block[1] for block in open_blocks] + [key])] = _scalar(value)
    return config


def duration(seconds):
    """'0.21 s', '8.1 s', '12 min 05 s', '3 h 20 min', '2 d 4 h'."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def format_p(p):
    """A p-value to two significant digits; never 1, which would be certainty."""
    return "> 0.99" if p > 0.99 else f"{p:.2g}"


def _scalar(text):
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return ",".join(_scalar(item) for item in text[1:-1].split(","))
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
