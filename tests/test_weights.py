"""Published weights: written from a run, read with checks, chosen by the rule."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import PYTHON
from fixture_runs import full_run

from helpers import data
from helpers.results import published, weights
from helpers.results.weights import WeightsError
from helpers.training import Setting, engine


@pytest.fixture(scope="module")
def store(tiny, tmp_path_factory):
    """A run store with one small full run of each net."""
    root = tmp_path_factory.mktemp("runs")
    full_run(tiny, root)
    full_run(tiny, root, "resnet18-plateau", holdout=30)
    return root


@pytest.fixture
def folder(store, tmp_path):
    """The weights of that store, published."""
    target = tmp_path / "images/weights"
    target.mkdir(parents=True)
    for path, content in weights.files(store, target).items():
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def test_a_loaded_net_answers_as_the_trained_one_did(store, folder, tiny):
    fitted = full_run(tiny, store)  # loads it
    found = weights.load("davidnet", folder)
    images = torch.randn(20, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = found.model(images), fitted.model(images)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    assert not found.model.training
    assert found.facts["test_accuracy"] == fitted.record["test_accuracy"]
    assert (found.facts["recipe"], found.facts["seed"], found.facts["width"]) == ("davidnet-onecycle-plus", 0, 8)


def test_matrices_have_16_bits_and_vectors_32(store):
    content, _ = weights.pack(weights.choose(store)["davidnet"])
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    kinds = {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert kinds["head.weight"] == "F16" and kinds["prep.0.weight"] == "F16"
    assert kinds["prep.1.running_var"] == kinds["head.bias"] == "F32"


def test_publishing_again_gives_the_same_bytes(store, folder):
    again = weights.files(store, folder)
    assert {path.name for path in again} == {"davidnet.safetensors", "resnet18.safetensors", "weights.json"}
    for path, content in again.items():
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_loading_leaves_the_generator_alone(folder):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    weights.load("resnet18", folder)
    assert torch.equal(torch.rand(2), expected)


def test_damage_is_named_with_a_way_out(folder):
    path = folder / "davidnet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(WeightsError, match=r"davidnet.safetensors has .* its checksum is wrong; fetch it again with"):
        weights.load("davidnet", folder)
    path.unlink()
    with pytest.raises(WeightsError, match="davidnet.safetensors is missing"):
        weights.load("davidnet", folder)


def test_weights_of_another_shape_are_refused(folder):
    index = json.loads((folder / "weights.json").read_text())
    index["davidnet"]["width"] = 16
    (folder / "weights.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="does not fit davidnet of width 16"):
        weights.load("davidnet", folder)


def test_unpublished_nets_are_named(folder, tmp_path):
    with pytest.raises(WeightsError, match="no weights of 'vgg' are published; there are: davidnet, resnet18"):
        weights.load("vgg", folder)
    assert weights.published("davidnet", tmp_path) is None
    assert weights.published("davidnet", folder).facts["net"] == "davidnet"


def test_the_choice_does_not_look_at_the_accuracy(tiny, tmp_path):
    for name, seed in (("davidnet-onecycle", 0), ("davidnet-onecycle-plus", 3), ("davidnet-onecycle-plus", 1)):
        full_run(tiny, tmp_path, name, seed, epochs=1)
    full_run(tiny, tmp_path, "davidnet-onecycle", 7, epochs=1, width=16)
    assert weights.choose(tmp_path)["davidnet"].path.parts[-2:] == ("davidnet-onecycle-plus", "seed-1")
    shutil.rmtree(tmp_path / "cifar10/full/davidnet-onecycle-plus")
    assert weights.choose(tmp_path)["davidnet"].path.parts[-2:] == ("davidnet-onecycle", "seed-0")


def test_published_weights_of_a_higher_rank_stay(tiny, folder, tmp_path):
    other = tmp_path / "other"
    full_run(tiny, other, "davidnet-onecycle", 0, epochs=1)
    full_run(tiny, other, "davidnet-onecycle-plus", 1, epochs=1)
    assert weights.files(other, folder) == {}
    full_run(tiny, other, "resnet18-onecycle", 5, epochs=1)
    written = weights.files(other, folder)
    assert {path.name for path in written} == {"resnet18.safetensors", "weights.json"}
    index = json.loads(written[folder / "weights.json"])
    assert (index["davidnet"]["seed"], index["resnet18"]["recipe"]) == (0, "resnet18-onecycle")


def test_an_unfinished_run_has_no_weights(tmp_path):
    from helpers.training.runs import RunDirectory

    with pytest.raises(WeightsError, match="is not finished, or its checkpoint.pt is gone"):
        weights.pack(RunDirectory(tmp_path))


def test_training_does_without_safetensors():
    script = "import sys; sys.modules['safetensors'] = None; import helpers.training, helpers.results.weights as w\n"
    script += "try: w._safetensors()\nexcept w.WeightsError as e: print(e)"
    made = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert "pip install 'safetensors>=0.4'" in made.stdout


@pytest.mark.parametrize("net", weights.CHOICE)
def test_committed_weights_reach_their_recorded_accuracy(net, cifar10):
    """On a thousand real images the rounded net gives the recorded answers, but for a few close calls."""
    found = weights.published(net)
    if found is None:
        assert net not in weights.index()  # none is published yet: nothing may claim to be
        return
    facts = found.facts
    answers = published.read_answers(published.IMAGES / "predictions.npz")[
        facts["dataset"], facts["recipe"], facts["seed"]
    ]
    setting = Setting.of(facts["recipe"], "cifar10", "full", facts["seed"])
    sample = np.arange(0, len(cifar10.test), 10)
    model = setting.compute.place(found.model)
    predicted = engine.predict(model, cifar10.test.take(sample), setting.normalize).argmax(1).numpy()
    assert (predicted == answers.predicted[sample]).mean() > 0.99
    accuracy = (predicted == cifar10.test.labels[sample]).mean()
    assert accuracy == pytest.approx(answers.right[sample].mean(), abs=0.006)
    assert answers.accuracy == pytest.approx(facts["test_accuracy"], abs=5e-4)
    assert data.load("cifar10").test.labels.tolist() == answers.labels.tolist()
