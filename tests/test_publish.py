"""Publishing: what is taken from a run, what is refused, and that all of it is written or nothing."""

import base64
import csv
import errno
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from fixture_notebooks import change, notebook, write
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.regenerate import __main__ as front
from helpers.regenerate.job import tidy
from helpers.regenerate.publish import figures, publish
from helpers.results.archive import merged, tables

PNG = b"\x89PNG of a curve"
TABLES = "\n\n".join(f"<!-- {t} -->\nold\n<!-- /{t} -->" for t in ("results", "ablations", "profiles", "notebooks"))
README = f"# Series\n\n{TABLES}\n\nThe end.\n"
PROJECT = '[project.urls]\nRepository = "https://github.com/ada/lesson"\n'
ENTRY = {
    "seconds": 372.4,
    "device": "cpu (EPYC, 2 threads), bf16",
    "parameters": {"profile": "full", "dataset": "cifar10", "seed": 0},
}


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def ran(source, outputs_by_cell):
    """The source as a run leaves it: a cell of injected parameters, outputs by code cell, counts as the kernel gave."""
    node = nbformat.from_dict(json.loads(json.dumps(source)))
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code):
        cell.outputs, cell.execution_count = outputs_by_cell.get(number, []), number + 7
    node.cells.insert(2, new_code_cell('profile = "full"', metadata={"tags": ["injected-parameters"]}))
    return node


@pytest.fixture
def tree(tmp_path):
    """A repository with two notebooks, a run of both, and a run store; call it to publish."""
    train = notebook(("plot()", "figure:curve"), "print(accuracy)", question="How | far?")
    write(tmp_path, n01_look_at_data=notebook("2 + 2"), n05_train=train)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    out = tmp_path / "runs/notebooks"
    (out / "logs").mkdir(parents=True)
    outputs = {
        "01_look_at_data": {1: [new_output("execute_result", {"text/plain": "4"}, execution_count=3)]},
        "05_train": {
            1: [new_output("display_data", {"image/png": base64.encodebytes(PNG).decode()})],
            2: [stream("some lines\n"), stream("test accuracy 94.10 %\n")],
        },
    }
    for name, by_cell in outputs.items():
        source = nbformat.read(tmp_path / f"notebooks/{name}.ipynb", as_version=4)
        nbformat.write(ran(source, by_cell), out / f"{name}.ipynb")
        (out / f"logs/{name}.json").write_text(json.dumps(ENTRY))

    def call(*chosen):
        return publish(tmp_path, chosen or outputs, out, tmp_path / "runs")

    call.root, call.out = tmp_path, out
    return call


def read(path):
    return nbformat.read(path, as_version=4)


def test_outputs_go_under_the_sources_own_cells(tree):
    before = read(tree.root / "notebooks/05_train.ipynb")
    tree()
    after = read(tree.root / "notebooks/05_train.ipynb")
    assert [cell.source for cell in after.cells[1:]] == [cell.source for cell in before.cells[1:]]
    assert "injected-parameters" not in json.dumps(after)
    assert [cell.execution_count for cell in after.cells[1:]] == [1, 2, 3]
    assert read(tree.root / "notebooks/01_look_at_data.ipynb").cells[2].outputs[0].execution_count == 2
    assert after.cells[3].outputs[0].text == "some lines\n"
    nbformat.validate(after)


def test_figures_are_written_as_png(tree):
    written = tree("05_train")
    assert (tree.root / "images/curve.png").read_bytes() == PNG
    assert tree.root / "images/curve.png" in written


def test_run_time_and_table_are_stamped_between_their_markers(tree):
    tree()
    words = "6 min 12 s on cpu (EPYC, 2 threads), bf16; full profile, cifar10"
    node = read(tree.root / "notebooks/05_train.ipynb")
    assert node.cells[0].source == f"# Title\n\nTakes <!-- run-time -->{words}<!-- /run-time -->."
    text = (tree.root / "README.md").read_text()
    assert text.startswith("# Series\n\n<!-- results -->\n| Recipe |") and text.endswith("-->\n\nThe end.\n")
    assert "<!-- notebooks -->\n| Notebook |" in text
    row = next(line for line in text.splitlines() if "05_train" in line)
    assert row == "| [05 train](notebooks/05_train.ipynb) | How \\| far? | 6 min 12 s |  |"


def test_the_badges_of_a_first_cell_stand_in_the_table(tree):
    badges = "[![Colab](a.svg)](https://colab.research.google.com/x) [![Kaggle](b.svg)](https://kaggle.com/y)"
    change(tree.root / "notebooks/05_train.ipynb", lambda node: node.cells[0].update(source=f"# Title\n\n{badges}"))
    tree("05_train")
    row = next(line for line in (tree.root / "README.md").read_text().splitlines() if "05_train" in line)
    assert row.endswith(f"| {badges} |")


