"""Reading a run directory: one function a file, checked, with errors that name the file and what is wrong in it."""
import csv
import json
import os
import re
from dataclasses import dataclass

import h5py
import numpy as np

from plain import RunError, name_of, parse_yaml  # noqa: F401 (part of what this module offers)

METRICS_COLUMNS = ("epoch", "train_loss", "base_lr", "seconds", "nRMSE")
LAYERS_COLUMNS = ("epoch", "layer", "alpha", "lr")


@dataclass
class Layers:
    """layers.csv as arrays over (epoch, layer), NaN where there is no row or no fit; layers in the model's order."""

    names: list
    epochs: np.ndarray
    alpha: np.ndarray
    rate: np.ndarray


@dataclass
class Spectrum:
    """Eigenvalues of one layer, ascending; alpha and xmin are NaN where no tail was fitted."""

    eigenvalues: np.ndarray
    alpha: float
    xmin: float


@dataclass
class Predictions:
    """prediction and target (trajectory, field, frame, x[, y]); the first `initial` frames were given to the model. weights: the
    file they are of where `evaluate` wrote them, "" where they are those of the run's end."""

    prediction: np.ndarray
    target: np.ndarray
    initial: int
    fields: list
    weights: str = ""


def require_directory(directory):
    if not os.path.isdir(directory):
        raise RunError(f"{directory}: no such directory")


def has_file(directory, name):
    return os.path.exists(os.path.join(directory, name))


def read_config(directory):
    """resolved.yaml as {"block_key": "value"}."""
    return parse_yaml(_read_text(directory, "resolved.yaml"), os.path.join(directory, "resolved.yaml"))


def read_metrics(directory):
    """metrics.csv as {column: array}, one value an epoch, NaN for empty cells."""
    return _read_table(os.path.join(directory, "metrics.csv"), METRICS_COLUMNS)


def read_layers(directory):
    path = os.path.join(directory, "layers.csv")
    table = _read_table(path, LAYERS_COLUMNS, text=("layer",))
    names = list(dict.fromkeys(table["layer"]))
    epochs = np.unique(table["epoch"])
    rows = np.searchsorted(epochs, table["epoch"])
    columns = np.array([names.index(name) for name in table["layer"]])
    layers = Layers(names, epochs, *(np.full((len(epochs), len(names)), np.nan) for _ in range(2)))
    layers.alpha[rows, columns] = np.where(np.isfinite(table["alpha"]), table["alpha"], np.nan)
    layers.rate[rows, columns] = table["lr"]
    return layers


def read_spectra(directory):
    """{epoch: {layer: Spectrum}} of the first and the last epoch in spectra.h5 (one entry if there is only one)."""
    path = os.path.join(directory, "spectra.h5")
    with open_hdf5(path) as file:
        groups = sorted((int(match[1]), name) for name in file if (match := re.fullmatch(r"epoch_(\d+)", name)))
        if not groups:
            raise RunError(f"{path}: no group epoch_NNNNN")
        return {epoch: _spectra_of(path, file[name]) for epoch, name in (groups[0], groups[-1])}


def read_predictions(directory):
    path = os.path.join(directory, "predictions.h5")
    with open_hdf5(path) as file:
        for name in ("prediction", "target"):
            if name not in file:
                raise RunError(f"{path}: no dataset '{name}'")
        prediction, target = _read_data(path, file["prediction"]), _read_data(path, file["target"])
        initial, fields, weights = int(file.attrs.get("initial_step", 0)), *(_text(file.attrs.get(name, "")) for name in ("fields", "weights"))
    if prediction.shape != target.shape or prediction.ndim not in (4, 5) or 0 in prediction.shape:
        shapes = f"prediction {prediction.shape}, target {target.shape}"
        raise RunError(f"{path}: {shapes}: must be the same (n, fields, frames, x[, y])")
    if initial >= prediction.shape[2]:
        raise RunError(f"{path}: initial_step {initial} leaves none of {prediction.shape[2]} frames predicted")
    fields = [name.strip() for name in fields.split(",")]
    if len(fields) != prediction.shape[1]:
        fields = [f"field {i}" for i in range(prediction.shape[1])]
    return Predictions(prediction, target, initial, fields, weights)


def read_summary(directory):
    """summary.json; a figure that is not defined there (null) is None."""
    return _read_json(directory, "summary.json")


def read_about(directory):
    """run.json: what made the run, when and where."""
    return _read_json(directory, "run.json")


def read_version(directory):
    """What made the run, from run.json; "unknown" where that is missing."""
    if not os.path.exists(os.path.join(directory, "run.json")):
        return "unknown"
    return str(read_about(directory).get("version", "unknown"))


def open_hdf5(path):
    if not os.path.exists(path):
        raise RunError(f"{path}: no such file")
    try:
        # a shared file system may have no locks, and a reader needs none
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise RunError(f"{path}: not a sound HDF5 file: {_one_line(error)}") from None


def _read_text(directory, name):
    path = os.path.join(directory, name)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {_one_line(error)}") from None


def _read_json(directory, name):
    path = os.path.join(directory, name)
    try:
        content = json.loads(_read_text(directory, name))
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: not a JSON object")
    return content


def _read_table(path, required, text=()):
    """CSV with a header row as {column: array}; columns named in `text` stay lists of strings."""
    rows = list(csv.reader(_read_text(*os.path.split(path)).splitlines()))
    header = rows[0] if rows else []
    for column in required:
        if column not in header:
            raise RunError(f"{path}: no column '{column}'")
    if len(rows) < 2:
        raise RunError(f"{path}: no epoch yet")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise RunError(f"{path}: line {number} has {len(row)} of {len(header)} cells")
    columns = dict(zip(header, zip(*rows[1:])))
    return {name: list(cells) if name in text else _numbers(path, name, cells) for name, cells in columns.items()}


def _numbers(path, column, cells):
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    except ValueError as error:
        raise RunError(f"{path}: column '{column}': {error}") from None


def _read_data(path, dataset):
    try:
        return np.asarray(dataset[()], dtype=float)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: dataset '{dataset.name}' cannot be read: {_one_line(error)}") from None


def _spectra_of(path, group):
    spectra = {}
    for layer, dataset in group.items():
        if isinstance(dataset, h5py.Dataset):
            alpha, xmin = (float(dataset.attrs.get(name, np.nan)) for name in ("alpha", "xmin"))
            spectra[layer] = Spectrum(np.sort(_read_data(path, dataset).ravel()), alpha, xmin)
    if not spectra:
        raise RunError(f"{path}: group '{group.name}' holds no layer")
    return spectra


def _text(attribute):
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)


def _one_line(error):
    return " ".join(str(error).split())
