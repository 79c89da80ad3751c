#!/usr/bin/env python3
"""Makes the files of this folder with PyTorch (1.13): what test_convert.py and test_load.c compare with. README.md says what each is."""
import argparse
import json
import math
import os
import struct
from collections import OrderedDict

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
EARLY, LATE = 2, 3  # updates before the checkpoint, and after it


def path(name):
    return os.path.join(HERE, name)


class Model(torch.nn.Module):
    """Real and complex tensors, running statistics, a head no gradient reaches, in an order that is not the alphabet's."""

    def __init__(self):
        super().__init__()
        self.pos_embed = torch.nn.Parameter(torch.randn(1, 2, 3, 4))
        self.w0 = torch.nn.Linear(3, 2)
        self.conv0 = torch.nn.Module()
        self.conv0.weights1 = torch.nn.Parameter(torch.randn(2, 3, dtype=torch.complex64))
        self.norm = torch.nn.BatchNorm1d(2)
        self.cls_head = torch.nn.Linear(2, 2)
        self.bias = torch.nn.Parameter(torch.randn(5))


class Published(torch.optim.Optimizer):
    """Adam as the published FNO and DPOT trainings have it: coupled decay, the second moment of a complex entry is g conj(g)."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": weight_decay, "amsgrad": False})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                state["step"] += 1
                g = p.grad + group["weight_decay"] * p
                beta1, beta2 = group["betas"]
                state["exp_avg"].mul_(beta1).add_((1 - beta1) * g)
                state["exp_avg_sq"].mul_(beta2).add_((1 - beta2) * g * g.conj())
                scale = 1 - beta2 ** state["step"]
                p -= group["lr"] / (1 - beta1 ** state["step"]) * state["exp_avg"] / ((state["exp_avg_sq"].sqrt() / math.sqrt(scale)) + group["eps"])


def gradients(model):
    return {name: torch.randn_like(p) for name, p in model.named_parameters() if not name.startswith("cls_head")}


def update(model, optimizer, gradient):
    for name, p in model.named_parameters():
        p.grad = gradient.get(name)
    optimizer.step()


def continued(model, optimizer, name):
    """NAME_next.safetensors: gradients of the updates that follow, and the weights after them."""
    tensors = {}
    for i in range(LATE):
        gradient = gradients(model)
        update(model, optimizer, gradient)
        tensors.update({f"gradient{i}.{key}": value for key, value in gradient.items()})
    tensors.update({f"after.{key}": value.detach() for key, value in model.named_parameters()})
    write_safetensors(f"{name}_next.safetensors", tensors)


def write_safetensors(name, tensors):
    header, data = {}, b""
    for key, value in tensors.items():
        raw = (torch.view_as_real(value) if value.is_complex() else value).contiguous()
        header[key] = {"dtype": "F32", "shape": list(raw.shape), "data_offsets": [len(data), len(data) + 4 * raw.numel()]}
        data += raw.numpy().tobytes()
    header["__metadata__"] = {"complex": ",".join(key for key, value in tensors.items() if value.is_complex())}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path(name), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def adam():
    """{epoch, model_state_dict, optimizer_state_dict, loss}, torch.optim.Adam."""
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-3)
    for _ in range(EARLY):
        update(model, optimizer, gradients(model))
    torch.save({"epoch": 7, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "loss": 0.25},
               path("adam.pth"))
    continued(model, optimizer, "adam")


def published():
    """{args, model, optimizer} of a data-parallel training, the published Adam."""
    model = Model()
    optimizer = Published(model.parameters(), lr=1e-2, betas=(0.9, 0.9), weight_decay=1e-3)
    for _ in range(EARLY):
        update(model, optimizer, gradients(model))
    state = OrderedDict((f"module.{key}", value) for key, value in model.state_dict().items())
    torch.save({"args": argparse.Namespace(lr=1e-2, width=20, T_in=10, dataset=["a", "b"]), "model": state,
                "optimizer": optimizer.state_dict()}, path("published.pth"))
    continued(model, optimizer, "published")


def kinds():
    """Every dtype, shared storages, strides; values as test_convert.py makes them with numpy."""
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    pairs = torch.complex(base, -base - 0.5)
    torch.save(OrderedDict(
        plain=base / 8, double=base.double() / 3, half=base.half() / 8, bfloat16=base.bfloat16() / 8, long=base.long() - 5, int=base.int(),
        short=base.short(), byte=base.byte(), bool=base > 4, complex=pairs, complex128=pairs.to(torch.complex128),
        transposed=base.t(), window=base[1:, 1:3], same=base, expanded=base[:, :1].expand(3, 2), complex_column=pairs[:, 1],
        scalar=torch.tensor(2.5), complex_scalar=torch.tensor(1 - 2j), counter=torch.tensor(7), none=torch.zeros(0, 4),
        parameter=torch.nn.Parameter(base[0])), path("kinds.pth"))


def refused():
    torch.save({"a": torch.zeros(2)}, path("old.pth"), _use_new_zipfile_serialization=False)
    torch.save(Model(), path("module.pth"))


def positions():
    """A position embedding and what interpolate makes of it on finer, coarser and narrower grids."""
    there = torch.randn(1, 2, 3, 4)
    tensors = {"pos_embed": there}
    for grid in ((6, 8), (2, 2), (5, 3)):
        tensors[f"on{grid[0]}x{grid[1]}"] = torch.nn.functional.interpolate(there, grid, mode="bilinear", align_corners=False)
    write_safetensors("positions.safetensors", tensors)


if __name__ == "__main__":
    torch.manual_seed(1)
    for make in (adam, published, kinds, refused, positions):
        make()
