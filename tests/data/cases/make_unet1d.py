#!/usr/bin/env python3
"""Makes unet1d.h5 with PyTorch (1.13): PDEBench's UNet on a line, from the description of its layers. Computed in double precision from weights of
single precision. params, input, target; output, loss (mean square), grads, and as statistics what the step has made of the running ones."""
import json
import os
from collections import OrderedDict

import h5py
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
FEATURES, GIVEN, FIELDS, SAMPLES, POINTS = 2, 3, 2, 3, 80  # five points at the bottom, more at the top than are matrix products


def block(name, inputs, outputs):
    """Twice convolution without bias, batch normalisation, tanh."""
    layers = OrderedDict()
    for i in (1, 2):
        layers[f"{name}conv{i}"] = torch.nn.Conv1d(inputs if i == 1 else outputs, outputs, kernel_size=3, padding=1, bias=False)
        layers[f"{name}norm{i}"] = torch.nn.BatchNorm1d(outputs)
        layers[f"{name}tanh{i}"] = torch.nn.Tanh()
    return torch.nn.Sequential(layers)


class UNet1d(torch.nn.Module):
    def __init__(self, inputs, outputs, features):
        super().__init__()
        widths = [features << level for level in range(5)]
        for level in range(1, 5):
            setattr(self, f"encoder{level}", block(f"enc{level}", inputs if level == 1 else widths[level - 2], widths[level - 1]))
        self.bottleneck = block("bottleneck", widths[3], widths[4])
        for level in range(4, 0, -1):
            setattr(self, f"upconv{level}", torch.nn.ConvTranspose1d(widths[level], widths[level - 1], kernel_size=2, stride=2))
            setattr(self, f"decoder{level}", block(f"dec{level}", 2 * widths[level - 1], widths[level - 1]))
        self.conv = torch.nn.Conv1d(features, outputs, kernel_size=1)

    def forward(self, x):
        skips = []
        for level in range(1, 5):
            x = getattr(self, f"encoder{level}")(x)
            skips.append(x)
            x = torch.nn.functional.max_pool1d(x, kernel_size=2, stride=2)
        x = self.bottleneck(x)
        for level in range(4, 0, -1):
            x = torch.cat((getattr(self, f"upconv{level}")(x), skips.pop()), dim=1)
            x = getattr(self, f"decoder{level}")(x)
        return self.conv(x)


def spread(model):
    """No value is one that a network may have forgotten to use, and all are of single precision."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value += 0.5 * torch.rand_like(value) - (0.25 if name.endswith("weight") else 0)
            if value.is_floating_point():
                value.copy_(value.float())


def store(file, name, value):
    value = value.detach()
    file.create_dataset(name, data=(value.float() if value.is_floating_point() else value).numpy(), track_times=False)


def main():
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    model = UNet1d(GIVEN * FIELDS, FIELDS, FEATURES)
    spread(model)
    data = torch.randn(SAMPLES, GIVEN * FIELDS, POINTS).float().double()
    target = torch.randn(SAMPLES, FIELDS, POINTS).float().double()
    with h5py.File(os.path.join(HERE, "unet1d.h5"), "w") as file:
        file.attrs["kind"] = "unet1d"
        file.attrs["config"] = json.dumps({"in_channels": GIVEN * FIELDS, "out_channels": FIELDS, "features": FEATURES})
        for name, value in model.state_dict().items():
            store(file, f"params/{name}", value)
        output = model(data)
        loss = torch.nn.functional.mse_loss(output, target)
        loss.backward()
        for name, value in (("input", data), ("target", target), ("output", output), ("loss", loss)):
            store(file, name, value)
        for name, parameter in model.named_parameters():
            store(file, f"grads/{name}", parameter.grad)
        for name, value in model.named_buffers():
            if value.is_floating_point():
                store(file, f"statistics/{name}", value)


if __name__ == "__main__":
    main()