def test_a_training_before_a_notebook_is_stamped_with_its_time(tree):
    change(tree.root / "notebooks/05_train.ipynb", lambda node: node.metadata["helpers"].update(trains=True))
    record = tree.root / "record.json"
    record.write_text(json.dumps({"seconds": 7325.2}))
    inputs = {"05_train": [str(tree.root / "other.py"), str(record)]}
    (tree.out / "request.json").write_text(json.dumps({"inputs": inputs}))
    tree("05_train")
    told = read(tree.root / "notebooks/05_train.ipynb").cells[0].source
    assert "6 min 12 s after 2 h 2 min of training on cpu (EPYC, 2 threads), bf16; full profile" in told
    assert "| 6 min 12 s after 2 h 2 min of training |" in (tree.root / "README.md").read_text()


def test_publishing_twice_changes_nothing_more(tree):
    tree()
    once = {path: path.read_bytes() for path in tree.root.rglob("*.*") if path.is_file()}
    tree()
    assert {path: path.read_bytes() for path in tree.root.rglob("*.*") if path.is_file()} == once


def test_publishing_one_notebook_keeps_the_others_rows(tree):
    tree()
    tree("01_look_at_data")
    assert "| 6 min 12 s |" in (tree.root / "README.md").read_text().partition("05_train.ipynb")[2]


def test_widgets_do_not_reach_the_published_notebook(tree):
    view = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "interactive()"})

    def with_widget(node):
        node.cells[3].outputs.append(view)
        node.metadata["widgets"] = {}

    change(tree.out / "05_train.ipynb", with_widget)
    tree()
    text = (tree.root / "notebooks/05_train.ipynb").read_text()
    assert "widget" not in text and "interactive" not in text


@pytest.mark.parametrize("edit", [lambda node: node.cells[3].update(source="plot(2)"), lambda node: node.cells.pop(4)])
def test_a_notebook_whose_code_is_not_what_ran_is_named_and_nothing_is_written(tree, edit):
    change(tree.out / "05_train.ipynb", edit)
    before = contents(tree.root)
    with pytest.raises(ValueError, match="nothing was published: the code of 05_train is not what ran"):
        tree()
    assert contents(tree.root) == before


def test_a_notebook_that_colab_saved_is_published(tree):
    """Its cells have no ids but in their metadata, and the format has an older number."""
    path = tree.root / "notebooks/05_train.ipynb"
    saved = json.loads(path.read_text()) | {"nbformat_minor": 0}
    for cell in saved["cells"]:
        cell["metadata"]["id"] = cell.pop("id")
    path.write_text(json.dumps(saved))
    tree()
    after = read(path)
    assert after.cells[3].outputs[0].text == "some lines\n" and after.nbformat_minor == 0
    nbformat.validate(after)


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}


def test_prose_that_was_edited_while_it_ran_is_kept(tree):
    stamped = "# A better title <!-- run-time --><!-- /run-time -->"
    change(tree.root / "notebooks/05_train.ipynb", lambda node: node.cells[0].update(source=stamped))
    tree()
    assert (
        read(tree.root / "notebooks/05_train.ipynb")
        .cells[0]
        .source.startswith("# A better title <!-- run-time -->6 min")
    )


def test_a_disk_that_fills_up_leaves_every_file_whole(tree, monkeypatch):
    written, before = [], contents(tree.root)

    def write_bytes(path, content):
        written.append(path)
        full = len(written) == 3
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2] if full else content)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="No space left on device"):
        tree()
    monkeypatch.undo()
    left = contents(tree.root)
    tree()
    whole = contents(tree.root)
    assert len(written) == 3 and set(left) <= set(whole)
    assert all(content in (before.get(name), whole[name]) for name, content in left.items())


def test_figure_takes_the_first_image_and_only_its_own_tag():
    node = notebook(("x", "figure:a-b_1"), ("y", "other"))
    images = [new_output("display_data", {"image/png": base64.b64encode(b).decode()}) for b in (b"1", b"2")]
    node.cells[2].outputs = node.cells[3].outputs = images
    assert figures(node) == {"a-b_1": b"1"}


# --- executed notebooks made readable


def tidied(node, folder):
    """The notebook and the page that `tidy` makes of a notebook."""
    nbformat.write(node, folder / "part.ipynb")
    tidy(folder / "part.ipynb", folder / "a.html", folder / "a.ipynb")
    assert not (folder / "part.ipynb").exists()
    return nbformat.read(folder / "a.ipynb", as_version=4), (folder / "a.html").read_text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10%\r50%\r100%\ndone", "100%\ndone"),
        ("\r 10%\r        \rdone\n", "done\n"),
        ("a\n50%\r      \r", "a\n"),
        ("two\nlines \n", "two\nlines\n"),
    ],
)
def test_of_progress_bars_stays_what_a_terminal_would_show(text, shown, tmp_path):
    node, _ = tidied(new_notebook(cells=[new_code_cell("1", outputs=[stream(text)])]), tmp_path)
    assert node.cells[0].outputs[0].text == shown


