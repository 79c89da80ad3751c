"""Checks of postproc/needs.py: every program with an interpreter that lacks modules. Prints a line a check; exit status 1 if one fails."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks  # noqa: E402
import needs  # noqa: E402

WITHOUT_ANY = ("watch.py",)
PROGRAMS = ("convert.py", "experiment.py", "merge.py", "movie.py", "report.py", "scaling.py", "table.py")

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
def a_module_of_ours_is_no_package_to_install(scratch):
    status, _, errors = run_without(scratch, ["rundir"], "report.py", "--help")
    assert status == 1 and "Traceback" in errors and "pip" not in errors, errors


if __name__ == "__main__":
    sys.exit(run_checks())
