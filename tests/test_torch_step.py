"""Checks of postproc/torch_step.py and of its networks, against tests/data/cases. Prints a line a check; exit status 1 if one fails. Without torch
those that need it are left out, and a line says so."""
import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASES = os.path.join(ROOT, "tests", "data", "cases")
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, run_checks  # noqa: E402
import needs  # noqa: E402
import tensorfiles  # noqa: E402
import torch_step as program  # noqa: E402

LEFT_OUT = []
HAS_TORCH = not needs.is_missing("torch")
if HAS_TORCH:
    import torch
    import torch_networks as networks

NEAR = 1e-5  # largest difference over largest value, tensor by tensor
COUNTS = {  # parameters, a complex one counted once and twice; entries of the state_dict
    "fno1d": (24595, 43795, 18), "fno2d": (466544, 927344, 22), "unet1d": (2710659, 2710659, 118), "unet2d": (7773796, 7773796, 118),
    "dpot_tiny": (7534643, 7534643, 67), "dpot_small": (30801459, 30801459, 91),
}


def check_of_torch(function):
    return check(function) if HAS_TORCH else LEFT_OUT.append(function.__name__)


def network_of(kind, config):
    if kind.startswith("fno"):
        return networks.FNO(len(config["modes"]), config["channels"], config["initial_step"], config["width"], config["modes"])
    if kind.startswith("unet"):
        return networks.UNet(int(kind[-2]), config["in_channels"], config["out_channels"], config["features"])
    return networks.Dpot(config["in_channels"], config["in_timesteps"], config["img_size"], width=config["embed_dim"], depth=config["depth"],
                         blocks=config["n_blocks"], patch=config["patch_size"], modes=config["modes"], mlp_ratio=config["mlp_ratio"],
                         out_width=config["out_layer_dim"], classes=config["n_cls"])


def load(network, stored):
    """Every key of the network and no other; stored: by key with dots, complex ones as pairs."""
    own = network.state_dict()
    values = {key: torch.from_numpy(value) for key, value in stored.items()}
    network.load_state_dict({key: torch.view_as_complex(value) if key in own and own[key].is_complex() else value for key, value in values.items()},
                            strict=True)


class Case:
    """A reference case and the network with its weights."""

    def __init__(self, name, dtype):
        with h5py.File(os.path.join(CASES, f"{name}.h5"), "r") as file:
            self.network = network_of(file.attrs["kind"], json.loads(file.attrs["config"]))
            self.before, self.grads, self.after, self.statistics = (leaves(file.get(group, {})) for group in
                                                                    ("params", "grads", "after_3_adam_steps", "statistics"))
            self.values = leaves({key: file[key] for key in file if isinstance(file[key], h5py.Dataset)})
        load(self.network, self.before)
        if dtype == "f8":
            self.network.double()
        self.inputs = [torch.from_numpy(self.values[key].astype(dtype)) for key in ("input", "grid") if key in self.values]
        self.target = torch.from_numpy(self.values["target"].astype(dtype))

    def rollout(self):
        """The arguments of rollout_loss behind the network: one prediction, the target."""
        x, target = self.inputs[0], self.target
        if isinstance(self.network, networks.UNet):
            x, target = x.movedim(1, -1), target.movedim(1, -1).unsqueeze(-2)
        if not isinstance(self.network, networks.Dpot):
            x = x.unflatten(-1, (-1, target.shape[-1]))
        return torch.cat((x, target), -2), self.inputs[-1], x.shape[-2], 1

    def trained(self):
        return {key: p for key, p in self.network.named_parameters() if p.grad is not None}


def leaves(group):
    found = {}
    for key, item in group.items():
        if isinstance(item, h5py.Dataset):
            found[key] = np.array(item)
        else:
            found.update({f"{key}/{name}": value for name, value in leaves(item).items()})
    return found


def as_array(value):
    value = value.detach().resolve_conj()
    return (torch.view_as_real(value) if value.is_complex() else value).numpy()


