"""Full runs as published and as stored; what is published of them; the tables made of it."""

import csv
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from consistency import disagreements
from fixture_notebooks import notebook, write
from fixture_runs import change_record, full_run

from helpers import recipes
from helpers.data import augment
from helpers.recipes import PROFILES
from helpers.regenerate import request
from helpers.regenerate.publish import publish
from helpers.regenerate.tables import ablations_table, profiles_table, results_table
from helpers.results import archive
from helpers.training import Run, RunError, packed

ROOT = Path(__file__).resolve().parent.parent
MARKED = ("notebooks", "results", "ablations", "profiles")
README = "# S\n" + "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in MARKED)
PROJECT = '[project.urls]\nRepository = "https://github.com/ada/lesson"\n'
PLUS = "davidnet-onecycle-plus"
NONE = Path("no-runs")  # an empty run store


@pytest.fixture(scope="module")
def store(tiny, tmp_path_factory):
    """Two runs of one recipe, and one of another that decides on test images."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        full_run(tiny, root, seed=seed)
    full_run(tiny, root, "published-b1")
    return root


@pytest.fixture(scope="module")
def once(store, tmp_path_factory):
    """A repository with nothing but a README, published into."""
    root = tmp_path_factory.mktemp("repository")
    (root / "README.md").write_text(README)
    (root / "pyproject.toml").write_text(PROJECT)
    write(root, n01_a=notebook("1"))
    publish(root, {}, root, store)
    return root


@pytest.fixture
def tree(once, tmp_path):
    """A copy of it to be spoilt."""
    return shutil.copytree(once, tmp_path / "tree")


def files_of(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- what is committed


def test_what_is_published_here_agrees():
    assert disagreements(ROOT) == []


def test_an_accuracy_that_a_text_states_is_that_of_a_record_a_claim_or_a_recipe_s_mean():
    """Of the form 94.17 %, in the prose of the notebooks, the README and docs, outside tables, which are made."""
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        texts += [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
    prose = re.sub(r"<!-- ([\w-]+) -->.*?<!-- /\1 -->", "", "\n".join(texts), flags=re.DOTALL)
    runs = archive.runs(ROOT / "images", NONE)
    columns = [column for column in runs if column.endswith("_accuracy")]
    known = pd.concat([part[column] for part in (runs, runs.groupby("recipe")[columns].mean()) for column in columns])
    known = [*known, *(value for claim in archive.claims().values() for value in (claim.best, claim.last) if value)]
    stated = set(re.findall(r"(?<![\d.])\d\d\.\d\d(?= %)", prose))
    assert stated and stated <= {f"{100 * value:.2f}" for value in known}


def test_every_claim_has_its_protocol_and_every_published_recipe_its_claim():
    claimed = {name for name in recipes.RECIPES if name.startswith("published-")}
    claims = archive.claims()
    assert set(claims) == claimed and len(claimed) == 7 and all(claim.source for claim in claims.values())
    assert str(claims["published-b2"]) == "best 92.13 %, last 91.96 %" and claims["published-e-step"].note == ""
    assert str(claims["published-d"]) == "best 89.20 %" and claims["published-d"].last is None


def test_the_curves_that_were_claimed_end_where_the_claims_do():
    curves, claims = archive.claimed_curves(), archive.claims()
    assert {name: len(curve) for name, curve in curves.items()} == {
        **dict.fromkeys(("published-b1", "published-b2", "published-c"), 50),
        "published-e-step": 24,
    }
    for name, curve in curves.items():
        assert (max(curve), curve[-1]) == (claims[name].best, claims[name].last)
    assert curves["published-b1"][15] >= 0.88 > max(curves["published-b1"][:15])  # its page: 88 % at epoch 16


# --- publishing


def test_a_published_run_comes_back_as_it_was(once, store):
    images = once / "images"
    ours, theirs = archive.runs(images, NONE), archive.runs(Path("nowhere"), store)
    pd.testing.assert_frame_equal(ours, theirs)
    assert len(ours) == 3 and archive.histories(images, NONE) == archive.histories(Path("nowhere"), store)
    for run in ours.itertuples():
        kept = Run(store / f"cifar10/full/{run.recipe}/seed-{run.seed}")
        record, (*_, last) = kept.record(), archive.histories(images, NONE)[run.recipe, run.seed]
        assert (run.test_accuracy, run.date) == (record["test_accuracy"], record["date"])
        assert last == {**dict.fromkeys(last), **kept.history()[-1]}
        said = archive.answers(images, NONE)[f"cifar10/{run.recipe}/{run.seed}"]
        for name, array in vars(kept.answers()).items():
            np.testing.assert_array_equal(getattr(said, name), array)
        assert said.accuracy == run.test_accuracy


def test_a_row_holds_all_that_is_needed_to_repeat_the_run(once):
    row = archive.runs(once / "images", NONE).iloc[0].to_dict()
    for name in ("commit", "torch", "numpy", "device", "loader", "n_train", "n_test", "seed", "seconds", "date"):
        assert name in row
    values = {name: row[name] for name in recipes.RECIPES[PLUS].to_dict() if name != "name"}
    values |= {name: tuple(json.loads(row[name])) for name in ("transforms", "cuts", "overridden")}
    values["transforms"] = augment.from_list(values["transforms"])
    again = recipes.Recipe(**{**values, "name": row["recipe"], "nesterov": bool(row["nesterov"])})
    assert again.max_lr == 0.05 and again.transforms == recipes.RECIPES[PLUS].transforms and again.nesterov


def test_publishing_again_changes_no_byte(tree, store):
    before = files_of(tree)
    publish(tree, {}, tree, store)
    assert files_of(tree) == before
    assert {"images/results.csv", "images/curves.csv", "images/predictions.npz"} <= {str(path) for path in before}


def test_runs_of_another_machine_stay(tree, tiny, tmp_path):
    full_run(tiny, tmp_path / "there", seed=4)
    publish(tree, {}, tree, tmp_path / "there")
    assert list(archive.runs(tree / "images", NONE)["seed"]) == [0, 1, 4, 0]
    assert disagreements(tree) == []


def test_without_markers_nothing_is_written(tmp_path, store):
    (tmp_path / "README.md").write_text("# bare\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    write(tmp_path, n01_a=notebook("1"))
    with pytest.raises(ValueError, match="none of README.md, .* has the markers <!-- notebooks -->"):
        publish(tmp_path, {}, tmp_path, store)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "pyproject.toml", "notebooks"}


def test_a_damaged_run_is_named_and_nothing_is_written(tree, store, tmp_path):
    broken = shutil.copytree(store, tmp_path / "broken")
    (broken / "cifar10/full/published-b1/seed-0/record.json").write_text("{")
    before = files_of(tree)
    with pytest.raises(RunError, match="published-b1/seed-0/record.json cannot be read"):
        publish(tree, {}, tree, broken)
    assert files_of(tree) == before


@pytest.mark.parametrize("copy", ["seed-0 (1)", "seed-0-old", "seed-0 copy", "seed-7", "../published-b1 (copy)/seed-0"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_copy_beside_a_run_is_no_run(copy, finished, store, tmp_path):
    """As a file manager leaves it, or who followed the advice to move a folder."""
    root = shutil.copytree(store, tmp_path / "store")
    node = notebook(compares=True)
    before, tables = request.contents(node, root, root), archive.tables(tmp_path, root)
    said = archive.answers(tmp_path, root)
    left = shutil.copytree(root / "cifar10/full/published-b1/seed-0", root / "cifar10/full/published-b1" / copy)
    change = json.loads((left / "record.json").read_text()) | {"test_accuracy": 0.8}
    (left / "record.json").write_text(json.dumps(change))
    if not finished:
        (left / "record.json").unlink()
    if finished or copy.startswith("seed-0"):  # else it looks like a run that is under way
        for name, table in archive.tables(tmp_path, root).items():
            pd.testing.assert_frame_equal(table, tables[name])
        assert archive.answers(tmp_path, root).keys() == said.keys()
    if copy.startswith("seed-0"):
        assert request.contents(node, root, root) == before


def test_no_full_runs_no_data(tmp_path):
    assert archive.data(tmp_path, tmp_path / "runs") == {}
    assert len(archive.runs(tmp_path, tmp_path)) == 0 and archive.histories(tmp_path, tmp_path) == {}


def test_the_store_comes_before_what_is_published_and_both_are_in_order(tree, store, tiny, tmp_path):
    mine = tmp_path / "mine"
    full_run(tiny, mine, "davidnet-onecycle", 2)
    full_run(tiny, mine, seed=1)
    change_record(mine, {"test_accuracy": 0.123}, seed=1)
    found = archive.runs(tree / "images", mine)
    assert [(run.recipe, run.seed) for run in found.itertuples()] == [
        ("davidnet-onecycle", 2),
        ("davidnet-onecycle-plus", 0),
        ("davidnet-onecycle-plus", 1),
        ("published-b1", 0),
    ]
    assert found["test_accuracy"][2] == 0.123


# --- the table


def cells(table, name):
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_table_tells_every_recipe_and_what_was_not_run(once):
    runs = archive.runs(once / "images", NONE)
    table, rows = results_table(runs, {}), runs.set_index(["recipe", "seed"])
    assert re.findall(r"^\| `([^`]+)`", table, re.MULTILINE) == list(recipes.RECIPES)
    mean, plus = 100 * rows.loc[PLUS, "test_accuracy"].mean(), cells(table, PLUS)
    assert plus[1:3] == ["davidnet, 2", "2"] and plus[3].startswith(f"{mean:.2f} ± ") and "(n = 2, " in plus[3]
    raw = 100 * rows.loc[PLUS, "raw_test_accuracy"].mean()
    assert f", averaged weights; raw {raw:.2f} ± " in plus[3] and plus[6] == "" and plus[7] == "nothing"
    theirs = cells(table, "published-b1")
    assert theirs[3].endswith("% (one run), raw weights") and theirs[7] == "test images"
    assert theirs[5].startswith("best 91.86 %, last 91.61 % (its net") and theirs[6].endswith("(one run)")
    assert cells(table, "published-c")[2:5] == ["0", "not run", ""]
    assert cells(table, "published-e-step")[5] == "best 87.70 %, last 87.51 %"
    for name in ("davidnet-onecycle-plus", "published-b1"):
        assert "%" in cells(table, name)[4] and cells(table, name)[8].endswith(" s on " + rows["device"][name, 0])


def test_a_run_s_time_is_its_epochs_at_the_pace_of_the_median_one(tmp_path):
    """Three epochs of 10, 900 and 12 s: the machine was busy during one; 36 s, not 922."""
    key = {"dataset": "cifar10", "profile": "full", "recipe": "published-b1", "seed": 0}
    facts = {"net": "resnet18", "epochs": 3, "decides_on": "test", "weights": "raw", "overridden": "[]"}
    facts |= {"test_accuracy": 0.9, "best_test_accuracy": 0.9, "train_accuracy": 0.95, "seconds": 922.0}
    facts |= {"device": "cpu (A, 2 threads), bf16"}
    pd.DataFrame([key | facts]).to_csv(tmp_path / "results.csv", index=False)
    epochs = [{**key, "epoch": k, "seconds": seconds} for k, seconds in enumerate((10.0, 900.0, 12.0), 1)]
    pd.DataFrame(epochs).to_csv(tmp_path / "curves.csv", index=False)
    runs = archive.runs(tmp_path, NONE)
    assert list(runs["run_seconds"]) == [36.0]
    row = cells(results_table(runs, {}), "published-b1")
    assert row[4] == "95.00 % (one run)" and row[8:] == ["36 s on cpu (A, 2 threads), bf16"]
    pd.DataFrame([key | facts | {"small_epochs": 2}]).to_csv(tmp_path / "results.csv", index=False)
    assert list(archive.runs(tmp_path, NONE)["run_seconds"]) == [2 * 455.0 + 12.0]  # each kind by its own median


def test_a_changed_recipe_stands_below_its_own():
    row = {"dataset": "cifar10", "profile": "full", "recipe": "davidnet-onecycle-plus+ema_epochs=0", "seed": 0}
    row |= {"net": "davidnet", "epochs": 24, "decides_on": "", "test_accuracy": 0.93, "best_test_accuracy": 0.93}
    row |= {"train_accuracy": 0.97, "device": "cpu", "weights": "raw", "run_seconds": 3600.0}
    table = results_table(pd.DataFrame([row]), {})
    names = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert names.index(row["recipe"]) == names.index("davidnet-onecycle-plus") + 1
    assert cells(table, row["recipe"])[2:4] == ["1", "93.00 % (one run), raw weights"]
    assert cells(table, row["recipe"])[8:] == ["1 h on cpu"]


def test_single_changes_have_a_table_of_their_own():
    def row(accuracy, seed, **changes):
        recipe = recipes.get("davidnet-onecycle-plus", changes)
        record = {"recipe": recipe.to_dict(), "dataset": "cifar10", "profile": "full", "seed": seed}
        record |= {"test_accuracy": accuracy, "raw_test_accuracy": accuracy, "weights": "averaged"}
        record |= {"decides_on": "", "device": "cpu", "train_accuracy": 0.97}
        return archive.flat(record) | {"run_seconds": 1.0}

    whole, narrow = zip(*[(row(0.94 + k / 500, k), row(0.93 + k / 1000, k, width=32)) for k in range(3)])
    rows = pd.DataFrame([*whole, *narrow, *[row(0.94, k, max_lr=0.1) for k in range(2)]])
    rate, width = sorted(ablations_table(rows).splitlines()[2:])
    assert "| width 64 → 32 | 3 | 94.20 ± 0.20 % (n = 3, " in width and ", averaged weights | 93.10 ± 0.10 %" in width
    assert width.endswith(" | -1.10 points (-1.35 to -0.85) | 5 |")  # t 4.303, deviation 0.1, three pairs
    assert "| max_lr 0.4 → 0.1 | 2 |" in rate and rate.endswith(", undecided | unknown |")
    assert "width" not in results_table(rows, {}) and ablations_table(rows[:1]) == "None was run yet."


def test_the_profiles_table_leaves_nothing_out():
    head, _, *lines = profiles_table().splitlines()
    assert head == "|  | smoke | quick | full |"
    told = {
        name.strip(): [value.strip() for value in values] for _, name, *values, _ in (li.split("|") for li in lines)
    }
    for name in set(vars(PROFILES["full"])) - {"name"}:
        values = [getattr(profile, name) for profile in PROFILES.values()]
        assert told[name] == ["as it is" if value is None else str(value) for value in values]


# --- disagreements


def edit_csv(path, change):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows) or rows
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def forget_answers(path):
    kept = {name: array for name, array in np.load(path).items() if not name.startswith(f"cifar10/{PLUS}/0")}
    np.savez(path, **kept)


def spoil_answers(path):
    with np.load(path) as stored:
        known = dict(stored)
    known[f"cifar10/{PLUS}/0/predicted"][:] = 99
    path.write_bytes(packed(known))


SPOILT = {
    "a number in the README": (
        lambda root: (root / "README.md").write_text((root / "README.md").read_text().replace("(n = 2", "(n = 3")),
        "README.md: its tables are not those of results.csv, curves.csv",
    ),
    "an accuracy in results.csv": (
        lambda root: edit_csv(root / "images/results.csv", lambda rows: rows[0].update(test_accuracy="0.99")),
        "curves.csv ends at",
    ),
    "a lost epoch": (
        lambda root: edit_csv(root / "images/curves.csv", lambda rows: rows[1:]),
        "davidnet-onecycle-plus/0: curves.csv has 1 epochs, results.csv 2",
    ),
    "a lost run": (
        lambda root: edit_csv(root / "images/results.csv", lambda rows: rows[1:]),
        "predictions.npz has cifar10/davidnet-onecycle-plus/0, results.csv has not",
    ),
    "lost answers": (lambda root: forget_answers(root / "images/predictions.npz"), "has no answers of it"),
    "wrong answers": (lambda root: spoil_answers(root / "images/predictions.npz"), "right, results.csv says"),
    "damaged weights": (
        lambda root: (root / "images/weights/davidnet.safetensors").write_bytes(b"x"),
        "davidnet.safetensors is missing or damaged",
    ),
}


@pytest.mark.parametrize("spoil, said", SPOILT.values(), ids=SPOILT)
def test_a_disagreement_is_found(tree, spoil, said):
    assert disagreements(tree) == []
    spoil(tree)
    assert said in "\n".join(disagreements(tree))
