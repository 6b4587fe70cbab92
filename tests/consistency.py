"""Whether the published files say the same: tables of README and docs, results, curves, predictions, weights."""

from helpers import recipes
from helpers.regenerate.publish import pages
from helpers.regenerate.series import discover
from helpers.results import archive, weights

TOLERANCE = 5e-4  # five images in ten thousand: another device rounds otherwise where a run was asked again


def disagreements(root):
    """What does not fit together among the published files of a repository; empty where all does."""
    images, no_store = root / "images", root / "no-runs"
    runs, histories = archive.runs(images, no_store), archive.histories(images, no_store)
    answers = archive.answers(images, no_store)
    found = list(_tables(root))
    rows = {f"cifar10/{run['recipe']}/{run['seed']}": run for run in runs.to_dict("records")}
    for name, run in rows.items():
        history = histories.pop((run["recipe"], run["seed"]), [])
        found += [f"{name}: {fault}" for fault in _run(run, history, answers.pop(name, None))]
    found += [f"predictions.npz has {name}, results.csv has not" for name in sorted(answers)]
    found += _begun(histories)
    return found + list(_weights(images / "weights", rows))


def _tables(root):
    for page, text in pages(root, discover(root / "notebooks"), root / "no-runs").items():
        if page.read_text(encoding="utf-8") != text:
            yield f"{page.name}: its tables are not those of results.csv, curves.csv and the profiles; publish again"


def _run(facts, history, answers):
    """Faults of one run: its epochs, its answers and its row in results.csv must tell the same accuracy."""
    last = history[-1] if history else {}
    judged = last.get("test_accuracy" if last.get("ema_test_accuracy") is None else "ema_test_accuracy")
    if len(history) != facts["epochs"]:
        yield f"curves.csv has {len(history)} epochs, results.csv {facts['epochs']}"
    elif judged != facts["test_accuracy"]:
        yield f"curves.csv ends at {judged}, results.csv says {facts['test_accuracy']}"
    if answers is None:
        yield "predictions.npz has no answers of it"
    elif abs(answers.accuracy - facts["test_accuracy"]) > TOLERANCE:
        yield f"predictions.npz has {answers.accuracy} right, results.csv says {facts['test_accuracy']}"


def _begun(begun):
    """Faults of the curves of runs under way: their recipe must be known, and not be over."""
    for (name, seed), history in begun.items():
        if name not in recipes.RECIPES or len(history) >= recipes.RECIPES[name].epochs:
            yield f"curves.csv has {name}, seed {seed}, results.csv has not"


def _weights(folder, runs):
    for net, facts in weights.index(folder).items():
        try:
            weights.checked(folder / facts["file"], facts)
        except RuntimeError as error:
            yield str(error)
        run = runs.get(f"{facts['dataset']}/{facts['recipe']}/{facts['seed']}")
        if run is None:
            yield f"the weights of {net} are of {facts['recipe']}, seed {facts['seed']}, which results.csv lacks"
        elif run["test_accuracy"] != facts["test_accuracy"]:
            yield f"the weights of {net} claim {facts['test_accuracy']}, results.csv {run['test_accuracy']}"