def assert_near(values, expected, bound=NEAR):
    """The largest difference over the largest value, tensor by tensor; the worst of all."""
    assert sorted(values) == sorted(expected), sorted(set(values) ^ set(expected))
    assert all(values[key].shape == expected[key].shape for key in expected)
    off = {key: np.abs(values[key] - expected[key].astype("f8")).max() / np.abs(expected[key]).max() for key in expected}
    worst = max(off, key=off.get)
    assert off[worst] < bound, f"{worst}: {off[worst]:.1e} off"
    return off[worst]


def assert_is_reference(name, dtype="f4"):
    """Output, loss, gradients and, where stored, running statistics; says how near they are."""
    case = Case(name, dtype)
    outputs = case.network(*case.inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    names = ("output", "class_logits")[:len(outputs)]
    output = assert_near(dict(zip(names, map(as_array, outputs))), {key: case.values[key] for key in names})

    case = Case(name, dtype)  # running statistics as they were
    loss = networks.rollout_loss(case.network, *case.rollout())
    assert abs(loss.item() / case.values["loss"] - 1) < NEAR
    loss.backward()
    gradients = assert_near({key: as_array(p.grad) for key, p in case.trained().items()}, case.grads)
    if case.statistics:
        assert_near({key: as_array(value) for key, value in case.network.named_buffers() if "running" in key}, case.statistics)
    print(f"        {name}: output {output:.1e}, gradients {gradients:.1e} off")


@check_of_torch
def fno_is_the_reference(_):
    assert_is_reference("fno1d")
    assert_is_reference("fno2d")


@check_of_torch
def unet_is_the_reference(_):
    assert_is_reference("unet1d", "f8")  # as it was computed
    assert_is_reference("unet2d")


@check_of_torch
def dpot_is_the_reference(_):
    assert_is_reference("dpot")


@check_of_torch
def three_steps_are_those_of_the_reference(_):
    """Of the way that each tensor has gone; values without a gradient to speak of follow rounding. FNO's complex weights have another Adam there."""
    for name in ("unet2d", "dpot"):
        case = Case(name, "f4")
        optimizer = torch.optim.Adam(case.network.parameters(), lr=1e-3, weight_decay=1e-4)
        for _ in range(3):
            networks.train_step(case.network, optimizer, *case.rollout())
        state = {key: as_array(value) for key, value in case.network.state_dict().items()}
        assert set(case.trained()) <= set(case.after) <= set(state)
        for key, after in case.after.items():
            way, off = np.linalg.norm(after - case.before[key]), np.linalg.norm(state[key] - after)
            assert off <= 1e-3 * way, f"{name}, {key}: {off / way:.1e} off"
            assert way > 0 or key.startswith("cls_head."), key


if HAS_TORCH:
    class PublishedAdam(torch.optim.Optimizer):
        """ModelBalancing's and DPOT's: the second moment of a complex weight is the mean of its gradient's squared modulus."""

        def __init__(self, parameters, lr, weight_decay):
            super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    grad = p.grad + group["weight_decay"] * p
                    state["t"] = t = state.get("t", 0) + 1
                    state["m"] = 0.9 * state.get("m", 0) + 0.1 * grad
                    state["v"] = 0.999 * state.get("v", 0) + 0.001 * grad.abs() ** 2
                    p -= group["lr"] / (1 - 0.9 ** t) * state["m"] / ((state["v"] / (1 - 0.999 ** t)).sqrt() + 1e-8)


@check_of_torch
def a_training_of_rollouts_is_the_reference(_):
    """Every step of a whole run: loss of each epoch, weights at the end."""
    directory = os.path.join(CASES, "runs", "fno2d_plain")
    with open(os.path.join(directory, "deck.json"), encoding="utf-8") as file:
        deck = json.load(file)
    with open(os.path.join(directory, "expected.json"), encoding="utf-8") as file:
        expected = [epoch["loss"] for epoch in json.load(file)["epochs"]]
    with h5py.File(os.path.join(directory, "data.hdf5"), "r") as file:
        data = np.stack([file[field][deck["n_test"]:] for field in ("density", "pressure", "Vx", "Vy")], -1)
        points = np.stack(np.meshgrid(file["x-coordinate"], file["y-coordinate"], indexing="ij"), -1)
    frames = torch.from_numpy(data[:, :deck["t_train"]]).movedim(1, -2)
    points = torch.from_numpy(points).expand(deck["batch"], -1, -1, -1)
    first, last = (of_safetensors(os.path.join(directory, f"{name}.safetensors")) for name in ("init", "final"))
    network = networks.FNO(2, 4, deck["initial_step"], len(first["fc0.bias"]), first["conv0.weights1"].shape[2:4])
    load(network, first)
    optimizer = PublishedAdam(network.parameters(), deck["lr"], deck["weight_decay"])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, deck["step"], deck["gamma"])
    for wanted in expected:
        losses = [networks.train_step(network, optimizer, batch, points, deck["initial_step"], deck["t_train"] - deck["initial_step"])
                  for batch in frames.split(deck["batch"])]
        schedule.step()
        assert abs(np.mean(losses) / wanted - 1) < NEAR, (losses, wanted)
    assert_near({key: as_array(value) for key, value in network.state_dict().items()}, last)


