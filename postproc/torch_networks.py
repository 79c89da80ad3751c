"""The published networks in PyTorch, with their state_dict's keys and shapes: FNO and UNet as PDEBench has them, DPOT without normalisation. What
tests/test_torch_step.py proves of them is that outputs, gradients and training steps are those of the reference cases."""
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

GIVEN = 10  # frames that a network sees
FNO_WIDTH, FNO_MODES, FNO_PADDING = 20, 12, 2
UNET_FEATURES, UNET_LEVELS = 32, 4
DPOT = {"tiny": {"width": 512, "depth": 4, "blocks": 4}, "small": {"width": 1024, "depth": 6, "blocks": 8}}
DPOT_GROUPS, DPOT_CLASSES = 8, 12


def build(kind, preset, n, fields):
    """The network of a bench_step case; n: points along each axis (DPOT's alone depends on them)."""
    dim = int(kind[-2]) if kind[-1] == "d" else 2
    if kind.startswith("fno"):
        return FNO(dim, fields, GIVEN, FNO_WIDTH, [FNO_MODES] * dim)
    if kind.startswith("unet"):
        return UNet(dim, GIVEN * fields, fields, UNET_FEATURES)
    return Dpot(fields, GIVEN, n, patch=8, modes=32, mlp_ratio=1, out_width=32, classes=DPOT_CLASSES, **DPOT[preset])


def rollout_loss(network, frames, points, given, steps):
    """Mean square error of every prediction, summed over the steps; gradients go through all of them. frames (B, x.., given + steps, C), points
    (B, x.., dim)."""
    window, loss = frames[..., :given, :], 0
    for step in range(steps):
        if step:
            window = torch.cat((window[..., 1:, :], prediction), -2)  # noqa: F821 (the step before has made it)
        prediction = network.predict(window, points)
        loss = loss + functional.mse_loss(prediction, frames[..., given + step:given + step + 1, :])
    return loss


def train_step(network, optimizer, *rollout):
    """Forward, backward, optimizer; the loss before it. rollout: the arguments of rollout_loss behind the network."""
    optimizer.zero_grad(set_to_none=True)
    loss = rollout_loss(network, *rollout)
    loss.backward()
    optimizer.step()
    return loss.item()


def conv(dim, *sizes, transposed=False, **options):
    name = f"Conv{'Transpose' if transposed else ''}{dim}d"
    return getattr(nn, name)(*sizes, **options)


# ---- FNO -------------------------------------------------------------------------------------------------------------------


class SpectralConv(nn.Module):
    """Products of the lowest frequencies with weights (in, out, k..): weights1 at positive, weights2 at negative k of the first of two axes."""

    def __init__(self, width, modes):
        super().__init__()
        *_, last = self.modes = list(modes)
        self.corners = [(..., slice(last))] if len(modes) == 1 else [(..., rows, slice(last)) for rows in (slice(modes[0]), slice(-modes[0], None))]
        for i in range(len(self.corners)):
            setattr(self, f"weights{i + 1}", nn.Parameter(torch.rand(width, width, *modes, dtype=torch.cfloat) / width ** 2))
        self.product = "bik,iok->bok" if len(modes) == 1 else "bikl,iokl->bokl"

    def forward(self, x):
        axes = tuple(range(2, x.ndim))
        spectrum = torch.fft.rfftn(x, dim=axes)
        result = torch.zeros_like(spectrum)
        for corner, weights in zip(self.corners, self.parameters()):
            result[corner] = torch.einsum(self.product, spectrum[corner], weights)
        return torch.fft.irfftn(result, s=x.shape[2:], dim=axes)


