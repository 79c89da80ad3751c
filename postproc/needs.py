"""What the programs here need of others. Imported before any of it: where a module is missing, the program ends with one line that says what
to do, and status 2, instead of a traceback."""
import importlib.util
import os
import sys

import streams  # noqa: F401 (every program imports this module first, so here its output is made to bear a closed pipe)

DEBIAN = {"numpy": "python3-numpy", "h5py": "python3-h5py", "scipy": "python3-scipy", "matplotlib": "python3-matplotlib", "yaml": "python3-yaml"}
PIP = {"yaml": "pyyaml"}  # where the name is another


def is_missing(module):
    try:
        return importlib.util.find_spec(module) is None
    except ImportError:
        return True


def advice(module):
    absent = [name for name in DEBIAN if name == module or is_missing(name)]
    return (f"{sys.executable} has no module {module}. Debian: apt-get install {' '.join(DEBIAN[name] for name in absent)}; elsewhere: "
            f"{sys.executable} -m pip install {' '.join(PIP.get(name, name) for name in absent)}; or start it with a python3 that has all of them: "
            "`make` looks for one, `make info` shows it")


def tell(kind, error, trace):
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if not issubclass(kind, ModuleNotFoundError) or module not in DEBIAN:
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{os.path.basename(sys.argv[0])}: {advice(module)}", file=sys.stderr)
    sys.exit(2)


sys.excepthook = tell
