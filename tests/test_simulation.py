"""Checks of the simulated cluster (tests/scaling): steps whose time can be worked out by hand. Left out where there is no SimGrid."""
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks  # noqa: E402

COLUMNS = ("ranks", "batch", "step", "forward", "backward", "allreduce", "optimizer", "io", "spectra")
FLOATS = 1000000
STEP = {"floats": FLOATS, "forward": 1e-3, "backward": 2e-3, "optimizer": 5e-3, "io": 1e-4}
NODE = {"NODES": 1, "CORES": 4, "NODE_BANDWIDTH": 8e9, "NODE_LATENCY": 1e-6}
TREE = {"NODES": 4, "CORES": 2, "LEAF": 2, "SPINES": 2, "BANDWIDTH": 1e9, "LATENCY": 1e-6, "NODE_BANDWIDTH": 8e9, "NODE_LATENCY": 1e-6}


def predict(scratch, ranks, batch, cluster, **step):
    """Seconds of a step and its phases on so many ranks."""
    paths = [os.path.join(scratch, name) for name in ("step", "cluster")]
    for path, numbers in zip(paths, ({**STEP, **step}, cluster)):
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(f"{name}={number}\n" for name, number in numbers.items()))
    done = subprocess.run([os.path.join(ROOT, "tests/scaling/predict.sh"), *paths, str(ranks), str(batch)], capture_output=True, text=True,
                          env={**os.environ, "PIECES": "0"}, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    row = dict(zip(COLUMNS, map(float, done.stdout.split(","))))
    assert row["ranks"] == ranks and row["batch"] == batch, done.stdout
    return row


def near(found, wanted, within=1e-3):
    assert abs(found - wanted) <= within * wanted, f"{found:g} s instead of {wanted:g} s"


@check
def arithmetic_is_shared_out(scratch):
    for ranks in (1, 2, 4):
        row = predict(scratch, ranks, 4, NODE)
        near(row["forward"], 4e-3 / ranks)
        near(row["backward"], 8e-3 / ranks)
        near(row["io"], 4e-4 / ranks)
        near(row["optimizer"], 5e-3)
        near(row["step"], sum(row[name] for name in ("io", "forward", "backward", "allreduce", "optimizer")))
    near(predict(scratch, 4, 5, NODE)["forward"], 2e-3)  # the rank with two samples
    near(predict(scratch, 4, 4, NODE, sharded=1)["optimizer"], 5e-3 / 4)


@check
def sums_take_what_the_memory_between_ranks_allows(scratch):
    """A ring passes on 2 (p - 1)/p of the values; each pair of ranks has the bandwidth both ways."""
    assert predict(scratch, 1, 4, NODE)["allreduce"] < 1e-6
    for bandwidth in (8e9, 2e9):
        for ranks in (2, 4):
            row = predict(scratch, ranks, 4, {**NODE, "NODE_BANDWIDTH": bandwidth})
            near(row["allreduce"], 2 * (ranks - 1) / ranks * 4 * FLOATS / bandwidth, within=0.05)


@check
def a_sum_of_floats_costs_arithmetic_too(scratch):
    plain = predict(scratch, 4, 4, NODE)["allreduce"]
    near(predict(scratch, 4, 4, {**NODE, "ADD": 1e-9})["allreduce"] - plain, 0.75e-9 * FLOATS, within=0.01)


@check
def links_of_a_tree_bound_what_leaves_a_node(scratch):
    within, across = predict(scratch, 2, 8, TREE)["allreduce"], predict(scratch, 8, 8, TREE)["allreduce"]
    assert across > 2 * 0.75 * 4 * FLOATS / 1e9 * 0.9 > 5 * within, (within, across)
    near(predict(scratch, 8, 8, {**TREE, "BANDWIDTH": 0.5e9})["allreduce"], 2 * across, within=0.1)


@check
def full_nodes_are_slower(scratch):
    crowded = {**NODE, "CROWD": 1.3}
    near(predict(scratch, 1, 4, crowded)["forward"], 4e-3)
    near(predict(scratch, 2, 4, crowded)["forward"], 2e-3 * 1.1)
    near(predict(scratch, 4, 4, crowded)["forward"], 1e-3 * 1.3)


@check
def sums_inside_the_graph_are_waited_for(scratch):
    plain = predict(scratch, 4, 4, NODE)["forward"]
    summed = predict(scratch, 4, 4, {**NODE, "NODE_LATENCY": 1e-4}, forward_sums="64,64,64")["forward"]
    assert 3 * 1e-4 < summed - plain < 3 * 10e-4, (plain, summed)


if __name__ == "__main__":
    if not shutil.which("smpirun") or not os.access(os.path.join(ROOT, os.environ.get("BUILD", "build/"), "scaling/skeleton_sim"), os.X_OK):
        print("left out: SimGrid (smpicc, smpirun) is not here")
        sys.exit(0)
    sys.exit(run_checks())