class FNO(nn.Module):
    def __init__(self, dim, fields, given, width, modes):
        super().__init__()
        self.dim = dim
        self.fc0 = nn.Linear(given * fields + dim, width)
        for i in range(4):
            setattr(self, f"conv{i}", SpectralConv(width, modes))
        for i in range(4):
            setattr(self, f"w{i}", conv(dim, width, width, 1))
        self.fc1 = nn.Linear(width, 128)
        self.fc2 = nn.Linear(128, fields)

    def forward(self, x, points):
        """x (B, x.., given * C), points (B, x.., dim); the next frame (B, x.., 1, C)."""
        x = self.fc0(torch.cat((x, points), -1)).movedim(-1, 1)
        x = functional.pad(x, (0, FNO_PADDING) * self.dim)
        for i in range(4):
            x = getattr(self, f"conv{i}")(x) + getattr(self, f"w{i}")(x)
            x = functional.gelu(x) if i < 3 else x
        x = x[(..., *[slice(-FNO_PADDING)] * self.dim)].movedim(1, -1)
        return self.fc2(functional.gelu(self.fc1(x))).unsqueeze(-2)

    def predict(self, window, points):
        return self(window.flatten(-2), points)


# ---- UNet ------------------------------------------------------------------------------------------------------------------


def unet_block(dim, name, inputs, outputs):
    layers = OrderedDict()
    for i, channels in ((1, inputs), (2, outputs)):
        layers[f"{name}conv{i}"] = conv(dim, channels, outputs, 3, padding=1, bias=False)
        layers[f"{name}norm{i}"] = getattr(nn, f"BatchNorm{dim}d")(outputs)
        layers[f"{name}tanh{i}"] = nn.Tanh()
    return nn.Sequential(layers)


class UNet(nn.Module):
    def __init__(self, dim, inputs, outputs, features):
        super().__init__()
        self.pool = getattr(functional, f"max_pool{dim}d")
        widths = [inputs] + [features << level for level in range(UNET_LEVELS + 1)]
        for level in range(1, UNET_LEVELS + 1):
            setattr(self, f"encoder{level}", unet_block(dim, f"enc{level}", *widths[level - 1:level + 1]))
        self.bottleneck = unet_block(dim, "bottleneck", *widths[-2:])
        for level in range(UNET_LEVELS, 0, -1):
            setattr(self, f"upconv{level}", conv(dim, widths[level + 1], widths[level], 2, stride=2, transposed=True))
            setattr(self, f"decoder{level}", unet_block(dim, f"dec{level}", 2 * widths[level], widths[level]))
        self.conv = conv(dim, features, outputs, 1)

    def forward(self, x):
        """x (B, given * C, x..); the next frame (B, C, x..)."""
        skips = []
        for level in range(1, UNET_LEVELS + 1):
            skips.append(getattr(self, f"encoder{level}")(x))
            x = self.pool(skips[-1], 2)
        x = self.bottleneck(x)
        for level in range(UNET_LEVELS, 0, -1):
            x = torch.cat((getattr(self, f"upconv{level}")(x), skips.pop()), 1)
            x = getattr(self, f"decoder{level}")(x)
        return self.conv(x)

    def predict(self, window, _points):
        x = window.flatten(-2).movedim(-1, 1).contiguous()  # as a view it makes all layers keep channels last, which takes a tenth longer
        return self(x).movedim(1, -1).unsqueeze(-2)


# ---- DPOT ------------------------------------------------------------------------------------------------------------------


class Afno(nn.Module):
    """A perceptron of two layers on the spectrum, in blocks of channels; weights (re and im, block, in, out)."""

    def __init__(self, width, blocks, modes):
        super().__init__()
        self.blocks, self.modes = blocks, modes
        each = width // blocks
        for layer in (1, 2):
            setattr(self, f"w{layer}", nn.Parameter(torch.rand(2, blocks, each, each) / each ** 2))
            setattr(self, f"b{layer}", nn.Parameter(torch.rand(2, blocks, each) / each ** 2))

    def forward(self, x):
        """x (B, h, w, D)"""
        rows, columns = x.shape[1:3]
        spectrum = torch.fft.rfft2(x, dim=(1, 2), norm="ortho").unflatten(-1, (self.blocks, -1))
        kept = spectrum[:, :self.modes, :self.modes]
        real, imaginary = complex_layer(kept.real, kept.imag, self.w1, self.b1)
        real, imaginary = complex_layer(functional.gelu(real), functional.gelu(imaginary), self.w2, self.b2)
        result = torch.zeros_like(spectrum)
        result[:, :self.modes, :self.modes] = torch.complex(real, imaginary)
        return torch.fft.irfft2(result.flatten(-2), s=(rows, columns), dim=(1, 2), norm="ortho") + x


