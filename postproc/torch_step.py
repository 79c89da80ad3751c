#!/usr/bin/env python3
"""Times training steps of PyTorch on the cases of tests/bench/bench_step.c: the same networks, grids, batches, rollouts and loss, random data.

  torch_step.py [CASE ...] [--threads 1] [--repetitions 5]

A step is forward, backward and torch.optim.Adam, after one that is not counted; PyTorch takes the batch as a whole. Every case has a process of
its own and a line: median and fastest seconds, threads, cores they kept busy, peak memory of the process (VmHWM, PyTorch itself included) and
parameters (a complex one counts once). The first line says which BLAS and FFT PyTorch has, which matters much. An OpenBLAS older than the CPU
is told which kernels to take, as Evenkeel tells its own; OPENBLAS_CORETYPE says otherwise. Needs PyTorch 1.13 or newer on Linux.
"""
import argparse
import concurrent.futures
import ctypes
import multiprocessing
import os
import re
import statistics
import sys
import time
from dataclasses import dataclass

import needs

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Case:
    """A row of `cases` in bench_step.c, where its last two columns (chunk, sharded) are about Evenkeel alone."""

    kind: str
    preset: str  # DPOT's
    dim: int
    n: int
    fields: int
    batch: int
    steps: int


CASES = {
    "fno1d_rollout11": Case("fno1d", "", 1, 128, 3, 25, 11),
    "fno2d_1": Case("fno2d", "", 2, 64, 4, 20, 1),
    "fno2d_rollout11": Case("fno2d", "", 2, 64, 4, 20, 11),
    "unet1d_1": Case("unet1d", "", 1, 1024, 3, 8, 1),
    "unet1d_short_1": Case("unet1d", "", 1, 128, 3, 50, 1),
    "unet2d_1": Case("unet2d", "", 2, 64, 4, 8, 1),
    "dpot_tiny_1": Case("dpot", "tiny", 2, 128, 4, 4, 1),
    "dpot_small_1": Case("dpot", "small", 2, 128, 4, 2, 1),
}


@dataclass(frozen=True)
class Measured:
    seconds: list
    threads: int
    cores: float
    peak: int  # bytes
    parameters: int


def main(arguments=None):
    options = parse(arguments)
    if needs.is_missing("torch"):
        return complain(f"{sys.executable} has no module torch. Debian: apt-get install python3-torch (for /usr/bin/python3); elsewhere: "
                        f"{sys.executable} -m pip install torch", 2)
    for name in THREADS:  # read when torch is loaded
        os.environ[name] = str(options.threads)
    try:
        core = in_own_process(openblas_core)
        if core == "Prescott" and "OPENBLAS_CORETYPE" not in os.environ:
            os.environ.update(better_core(cpu_flags()))
        print(in_own_process(library), flush=True)
    except ImportError as error:
        return complain(f"{sys.executable} cannot load torch: {error}", 2)
    for name in options.cases:
        try:
            print(line(name, in_own_process(measure, CASES[name], options.threads, options.repetitions)), flush=True)
        except concurrent.futures.process.BrokenProcessPool:
            return complain(f"{name}: its process has been killed; is there enough memory?", 1)
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", metavar="CASE", nargs="*", help=f"all without any: {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args(arguments)
    for name in options.cases:
        if name not in CASES:
            parser.error(f"no case {name}; there are {', '.join(CASES)}")
    if min(options.threads, options.repetitions) < 1:
        parser.error("--threads and --repetitions are 1 or more")
    options.cases = options.cases or list(CASES)
    return options


def complain(text, status):
    print(f"torch_step.py: {text}", file=sys.stderr)
    return status


def in_own_process(function, *arguments):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def line(name, measured):
    return (f"{name:<18} {statistics.median(measured.seconds):9.4f} s (fastest {min(measured.seconds):.4f}), threads {measured.threads}, "
            f"{measured.cores:.2f} cores busy, {measured.peak / 2 ** 20:7.1f} MiB, {measured.parameters} parameters")


def measure(case, threads, repetitions):
    import torch
    import torch_networks

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    network = torch_networks.build(case.kind, case.preset, case.n, case.fields)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    grid = [case.n] * case.dim
    frames = torch.rand(case.batch, *grid, torch_networks.GIVEN + case.steps, case.fields)
    rollout = frames, torch.zeros(case.batch, *grid, case.dim), torch_networks.GIVEN, case.steps

    torch_networks.train_step(network, optimizer, *rollout)
    seconds, busy = [], time.process_time()
    for _ in range(repetitions):
        start = time.perf_counter()
        torch_networks.train_step(network, optimizer, *rollout)
        seconds.append(time.perf_counter() - start)
    busy = time.process_time() - busy
    return Measured(seconds, torch.get_num_threads(), busy / sum(seconds), peak_memory(), sum(p.numel() for p in network.parameters()))


def peak_memory():
    with open("/proc/self/status", encoding="utf-8") as status:
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read())[1])


# ---- what PyTorch stands on ------------------------------------------------------------------------------------------------


def library():
    """One line: version and what does products, transforms and convolutions."""
    import torch

    has_mkl = torch.backends.mkl.is_available()
    core = openblas_core()
    blas = "MKL" if has_mkl else f"OpenBLAS ({core})" if core else "BLAS " + (", ".join(loaded("blas|cblas|blis|flexiblas")) or "of its own")
    one_dnn = "oneDNN" if torch.backends.mkldnn.is_available() else "no oneDNN"
    return f"PyTorch {torch.__version__}, {blas}, transforms by {'MKL' if has_mkl else 'PocketFFT'}, {one_dnn}"


def openblas_core():
    """The kernels that PyTorch's OpenBLAS has chosen; None: another BLAS."""
    import torch  # noqa: F401 (loads it)

    for path in loaded("openblas|blas"):
        name = getattr(ctypes.CDLL(path), "openblas_get_corename", None)
        if name:
            name.restype = ctypes.c_char_p
            return name().decode()
    return None


def loaded(names):
    """Paths of the libraries of these names in this process."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return sorted(set(re.findall(rf"/\S*/lib(?:{names})[^/\s]*\.so[^/\s]*$", maps.read(), re.MULTILINE)))


def cpu_flags():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        return set(" ".join(re.findall(r"^flags\s*:(.*)", info.read(), re.MULTILINE)[:1]).split())


def better_core(flags):
    """As src/base/blas.c has it, for an OpenBLAS that takes a CPU it does not know for the oldest one."""
    if not {"avx2", "fma"} <= flags:
        return {}
    return {"OPENBLAS_CORETYPE": "SkylakeX" if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags else "Haswell"}


if __name__ == "__main__":
    sys.exit(main())
