#!/usr/bin/env python3
"""Weights between PyTorch's files and safetensors, Adam's moments included. Needs numpy, not torch."""
import argparse
import json
import math
import os
import sys
from collections import OrderedDict

import needs  # noqa: F401 (tells of missing modules, so before the others)
from tensorfiles import (KINDS, OF_REAL, FileError, Namespace, Tensor, as_pairs, from_pairs, read_safetensors, read_torch, widened,
                         write_safetensors, write_torch)

TORCH = (".pth", ".pt")
SAFE = (".safetensors",)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
MOMENTS = ("exp_avg", "exp_avg_sq")
# wrappers: where model and optimizer are, and what else is kept
WRAPPERS = {"dpot": ("model", "optimizer", ()), "pdebench": ("model_state_dict", "optimizer_state_dict", ("epoch", "loss"))}
GROUP = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Weights between PyTorch (.pth, .pt) and .safetensors, Adam's moments included.")
    parser.add_argument("source", metavar="IN", help="file of torch.save or .safetensors")
    parser.add_argument("target", metavar="OUT", help="the other of the two")
    parser.add_argument("--like", choices=WRAPPERS, help="OUT is {model, optimizer} or {epoch, model_state_dict, optimizer_state_dict, loss}; "
                        "without it the bare state_dict")
    parser.add_argument("--no-optimizer", action="store_true", help="weights alone")
    options = parser.parse_args(arguments)
    try:
        convert(options)
    except (FileError, MemoryError) as error:
        print(f"convert.py: {error or 'out of memory'}", file=sys.stderr)
        return 1
    return 0


def convert(options):
    ends = [os.path.splitext(path)[1].lower() for path in (options.source, options.target)]
    if ends[0] in TORCH and ends[1] in SAFE:
        if options.like:
            raise FileError("--like is for writing .pth")
        from_torch(options)
    elif ends[0] in SAFE and ends[1] in TORCH:
        to_torch(options)
    else:
        raise FileError(f"from '{options.source}' to '{options.target}': one must end in .pth or .pt, the other in .safetensors")


def counts(tensors):
    """ "67 tensors, 7,534,643 parameters" """
    parameters = sum(tensor.count for name, tensor in tensors.items() if not is_buffer(name, tensor))
    return f"{len(tensors)} tensors, {parameters:,} parameters"


def is_buffer(name, tensor):
    """No parameter of an optimizer: running statistics, whole numbers."""
    return name.rsplit(".", 1)[-1] in BUFFERS or not tensor.kind.startswith(("float", "bfloat", "complex"))


def plural(count, word):
    return f"{count} {word}" + ("" if count == 1 else "s")


# ---- from PyTorch ----------------------------------------------------------------------------------------------------------


def from_torch(options):
    path = options.source
    saved = read_torch(path, optional=("args",))
    state, optimizer, left, notes = unwrap(path, saved)
    state, stripped = strip(state)
    moments, steps, group = {}, 0, {}
    if optimizer is not None and options.no_optimizer:
        left.append("optimizer")
    elif optimizer is not None:
        moments, steps, group = read_moments(path, state, optimizer, left)
    if moments:
        notes |= {"optimizer_steps": str(steps), "optimizer_group": json.dumps(group)}
    halves = sum(tensor.kind in ("float16", "bfloat16") for tensor in [*state.values(), *moments.values()])
    tensors, paired = {}, []
    for name, tensor in (state | moments).items():
        if KINDS[tensor.kind].real:
            paired.append(name)
            tensor = as_pairs(tensor)
        tensors[name] = widened(tensor)
    metadata = {"format": "pt"} | ({"complex": ",".join(paired)} if paired else {}) | notes
    write_safetensors(options.target, tensors, metadata)
    print(f"{counts(state)} -> {options.target}")
    if moments:
        print(f"Adam's moments of {plural(len(moments) // 2, 'tensor')} after {plural(steps, 'update')}")
    if stripped:
        print("taken off the names: module.")
    if halves:
        print(f"half precision widened to float32: {plural(halves, 'tensor')}")
    if left:
        print(f"left out: {', '.join(left)}")


