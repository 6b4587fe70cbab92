"""Join the runs that a class hands in into tables as those of images/; nothing in them is executed."""

import argparse
import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import files, recipes
from helpers.results import archive, mean
from helpers.training import run_directory

RUN, NAMES = ("cifar10", "full", "sprint"), ["answers.npz", "history.csv", "record.json"]
LARGEST = 2_000_000  # bytes of a file, or of what it unpacks to; an honest run has a tenth


def contents(place: Path) -> dict[str, bytes]:
    """The NAMES of a run, from its folder or a zip that holds one; no more is read than an honest run has."""
    inside = [] if place.is_dir() else zipfile.ZipFile(place).namelist()
    there = [zipfile.Path(place, name) for name in inside] or place.iterdir()
    found = [path for path in there if path.name in NAMES and path.is_file()]
    if sorted(path.name for path in found) != NAMES or any(".." in name or name[0] in "/\\" for name in inside):
        raise ValueError(f"a run has {', '.join(NAMES)}, each of them once, and no path that leads out of a zip")
    read = {path.name: path.open("rb").read(LARGEST + 1) for path in found}
    with zipfile.ZipFile(io.BytesIO(read["answers.npz"])) as arrays:
        if max(sum(entry.file_size for entry in arrays.infolist()), *map(len, read.values())) > LARGEST:
            raise ValueError(f"a file in it has, or unpacks to, more than {LARGEST:,} bytes")
    return read


def checked(given: dict[str, bytes]) -> tuple[int, dict[str, bytes]]:
    """A run, and its seed, if its files are whole, in form, and agree; else an error that says what is wrong."""
    record, wanted = json.loads(given["record.json"]), json.loads(json.dumps(recipes.get(RUN[2]).to_dict()))
    if {**record, "dataset": RUN[0], "profile": RUN[1], "recipe": {**record["recipe"], **wanted}} != record:
        raise ValueError(f"record.json is not of a full run of {RUN[2]} on CIFAR-10")
    epochs = pd.read_csv(io.BytesIO(given["history.csv"]), dtype=float)  # a text is an error
    measured = [(name, value) for name in epochs for value in epochs[name].dropna()]
    for name, value in (*measured, *archive.flat({**record, "recipe": {"name": RUN[2]}}).items()):
        if not isinstance(value, str | None):
            files.number(name, value, 0, 1 if name.endswith("_accuracy") else 1e18)
    with np.load(io.BytesIO(given["answers.npz"]), allow_pickle=False) as kept:
        said, sure, labels = (kept[name] for name in ("predicted", "confidence", "labels"))
    truth = np.load(archive.IMAGES / "predictions.npz")["cifar10/labels"]
    forms = [(array.dtype.name, *array.shape) for array in (said, sure, labels)]
    wanted = [("uint8", wanted["epochs"], len(truth)), ("float16", len(truth)), ("uint8", len(truth))]
    if forms != wanted or (labels != truth).any() or said.max() > 9 or not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("answers.npz does not hold a class and a confidence for each test image of CIFAR-10")
    accuracies, shares = [*epochs["test_accuracy"], record["test_accuracy"]], (said == labels).mean(1)
    if not np.array_equal(accuracies, [*shares, shares[-1]]):
        raise ValueError("its accuracies do not follow from answers.npz: a file is damaged, or was edited")
    return files.number("seed", record["seed"], 0, 2**32 - 1, whole=True), given


def merge(folder: Path, into: Path) -> tuple[list[str], list[float]]:
    """Write the tables of all runs in a folder that pass to another; returns a line for each refused, and accuracy."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != "."]
    runs, refused, taken = {path.parent for path in paths if path.name in NAMES}, [], {}
    with tempfile.TemporaryDirectory() as store:
        for place in sorted(runs | {path for path in paths if path.parent not in runs or path.suffix == ".zip"}):
            try:
                seed, given = checked(contents(place))
                keys = {seed: f"seed {seed}", given["answers.npz"]: "these answers"}
                for key in filter(taken.get, keys):
                    raise ValueError(f"{keys[key]} came with {taken[key].relative_to(folder)}, too")
                taken |= dict.fromkeys(keys, place)
                for name, content in given.items():
                    files.write_atomic(run_directory(*RUN, seed, store).path / name, content)
            except Exception as error:  # a hostile file may raise anything
                refused.append(f"refused: {place.relative_to(folder)}: {' '.join(f'{error}'.split()) or repr(error)}")
        for path, content in archive.data(Path(store), Path(store)).items():
            files.write_atomic(into / path.name, content)
        return refused, [*archive.runs(Path(store), Path(store)).get("test_accuracy", ())]


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status: 1 if anything was refused."""
    parser = argparse.ArgumentParser(prog="python -m helpers.results", description=__doc__)
    parser.add_argument("command", choices=["merge"])
    parser.add_argument("folder", type=Path, help="holds a zip of each run, or its folder")
    parser.add_argument("--into", type=Path, default=files.runs_root() / "class", help="default: runs/class")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir() or given.into.resolve().is_relative_to(archive.IMAGES):
        parser.error("FOLDER must be there, and --into not be images/, whose runs are ours")
    refused, joined = merge(given.folder, given.into)
    print(*refused, f"{given.into}: {mean(joined) if len(joined) else 'as it was, since no run passed'}", sep="\n")
    return int(bool(refused))
