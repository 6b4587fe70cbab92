"""Published weights: written from a run, read with checks, chosen by the rule."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fixture_runs import full_run

from helpers import data
from helpers.results import archive, weights
from helpers.training import Fitted, Setting, predict


@pytest.fixture(scope="module")
def store(tiny, tmp_path_factory):
    """A run store with one small full run of each net."""
    root = tmp_path_factory.mktemp("runs")
    full_run(tiny, root)
    full_run(tiny, root, "resnet18-plateau", holdout=30)
    return root


def to_publish(store, folder):
    return weights.to_publish(archive.runs(Path("nowhere"), store), folder, store)


@pytest.fixture
def folder(store, tmp_path):
    """The weights of that store, published."""
    target = tmp_path / "images/weights"
    target.mkdir(parents=True)
    for path, content in to_publish(store, target).items():
        path.write_bytes(content)
    return target


def test_a_loaded_net_answers_as_the_trained_one_did(store, folder, tiny):
    fitted = full_run(tiny, store)  # loads it
    model, facts = weights.published("davidnet", folder)
    images = torch.randn(20, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = model(images), fitted.model(images)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    assert not model.training
    assert facts["test_accuracy"] == fitted.record["test_accuracy"]
    assert (facts["recipe"], facts["seed"], facts["width"]) == ("davidnet-onecycle-plus", 0, 8)


def test_matrices_have_16_bits_and_vectors_32(store):
    content = to_publish(store, Path("nowhere"))[Path("nowhere/davidnet.safetensors")]
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    kinds = {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert kinds["head.weight"] == "F16" and kinds["prep.0.weight"] == "F16"
    assert kinds["prep.1.running_var"] == kinds["head.bias"] == "F32"


def test_publishing_again_gives_the_same_bytes(store, folder):
    again = to_publish(store, folder)
    assert {path.name for path in again} == {"davidnet.safetensors", "resnet18.safetensors", "weights.json"}
    assert all(path.read_bytes() == content for path, content in again.items())


def test_loading_leaves_the_generator_alone(folder):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    weights.published("resnet18", folder)
    assert torch.equal(torch.rand(2), expected)


def test_damage_is_named_with_a_way_out(folder):
    path = folder / "davidnet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(RuntimeError, match="davidnet.safetensors is missing or damaged: its checksum"):
        weights.published("davidnet", folder)
    path.unlink()
    with pytest.raises(RuntimeError, match="fetch it again with: git -C .*/weights checkout -- davidnet.safetensors"):
        weights.published("davidnet", folder)


def test_weights_of_another_shape_are_refused(folder):
    index = json.loads((folder / "weights.json").read_text())
    index["davidnet"]["width"] = 16
    (folder / "weights.json").write_text(json.dumps(index))
    with pytest.raises(RuntimeError, match="size mismatch for prep.0.weight"):
        weights.published("davidnet", folder)


def test_nets_that_are_not_published_are_none(tmp_path):
    assert weights.published("davidnet", tmp_path) is None


def test_a_published_net_stands_in_for_its_own_run_alone(folder, tiny, monkeypatch):
    shipped, fitted = weights.published("davidnet", folder), Fitted("a net", [], {"profile": "quick"})
    monkeypatch.setattr(weights, "published", lambda net: shipped)
    monkeypatch.setattr(weights.training, "fit", lambda *asked, **how: fitted)
    tiny = dataclasses.replace(tiny, name="cifar10")  # as the published run's data are called
    model, facts = weights.trained("davidnet-onecycle-plus", tiny, "quick", 0)
    assert facts is shipped[1] and same_weights(model, shipped[0])
    for other in (("davidnet-onecycle-plus", tiny, "smoke", 0), ("davidnet-onecycle-plus", tiny, "quick", 1)):
        assert weights.trained(*other) == ("a net", fitted.record)
    assert weights.trained("davidnet-onecycle", tiny, "quick", 0) == ("a net", fitted.record)


def same_weights(first, second):
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_the_choice_looks_at_recipe_and_seed_and_not_at_the_accuracy():
    plain, plus, changed = "davidnet-onecycle", "davidnet-onecycle-plus", "davidnet-onecycle-plus+ema_warmup=10"
    rows = [(plain, 0, 0.9), (changed, 0, 0.94), (plus, 3, 0.95), (plus, 1, 0.8)]
    runs = pd.DataFrame(rows, columns=["recipe", "seed", "test_accuracy"]).assign(net="davidnet", date="")
    assert weights.choose(runs) == {"davidnet": (plus, 1)}
    assert weights.choose(runs[:2]) == {"davidnet": (changed, 0)}  # the published net stays until plus itself is run
    later = runs[:2].assign(recipe=[f"{plus}+ease=cosine", changed], date=["2027-01-01", "2026-11-28"])
    assert weights.choose(later) == {"davidnet": (changed, 0)}
    assert weights.choose(runs[:1]) == {"davidnet": (plain, 0)}


def test_weights_stay_where_the_chosen_run_is_published_and_not_in_the_store(store, folder, tmp_path):
    found = archive.runs(tmp_path, store)
    assert weights.to_publish(found, folder, tmp_path / "elsewhere") == {}


@pytest.mark.parametrize("net", weights.CHOICE)
def test_committed_weights_reach_their_recorded_accuracy(net, cifar10):
    """On four hundred real images the rounded net gives the recorded answers, but for a few close calls."""
    found = weights.published(net)
    if found is None:
        assert net not in weights.index()  # none is published yet: nothing may claim to be
        return
    model, facts = found
    answers = archive.answers(root=Path("no-runs"))[f"cifar10/{facts['recipe']}/{facts['seed']}"]
    setting = Setting.of(facts["recipe"], "cifar10", "full", facts["seed"])
    sample = np.arange(0, len(cifar10.test), 25)
    predicted = predict(setting.compute.place(model), cifar10.test.take(sample), setting.normalize).argmax(1).numpy()
    assert (predicted == answers.predicted[sample]).mean() > 0.99
    accuracy = (predicted == cifar10.test.labels[sample]).mean()
    assert accuracy == pytest.approx(answers.right[sample].mean(), abs=0.01)
    assert answers.accuracy == pytest.approx(facts["test_accuracy"], abs=5e-4)
    assert data.load("cifar10").test.labels.tolist() == answers.labels.tolist()