def is_state(value):
    return isinstance(value, dict) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def unwrap(path, saved):
    """(state_dict, the optimizer's or None, names of what is left out, entries of __metadata__)"""
    if is_state(saved):
        return checked(path, saved), None, [], {}
    for model, optimizer, kept in WRAPPERS.values():
        if isinstance(saved, dict) and isinstance(saved.get(model), dict):
            notes = {key: repr(plain(saved[key])) for key in kept if isinstance(plain(saved.get(key)), (int, float))}
            if isinstance(saved.get("normalize"), str):
                notes["normalize"] = saved["normalize"]
            if isinstance(saved.get("args"), Namespace):
                notes["args"] = json.dumps(plain_values(saved["args"]))
            left = [str(key) for key in saved if key not in (model, optimizer, *notes)] + lost_arguments(saved.get("args"))
            return checked(path, saved[model]), saved.get(optimizer), left, notes
    found = ", ".join(str(key) for key in list(saved)[:8]) if isinstance(saved, dict) else type(saved).__name__
    raise FileError(f"{path}: no state_dict in it, nor 'model' or 'model_state_dict' that holds one (found: {found or 'nothing'})")


def plain(value):
    """A number out of a tensor of one."""
    return value.load().item() if isinstance(value, Tensor) and value.count == 1 and value.kind != "bfloat16" else value


def plain_values(arguments):
    return {key: value for key, value in vars(arguments).items() if isinstance(key, str) and is_plain(value)}


def lost_arguments(arguments):
    """ "args.NAME" of what is no plain value """
    if not isinstance(arguments, Namespace):
        return []
    return [f"args.{key}" for key in vars(arguments) if key not in plain_values(arguments)]


def checked(path, state):
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            kind = "a Namespace" if isinstance(tensor, Namespace) else type(tensor).__name__
            raise FileError(f"{path}: entry '{name}' of the state_dict is no tensor but {kind}")
        if name.startswith("optimizer."):
            raise FileError(f"{path}: tensor '{name}': names that begin with 'optimizer.' are the optimizer's in safetensors")
    if not state:
        raise FileError(f"{path}: its state_dict is empty")
    return state


def strip(state):
    """Without the `module.` of data-parallel training, where every name has it."""
    if not all(name.startswith("module.") for name in state):
        return dict(state), False
    return {name[len("module."):]: tensor for name, tensor in state.items()}, True


def read_moments(path, state, optimizer, left):
    """({optimizer.exp_avg.NAME: Tensor, ...}, updates, what the param_group says). torch numbers parameters in the order of
    state_dict, buffers left out; some may have no entry."""
    hint = "; --no-optimizer leaves it out"
    try:
        groups, states = optimizer["param_groups"], optimizer["state"]
        order = [number for group in groups for number in group["params"]]
    except (KeyError, TypeError):
        raise FileError(f"{path}: the optimizer's state is none of torch.optim{hint}") from None
    names = [name for name, tensor in state.items() if not is_buffer(name, tensor)]
    if not states:
        left.append("optimizer (it has made no update)")
        return {}, 0, {}
    if not all(set(MOMENTS) <= set(entry) for entry in states.values()):
        left.append("optimizer (no moments of Adam)")
        return {}, 0, {}
    if len(groups) != 1 or len(order) != len(names) or not set(states) <= set(order):
        raise FileError(f"{path}: the optimizer has {plural(len(order), 'parameter')} in {plural(len(groups), 'group')}, the model "
                        f"{len(names)}: which moments are whose is not known{hint}")
    moments, steps = {}, set()
    for number, name in zip(order, names):
        if number not in states:
            continue
        for key in MOMENTS:
            tensor = states[number][key]
            if not isinstance(tensor, Tensor) or tensor.shape != state[name].shape:
                raise FileError(f"{path}: the optimizer's {key} {number} is of another shape than '{name}', {state[name].shape}{hint}")
            moments[f"optimizer.{key}.{name}"] = tensor
        steps.add(int(plain(states[number].get("step", groups[0].get("step", 0)))))
        if "max_exp_avg_sq" in states[number] and "max_exp_avg_sq" not in left:
            left.append("max_exp_avg_sq")
    if len(steps) > 1:
        print(f"note: parameters have had {min(steps)} to {max(steps)} updates; taken is {max(steps)}")
    return moments, max(steps), {key: value for key, value in groups[0].items() if key != "params" and is_plain(value)}


def is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, (float, str))


# ---- to PyTorch ------------------------------------------------------------------------------------------------------------


