"""Checks of postproc/needs.py: every program with an interpreter that lacks modules. Prints a line a check; exit status 1 if one fails."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks  # noqa: E402
import needs  # noqa: E402

WITHOUT_ANY = ("torch_step.py", "watch.py")
PROGRAMS = ("convert.py", "experiment.py", "merge.py", "movie.py", "pairs.py", "report.py", "scaling.py", "table.py")

# Python runs it at its start and finds nothing of what it names.
REFUSAL = """
import sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError("No module named '" + name + "'", name=name)

sys.meta_path.insert(0, Refusal())
"""


def run_without(scratch, absent, program, *arguments):
    """(exit status, stdout, stderr)"""
    with open(os.path.join(scratch, "sitecustomize.py"), "w", encoding="utf-8") as file:
        file.write(REFUSAL.format(absent=list(absent)))
    done = subprocess.run([sys.executable, os.path.join(ROOT, "postproc", program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, "PYTHONPATH": scratch, "PYTHONDONTWRITEBYTECODE": "1"})
    return done.returncode, done.stdout, done.stderr


def assert_told(answer, program, module):
    status, output, errors = answer
    assert status == 2 and not output and errors.count("\n") == 1, (program, module, status, errors)
    for words in (f"{program}: ", f"has no module {module}.", needs.DEBIAN[module], "pip install ", f" {needs.PIP.get(module, module)}", "make info"):
        assert words in errors, f"'{words}' is not in: {errors}"


@check
def every_program_is_known(scratch):
    found = []
    for name in sorted(os.listdir(os.path.join(ROOT, "postproc"))):
        if name.endswith(".py"):
            with open(os.path.join(ROOT, "postproc", name), encoding="utf-8") as file:
                found += [name] if "__main__" in file.read() else []
    assert found == sorted(PROGRAMS + WITHOUT_ANY), found


@check
def a_bare_interpreter_is_one_line(scratch):
    for program in PROGRAMS:
        status, output, errors = run_without(scratch, needs.DEBIAN, program, "--help")
        assert_told((status, output, errors), program, errors.partition("has no module ")[2].partition(".")[0])
    assert all(package in errors for package in needs.DEBIAN.values()), errors
    for program in WITHOUT_ANY:
        status, output, errors = run_without(scratch, needs.DEBIAN, program, "--help")
        assert status == 0 and output and not errors, (program, errors)


@check
def each_module_is_named(scratch):
    for module in needs.DEBIAN:
        assert_told(run_without(scratch, [module], "table.py", "--help"), "table.py", module)
    with open(os.path.join(scratch, "empty.csv"), "w", encoding="utf-8"):
        pass
    # what is imported only where it is needed
    assert_told(run_without(scratch, ["matplotlib"], "scaling.py", "report", os.path.join(scratch, "empty.csv")), "scaling.py", "matplotlib")


@check
def torch_is_named(scratch):
    status, output, errors = run_without(scratch, ["torch"], "torch_step.py")
    assert status == 2 and not output and errors.count("\n") == 1, (status, errors)
    for words in ("torch_step.py: ", "has no module torch.", "apt-get install python3-torch", "pip install torch"):
        assert words in errors, f"'{words}' is not in: {errors}"


@check
def a_module_of_ours_is_no_package_to_install(scratch):
    status, _, errors = run_without(scratch, ["rundir"], "report.py", "--help")
    assert status == 1 and "Traceback" in errors and "pip" not in errors, errors


def into_a_closed_pipe(program, *arguments, both=False, unbuffered=""):
    """(exit status, what is on stderr) of a program whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, os.path.join(ROOT, "postproc", program), *arguments], stdout=writer,
                          stderr=writer if both else subprocess.PIPE, text=True, timeout=60,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    return done.returncode, done.stderr


@check
def a_closed_pipe_is_no_error(scratch):
    for program in PROGRAMS + WITHOUT_ANY:
        told = into_a_closed_pipe(program, "--help")
        assert told == (0, ""), (program, told)
    path = os.path.join(scratch, "trial.yaml")
    with open(path, "w", encoding="utf-8") as file:  # more rows than a stream buffers
        file.write(f"dir: {scratch}/runs\ndeck: deck.yaml\naxes: {{train_seed: {list(range(500))}}}\n")
    for unbuffered in ("", "1"):
        assert into_a_closed_pipe("experiment.py", "list", path, unbuffered=unbuffered) == (0, "")
    assert into_a_closed_pipe("watch.py", os.path.join(scratch, "run"), "--interval", "0.01") == (0, ""), "it follows a run as long as somebody reads"
    status, errors = into_a_closed_pipe("table.py", path)
    assert status == 1 and "no row is finished yet" in errors and errors.count("\n") == 1, (status, errors)
    assert into_a_closed_pipe("table.py", path, both=True)[0] == 1


@check
def what_is_printed_in_vain_is_written_nevertheless(scratch):
    """The files of a program are for others than those who have closed its output."""
    directory = os.path.join(scratch, "run")
    os.makedirs(directory)
    lines = ["epoch,layer,alpha,D,num_evals,norm,spectral_norm,stable_rank,lr", "0,fc0,2.5,0.1,20,1,1,1,1e-3", "1,fc0,2.4,0.1,20,1,1,1,1e-3"]
    with open(os.path.join(directory, "layers.csv"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    with open(os.path.join(directory, "metrics.csv"), "w", encoding="utf-8") as file:
        file.write("epoch,train_loss,base_lr,seconds,balance_seconds,RMSE,nRMSE\n1,0.3,1e-3,1.5,0.02,0.2,0.1\n")
    into_a_closed_pipe("report.py", directory, "--html")
    assert {"curves.png", "layers.png", "index.html"} <= set(os.listdir(os.path.join(directory, "report")))


if __name__ == "__main__":
    sys.exit(run_checks())