def of_safetensors(path):
    return {name: tensor.load() for name, tensor in tensorfiles.read_safetensors(path)[0].items()}


@check_of_torch
def the_cases_have_the_published_sizes(_):
    for name, case in program.CASES.items():
        network = networks.build(case.kind, case.preset, case.n, case.fields)
        sizes = [(p.numel(), p.numel() * (1 + p.is_complex())) for p in network.parameters()]
        wanted = COUNTS[f"{case.kind}_{case.preset}".rstrip("_")]
        assert (*np.sum(sizes, 0), len(network.state_dict())) == wanted, name


@check
def the_cases_are_those_of_the_c_program(_):
    with open(os.path.join(ROOT, "tests", "bench", "bench_step.c"), encoding="utf-8") as file:
        table = re.search(r"cases\[\] = \{(.*?)\n\};", file.read(), re.DOTALL)[1]
    rows = re.findall(r'\{"(\w+)", "(\w+)", (?:NULL|"(\w+)"), ([^}]*)\}', table)
    assert len(rows) == table.count("{") and len(rows) > 5
    assert {name: program.Case(kind, preset, *map(int, numbers.split(",")[:5])) for name, kind, preset, numbers in rows} == program.CASES


@check
def an_old_openblas_is_told_the_kernels(_):
    known = {"avx2", "fma"}
    wide = known | {"avx512f", "avx512dq", "avx512bw", "avx512vl"}
    for flags, core in ((wide, "SkylakeX"), (known, "Haswell"), (known | {"avx512f"}, "Haswell"), ({"sse3"}, None), (set(), None)):
        assert program.better_core(flags).get("OPENBLAS_CORETYPE") == core, flags


def run(*arguments):
    done = subprocess.run([sys.executable, program.__file__, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, done.stderr


@check
def wrong_arguments_are_named(_):
    for arguments, words in (("fno9d", "no case fno9d; there are fno1d_rollout11, "), ("--threads 0", "1 or more"), ("--repetitions 0", "1 or more")):
        status, output, errors = run(*arguments.split())
        assert status == 2 and not output and words in errors, errors


@check_of_torch
def a_case_is_a_line(_):
    status, output, errors = run("fno1d_rollout11", "--repetitions", "2")
    assert status == 0 and not errors, errors
    library, line = output.splitlines()
    assert library.startswith(f"PyTorch {torch.__version__}, "), library
    assert "Prescott" not in library or not program.better_core(program.cpu_flags())
    found = re.fullmatch(r"fno1d_rollout11 +([\d.]+) s \(fastest ([\d.]+)\), threads 1, ([\d.]+) cores busy, +([\d.]+) MiB, 24595 parameters", line)
    assert found, line
    median, fastest, cores, memory = map(float, found.groups())
    assert 0 < fastest <= median and 0 < cores < 1.2 and 50 < memory < 4000, line


if __name__ == "__main__":
    if LEFT_OUT:
        print(f"left out: {len(LEFT_OUT)} checks of PyTorch's networks, {sys.executable} has no module torch (Debian: python3-torch)")
    sys.exit(run_checks())