def to_torch(options):
    tensors, metadata = read_safetensors(options.source)
    paired = set(filter(None, metadata.get("complex", "").split(",")))
    tensors = {name: from_pairs(tensor) if is_paired(options.source, name, tensor, paired) else tensor for name, tensor in tensors.items()}
    state = OrderedDict((name, tensor) for name, tensor in tensors.items() if not name.startswith("optimizer."))
    has_moments = len(state) < len(tensors)
    value = state
    if options.like:
        model, optimizer, kept = WRAPPERS[options.like]
        value = arguments_of(options.source, metadata) | {model: state}
        if not options.no_optimizer:
            value[optimizer] = optimizer_state(options.source, state, tensors, metadata)
        value |= {key: number(metadata, key) for key in kept}
        value |= {"normalize": metadata["normalize"]} if "normalize" in metadata else {}
    write_torch(options.target, value)
    print(f"{counts(state)} -> {options.target}")
    if has_moments and options.like and not options.no_optimizer:
        print(f"Adam's moments of {plural((len(tensors) - len(state)) // 2, 'tensor')} after {plural(int(metadata['optimizer_steps']), 'update')}")
        if "optimizer_group" not in metadata:
            print("note: its param_group is PyTorch's default: lr 0.001, betas 0.9, 0.999, eps 1e-8, weight_decay 0")
    left = ["optimizer"] if has_moments and (options.no_optimizer or not options.like) else []
    left += [key for key in ("normalize", "args") if key in metadata and not options.like]
    if left:
        print(f"left out: {', '.join(left)}" + ("" if options.like else " (--like dpot or pdebench keeps it)"))


def is_paired(path, name, tensor, paired):
    if name not in paired:
        return False
    if tensor.kind not in OF_REAL or tensor.shape[-1:] != (2,):
        raise FileError(f"{path}: '{name}' is listed as complex, but is {tensor.kind} of shape {tensor.shape}, not pairs")
    return True


def arguments_of(path, metadata):
    """{"args": Namespace}, or nothing where the file knows none."""
    try:
        values = json.loads(metadata.get("args", "{}"))
    except (TypeError, ValueError):
        values = None
    if not isinstance(values, dict) or not all(is_plain(value) for value in values.values()):
        raise FileError(f"{path}: args in __metadata__ is no JSON object of plain values: {metadata['args']}")
    return {"args": Namespace(**values)} if "args" in metadata else {}


def number(metadata, key):
    """What a checkpoint of PDEBench's trainer needs where the file does not say: it has not yet seen any loss."""
    try:
        return {"epoch": int, "loss": float}[key](metadata[key])
    except (KeyError, ValueError):
        return {"epoch": 0, "loss": math.inf}[key]


def optimizer_state(path, state, tensors, metadata):
    """state_dict of torch.optim.Adam. Without moments in the file: one that has made no update."""
    names = [name for name, tensor in state.items() if not is_buffer(name, tensor)]
    known = {f"optimizer.{key}.{name}" for key in MOMENTS for name in names}
    strange = [name for name in tensors if name.startswith("optimizer.") and name not in known]
    if strange:
        raise FileError(f"{path}: '{strange[0]}' is the moment of no parameter in the file")
    states = {}
    for i, name in enumerate(names):
        pair = [tensors.get(f"optimizer.{key}.{name}") for key in MOMENTS]
        if pair == [None, None]:
            continue
        if None in pair or any((tensor.shape, tensor.kind) != (state[name].shape, state[name].kind) for tensor in pair):
            raise FileError(f"{path}: the moments of '{name}' are incomplete or of another shape or type than it")
        states[i] = {"step": steps_of(path, metadata)} | dict(zip(MOMENTS, pair))
    try:
        group = GROUP | json.loads(metadata.get("optimizer_group", "{}"))
    except (TypeError, ValueError):
        raise FileError(f"{path}: optimizer_group in __metadata__ is no JSON object: {metadata['optimizer_group']}") from None
    group = {key: tuple(value) if isinstance(value, list) else value for key, value in group.items()}
    return {"state": states, "param_groups": [group | {"params": list(range(len(names)))}]}


def steps_of(path, metadata):
    try:
        return int(metadata["optimizer_steps"])
    except (KeyError, ValueError):
        raise FileError(f"{path}: holds moments, but does not say of how many updates: no optimizer_steps in __metadata__") from None


if __name__ == "__main__":
    sys.exit(main())
