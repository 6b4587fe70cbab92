"""Runs that a class hands in: sixty are joined, and whatever is no honest run is refused with one line."""

import io
import json
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers import recipes, results
from helpers.results import archive
from helpers.results.merge import main
from helpers.training import packed

LABELS = np.load(archive.IMAGES / "predictions.npz")["cifar10/labels"]
HISTORY = archive.IMAGES / "curves.csv"


def answers(seed, shares=(0.6, 0.75, 0.88, 0.915)):
    """What a simulated net of sprint said after each epoch: right on about these shares of the test images."""
    generator = np.random.default_rng(seed)
    wrong = (LABELS + generator.integers(1, 10, (len(shares), len(LABELS)))) % 10
    said = np.where(generator.random(wrong.shape) < np.array(shares)[:, None], LABELS, wrong).astype(np.uint8)
    return {"predicted": said, "confidence": generator.random(len(LABELS)).astype(np.float16), "labels": LABELS}


def run(seed, changes=None):
    """The files of a simulated student's run; changes are fields of its record."""
    arrays = answers(seed)
    accuracies = (arrays["predicted"] == LABELS).mean(1).tolist()
    record = {"recipe": recipes.get("sprint").to_dict(), "dataset": "cifar10", "profile": "full", "seed": seed}
    record |= {"n_train": 50_000, "n_test": 10_000, "weights": "raw", "decides_on": None, "seconds": 180.5}
    record |= {"test_accuracy": accuracies[-1], "test_loss": 0.45, "mirrored_accuracy": 0.92, "val_accuracy": None}
    record |= {"device": "cpu (AMD EPYC, 2 threads), bf16", "commit": "unknown", "versions": {"torch": "2.15.0+cpu"}}
    header = HISTORY.read_text().partition("\n")[0].split(",")[4:]
    rows = [
        {"epoch": epoch, "lr": 0.1, "momentum": 0.6, "test_accuracy": accuracy, "seconds": 45.5}
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    lines = [",".join(header), *(",".join(str(row.get(name, "")) for name in header) for row in rows)]
    history = "\n".join(lines) + "\n"
    return {
        "record.json": json.dumps(record | (changes or {})).encode(),
        "history.csv": history.encode(),
        "answers.npz": packed(arrays),
    }


def hand_in(path, files, inside="seed-0/"):
    """Write a run's files into a folder or, where its name ends so, into a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
            for name, content in files.items():
                whole.writestr(inside + name, content)
        return
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    """A folder with one honest run, as its run store left it."""
    hand_in(tmp_path / "handed/ada/seed-1", run(1) | {"steps.csv": b"step", "checkpoint.pt": b"never read"})
    return tmp_path / "handed"


def merged(folder, capsys):
    """Exit status, what was refused, and the accuracies that were joined, by seed."""
    into = folder.parent / "class"
    status = main(["merge", str(folder), "--into", str(into)])
    joined = results.runs(into, into)
    refused = [line for line in capsys.readouterr().out.splitlines() if line.startswith("refused: ")]
    return status, refused, dict(zip(joined["seed"], joined["test_accuracy"]))


def test_sixty_students_become_one_table(tmp_path, capsys):
    folder = tmp_path / "handed"
    for seed in range(60):
        hand_in(folder / (f"student-{seed}.zip" if seed % 2 else f"student {seed}/seed-{seed}"), run(seed))
    (folder / ".DS_Store").write_text("")
    status, refused, joined = merged(folder, capsys)
    into = tmp_path / "class"
    assert (status, refused, list(joined)) == (0, [], list(range(60)))
    assert {path.name for path in into.iterdir()} == {"results.csv", "curves.csv", "predictions.npz"}
    interval = results.mean(list(joined.values()))
    assert interval.n == 60 and 0.91 < interval.low < 0.915 < interval.high < 0.92
    histories, said = results.histories(into, into), results.answers(into, into)
    assert len(histories) == len(said) == 60 and len(histories["sprint", 7]) == 4
    for seed, accuracy in joined.items():
        assert said[f"cifar10/sprint/{seed}"].accuracy == accuracy == histories["sprint", seed][-1]["test_accuracy"]
    before = {path: path.read_bytes() for path in into.iterdir()}
    assert merged(folder, capsys)[0] == 0 and {path: path.read_bytes() for path in into.iterdir()} == before


def npz(**arrays):
    """An .npz file as numpy writes it, pickles included."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def bomb(name, megabytes=16):
    """A zip whose one file of zeros is small and unpacks to much."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as whole, whole.open(name, "w") as entry:
        for _ in range(megabytes):
            entry.write(bytes(1 << 20))
    return file.getvalue()


class Trap:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return (Path("trap").touch, ())


ODD = recipes.get("sprint", {"epochs": 6}).to_dict()
EDITED = answers(2) | {"predicted": answers(2, (0.6, 0.7, 0.8, 0.99))["predicted"]}
NO_ACCURACY = run(2)["history.csv"].replace(b"test_accuracy", b"accuracy", 1)
HOSTILE = {
    "another recipe": ({"recipe": ODD}, "not of a full run of sprint"),
    "another profile": ({"profile": "quick"}, "not of a full run of sprint"),
    "no recipe": ({"recipe": [1]}, ""),
    "an accuracy of 2.0": ({"test_accuracy": 2.0}, "test_accuracy must be a number from 0 to 1, not 2.0"),
    "NaN": ({"test_accuracy": float("nan")}, "test_accuracy must be a number from 0 to 1, not nan"),
    "an infinite time": ({"seconds": float("inf")}, "seconds must be a number"),
    "a better accuracy": ({"test_accuracy": 0.95}, "do not follow from answers.npz"),
    "a seed that is none": ({"seed": "../../x"}, "seed must be a whole number"),
    "edited answers": ({"answers.npz": packed(EDITED)}, "do not follow from answers.npz"),
    "other labels": ({"answers.npz": packed(answers(2) | {"labels": LABELS[::-1]})}, "each test image of CIFAR-10"),
    "too sure": ({"answers.npz": packed(answers(2) | {"confidence": np.full(10_000, 9, "f2")})}, "each test image"),
    "few answers": ({"answers.npz": packed(answers(2) | {"predicted": LABELS})}, "each test image of CIFAR-10"),
    "a pickle in answers.npz": (
        {"answers.npz": npz(**answers(2) | {"predicted": np.array([Trap()], object)})},
        "allow_pickle=False",
    ),
    "a pickle for answers.npz": ({"answers.npz": pickle.dumps(Trap())}, "not a zip file"),
    "a cut answers.npz": ({"answers.npz": run(2)["answers.npz"][:30_000]}, "not a zip file"),
    "too much in answers.npz": ({"answers.npz": bomb("predicted.npy")}, "unpacks to, more than 2,000,000 bytes"),
    "a huge record": ({"record.json": b" " * 3_000_000 + run(2)["record.json"]}, "more than 2,000,000 bytes"),
    "half a record": ({"record.json": b'{"seed": 3'}, ""),
    "a deep record": ({"record.json": b"[" * 100_000}, ""),
    "a record that is no record": ({"record.json": b"[]"}, ""),
    "a text in the history": ({"history.csv": run(2)["history.csv"].replace(b"0.1,", b"=1+1,")}, "=1+1"),
    "no accuracy in the history": ({"history.csv": NO_ACCURACY}, "test_accuracy"),
    "longer rows": ({"history.csv": run(2)["history.csv"].replace(b"45.5", b"45.5,7")}, "must be a number from 0 to 1"),
    "too much in the history": ({"history.csv": run(2)["history.csv"].replace(b",45.5", b",-45.5")}, "seconds must be"),
    "an empty history": ({"history.csv": b""}, ""),
    "a missing file": ({"history.csv": None}, "a run has answers.npz, history.csv, record.json, each of them once"),
}


def test_hostile_runs_are_refused_with_a_line_each_and_the_others_are_joined(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for case, (changes, _) in HOSTILE.items():
        files = run(2, {name: value for name, value in changes.items() if "." not in name})
        files |= {name: content for name, content in changes.items() if "." in name}
        hand_in(folder / f"{case}.zip", {name: content for name, content in files.items() if content is not None})
    status, refused, joined = merged(folder, capsys)
    assert status == 1 and list(joined) == [1] and not Path("trap").exists()
    told = dict(line.removeprefix("refused: ").split(".zip: ", 1) for line in refused)
    assert told.keys() == HOSTILE.keys() and len(refused) == len(HOSTILE)
    wrong = {case: told[case] for case, (_, why) in HOSTILE.items() if why not in told[case] or len(told[case]) < 5}
    assert wrong == {}


def test_a_path_that_leads_out_of_a_zip_is_refused(folder, capsys):
    for number, path in enumerate(("../../", "/tmp/", "a/../../")):
        hand_in(folder / f"eve-{number}.zip", run(2), inside=path)
    status, refused, joined = merged(folder, capsys)
    assert (status, list(joined), len(refused)) == (1, [1], 3)
    assert all("no path that leads out of a zip" in line for line in refused)
    assert {path.name for path in folder.parent.iterdir()} == {"handed", "class"}


def test_a_seed_counts_once_and_so_do_answers(folder, capsys):
    hand_in(folder / "bob.zip", run(1))
    hand_in(folder / "eve.zip", run(2) | {"answers.npz": run(1)["answers.npz"]})
    copied = run(1)
    copied["record.json"] = copied["record.json"].replace(b'"seed": 1', b'"seed": 9')
    hand_in(folder / "mallory.zip", copied)
    status, refused, joined = merged(folder, capsys)
    assert status == 1 and list(joined) == [1] and len(refused) == 3
    assert "refused: bob.zip: seed 1 came with ada/seed-1, too" in refused
    assert "refused: mallory.zip: these answers came with ada/seed-1, too" in refused


def test_a_copy_that_is_refused_takes_no_seed_away(folder, capsys):
    copied = run(1)
    copied["record.json"] = copied["record.json"].replace(b'"seed": 1', b'"seed": 7')
    hand_in(folder / "bob.zip", copied)
    hand_in(folder / "eve.zip", run(7))
    assert merged(folder, capsys)[2].keys() == {1, 7}


def test_zips_beside_a_loose_run_are_joined(tmp_path, capsys):
    hand_in(tmp_path / "handed", run(1))
    hand_in(tmp_path / "handed/bob.zip", run(2))
    status, refused, joined = merged(tmp_path / "handed", capsys)
    assert (status, refused, list(joined)) == (0, [], [1, 2])


def test_where_no_run_passes_none_is_shown(folder, capsys):
    merged(folder, capsys)
    (folder / "ada/seed-1/history.csv").write_text("")
    assert main(["merge", str(folder), "--into", str(folder.parent / "class")]) == 1
    assert capsys.readouterr().out.endswith("class: as it was, since no run passed\n")


def test_what_is_no_run_is_refused(folder, capsys):
    both = {f"{place}/{file}": content for place in "ab" for file, content in run(2).items()}
    hand_in(folder / "two.zip", both)
    odd = {
        "run.pkl": pickle.dumps(Trap()),
        "zeros.zip": bomb("record.json"),
        "cut.zip": b"PK\3\4",
        "notes.txt": b"hello",
    }
    for name, content in odd.items():
        (folder / name).write_bytes(content)
    status, refused, joined = merged(folder, capsys)
    assert (status, list(joined)) == (1, [1])
    assert {line.split(": ")[1] for line in refused} == {*odd, "two.zip"} and len(refused) == 5


@pytest.mark.slow
def test_a_gigabyte_in_a_zip_is_not_unpacked(folder, capsys, megabytes=1024):
    hand_in(folder / "eve.zip", {name: content for name, content in run(2).items() if name != "record.json"})
    hand_in(folder / "bob.zip", run(3) | {"answers.npz": bomb("predicted.npy", megabytes)})
    with zipfile.ZipFile(folder / "eve.zip", "a", zipfile.ZIP_DEFLATED) as whole, whole.open("record.json", "w") as one:
        for _ in range(megabytes):
            one.write(bytes(1 << 20))
    tracemalloc.start()
    _, refused, joined = merged(folder, capsys)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(refused) == 2 and all("more than 2,000,000 bytes" in line for line in refused) and list(joined) == [1]
    assert most < 60e6


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(folder, capsys):
    hand_in(folder / "eve", {name: content for name, content in run(2).items() if name != "record.json"})
    os.mkfifo(folder / "eve/record.json")
    assert merged(folder, capsys)[0] == 1


def test_published_data_is_no_place_for_a_class(folder, capsys):
    before = (archive.IMAGES / "results.csv").read_bytes()
    for given in (["merge", str(folder), "--into", str(archive.IMAGES)], ["merge", "nowhere"]):
        with pytest.raises(SystemExit, match="2"):
            main(given)
    assert (archive.IMAGES / "results.csv").read_bytes() == before