def test_pieces_of_a_stream_are_joined_and_wiped_ones_go(tmp_path):
    pieces = [stream("a"), stream("b\n"), stream("50%\r   \r", "stderr"), new_output("display_data", {}), stream("c")]
    node, _ = tidied(new_notebook(cells=[new_code_cell("1", outputs=pieces)]), tmp_path)
    assert [output.get("text", "shown") for output in node.cells[0].outputs] == ["ab\n", "shown", "c"]


def test_the_page_describes_its_figures(tmp_path):
    def figure(alt):
        metadata = {"image/png": {"alt": alt}} if alt else {}
        return new_code_cell("show", outputs=[new_output("display_data", {"image/png": "QUJD"}, metadata=metadata)])

    _, page = tidied(new_notebook(cells=[figure('a "rise" & a <fall>'), figure(""), figure("bars")]), tmp_path)
    assert page.count("<img ") == 3 and "<img alt='a \"rise\" &amp; a &lt;fall&gt;' " in page
    assert page.count('<img alt="figure" ') == page.count('<img alt="bars" ') == 1


# --- the data


def finish_run(root, seed, accuracy, profile="full", recipe="davidnet-onecycle", epochs=2):
    folder = root / "cifar10" / profile / recipe / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    made = {"name": recipe, "net": "davidnet", "width": 64, "epochs": epochs, "transforms": [1], "claim": None}
    made["overridden"] = []
    record = {"recipe": made, "dataset": "cifar10", "profile": profile, "seed": seed, "test_accuracy": accuracy}
    record |= {"best_test_accuracy": accuracy, "seconds": 60.0, "device": "cpu", "weights": "raw"}
    record |= {"train_accuracy": accuracy}
    (folder / "record.json").write_text(json.dumps(record | {"versions": {"torch": "2"}, "decides_on": None}))
    (folder / "history.csv").write_text(f"epoch,test_accuracy,seconds\n1,0.5,30.0\n2,{accuracy},30.0\n")
    said = {
        "predicted": np.zeros((2, 4), np.uint8),
        "confidence": np.ones(4, np.float16),
        "labels": np.zeros(4, np.uint8),
    }
    np.savez(folder / "answers.npz", **said)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_finished_runs_become_flat_rows(tmp_path):
    finish_run(tmp_path, 1, 0.94)
    finish_run(tmp_path, 0, 0.5, profile="smoke")
    (tmp_path / "cifar10/full/davidnet-onecycle/seed-2").mkdir()  # begun, not finished
    found = tables(tmp_path / "images", tmp_path)
    (row,) = found["results.csv"].to_dict("records")
    assert list(row)[:5] == ["dataset", "profile", "recipe", "seed", "net"]
    assert (row["recipe"], row["seed"], row["test_accuracy"], row["claim"]) == ("davidnet-onecycle", "1", "0.94", "")
    assert "versions" not in row and row["torch"] == "2"
    curve = [(row["seed"], row["epoch"], row["test_accuracy"]) for row in found["curves.csv"].to_dict("records")]
    assert curve == [("1", "1", "0.5"), ("1", "2", "0.94")]


def test_published_rows_are_replaced_by_the_same_run_and_others_stay(tree):
    finish_run(tree.root / "runs", 0, 0.93)
    finish_run(tree.root / "runs", 1, 0.94)
    tree()
    (tree.root / "runs/cifar10/full/davidnet-onecycle/seed-1/record.json").unlink()
    finish_run(tree.root / "runs", 0, 0.95)
    tree()
    results, curves = rows(tree.root / "images/results.csv"), rows(tree.root / "images/curves.csv")
    assert [(row["seed"], row["test_accuracy"]) for row in results] == [("0", "0.95"), ("1", "0.94")]
    assert [(row["seed"], row["epoch"]) for row in curves] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    assert curves[1]["test_accuracy"] == "0.95"


def test_without_runs_the_published_data_stay(tree):
    tree()
    assert not (tree.root / "images/results.csv").exists()


def test_merging_unites_columns(tmp_path):
    key, path = {"dataset": "d", "profile": "p", "recipe": "r"}, tmp_path / "a.csv"
    merged(path, [key | {"seed": 10, "old": 1}]).to_csv(path, index=False)
    merged(path, [key | {"seed": 9, "new": None, "more": "a,b"}]).to_csv(path, index=False)
    assert [(row["seed"], row["old"], row["new"], row["more"]) for row in rows(path)] == [
        ("9", "", "", "a,b"),
        ("10", "1", "", ""),
    ]


# --- from the command line


def test_what_full_runs_left_is_published_alone(tree, monkeypatch, capsys):
    monkeypatch.setenv("RUNS_ROOT", str(tree.root / "runs"))
    finish_run(tree.root / "runs", 0, 0.93)
    assert front.main(["--publish-data"], tree.root) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"published {name}"
        for name in ("images/results.csv", "images/curves.csv", "images/predictions.npz", "README.md")
    ]
    (tree.root / "README.md").write_text("")
    assert front.main(["--publish-data"], tree.root) == 1
    assert "nothing was published" in capsys.readouterr().err