def complex_layer(real, imaginary, w, b):
    def product(x, weights):
        return torch.einsum("...bi,bio->...bo", x, weights)
    return product(real, w[0]) - product(imaginary, w[1]) + b[0], product(imaginary, w[0]) + product(real, w[1]) + b[1]


class Block(nn.Module):
    def __init__(self, width, blocks, modes, hidden):
        super().__init__()
        self.norm1 = nn.GroupNorm(DPOT_GROUPS, width)
        self.filter = Afno(width, blocks, modes)
        self.norm2 = nn.GroupNorm(DPOT_GROUPS, width)
        self.mlp = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.GELU(), nn.Conv2d(hidden, width, 1))

    def forward(self, x):
        mixed = self.filter(self.norm1(x).movedim(1, -1)).movedim(-1, 1)
        return self.mlp(self.norm2(mixed)) + x


class TimeAggregation(nn.Module):
    """exp_mlp: the frames' channels, each times cos(t gamma), through a matrix of each frame's own, summed."""

    def __init__(self, frames, width):
        super().__init__()
        self.w = nn.Parameter(torch.randn(frames, width, width) / (frames * width ** 0.5))
        self.gamma = nn.Parameter(2 ** torch.linspace(-10, 10, width).unsqueeze(0))

    def forward(self, x):
        """x (B, h, w, T, D) to (B, h, w, D)"""
        t = torch.linspace(0, 1, x.shape[-2]).unsqueeze(-1)
        return torch.einsum("tio,...ti->...o", self.w, x * torch.cos(t * self.gamma))


class Dpot(nn.Module):
    def __init__(self, fields, given, n, *, width, depth, blocks, patch, modes, mlp_ratio, out_width, classes):
        super().__init__()
        embedding = fields * patch + 3
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, width, n // patch, n // patch), std=0.02))
        proj = nn.Sequential(nn.Conv2d(fields + 3, embedding, patch, stride=patch), nn.GELU(), nn.Conv2d(embedding, width, 1))
        self.patch_embed = nn.ModuleDict({"proj": proj})
        self.blocks = nn.Sequential(*[Block(width, blocks, modes, int(width * mlp_ratio)) for _ in range(depth)])
        self.cls_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, classes))
        self.time_agg_layer = TimeAggregation(given, width)
        self.out_layer = nn.Sequential(nn.ConvTranspose2d(width, out_width, patch, stride=patch), nn.GELU(),
                                       nn.Conv2d(out_width, out_width, 1), nn.GELU(), nn.Conv2d(out_width, fields, 1))

    def forward(self, x):
        """x (B, X, Y, given, C); the next frame (B, X, Y, 1, C) and the class logits, which no loss here uses."""
        coordinates = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, size) for size in x.shape[1:4]], indexing="ij"), -1)
        x = torch.cat((x, coordinates.expand(len(x), -1, -1, -1, -1)), -1)
        frames = x.permute(0, 3, 4, 1, 2)  # B, T, C + 3, X, Y
        x = self.patch_embed["proj"](frames.flatten(0, 1)) + self.pos_embed
        x = self.time_agg_layer(x.unflatten(0, frames.shape[:2]).permute(0, 3, 4, 1, 2))
        x = self.blocks(x.movedim(-1, 1))
        return self.out_layer(x).movedim(1, -1).unsqueeze(-2), self.cls_head(x.mean((-2, -1)))

    def predict(self, window, _points):
        return self(window)[0]
