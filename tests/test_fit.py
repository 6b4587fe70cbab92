import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PYTHON, small
from torch.optim.lr_scheduler import ReduceLROnPlateau

from helpers import data, devices, models, recipes, training
from helpers.data import Normalize
from helpers.devices import Compute
from helpers.files import write_atomic
from helpers.training import Run, Setting, State, fit, run_directory, run_of, store
from helpers.training import __main__ as command_line

story = sys.modules["helpers.training.fit"]  # the module; the package's `fit` is its function

TRAIN = """
import sys, time; sys.path.insert(0, {tests!r})
from conftest import small, tiny_data
from helpers import training
def wait(run, saved, follow=training.Run.follow):
    if len(saved["history"]) == {epochs}:
        time.sleep(600)
    follow(run, saved)
training.Run.follow = wait
training.fit(small(), tiny_data(), profile="full", seed=3)
"""


def weights(run):
    checkpoint = run.checkpoint()
    averaged = {f"averaged.{k}": v for k, v in checkpoint["average"]["module"].items()}
    return {**checkpoint["model"], **averaged}


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def right_by_epoch(run):
    """(epochs, N) bool of the test images."""
    kept = np.load(run.path / "answers.npz")
    return kept["predicted"] == kept["labels"]


def steps_csv(run):
    return (run.path / "steps.csv").read_text()


def setting_of(recipe, dataset, compute=None):
    return Setting(recipe, dataset, "full", 0, compute or devices.compute())


def untimed(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "date", "matrix_rate")} for row in rows]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A run that nothing disturbed."""
    root = tmp_path_factory.mktemp("undisturbed")
    fitted = fit(small(), tiny, profile="full", seed=3, root=root, hidden=True)
    return fitted, run_of(fitted.record, root)


def test_a_run_leaves_history_steps_record_and_checkpoint(trained, small_recipe):
    (model, history, record), run = trained
    assert sorted(p.name for p in run.path.iterdir()) == [
        ".lock",
        "answers.npz",
        "checkpoint.pt",
        "history.csv",
        "record.json",
        "steps.csv",
    ]
    assert [row["epoch"] for row in history] == [1, 2, 3] and run.history() == history
    head, *rows = steps_csv(run).splitlines()
    assert head == "step,lr,momentum" and [row.partition(",")[0] for row in rows] == [*map(str, range(15))]
    assert run.record() == json.loads(json.dumps(record))
    assert record["recipe"]["max_lr"] == small_recipe.max_lr and record["seed"] == 3
    assert record["test_accuracy"] == history[-1]["ema_test_accuracy"] and record["weights"] == "averaged"
    assert record["best_test_accuracy"] == max(row["ema_test_accuracy"] for row in history)
    assert record["decides_on"] is None and record["loader"] == "albumentations"
    assert not model.training and history[0]["val_loss"] is None


def test_a_run_keeps_which_test_images_its_judged_weights_got_right(trained, tiny):
    (model, history, _), run = trained
    right = right_by_epoch(run)
    assert right.shape == (3, 60) and right.dtype == bool
    assert right.mean(1).tolist() == pytest.approx([row["ema_test_accuracy"] for row in history], abs=1e-12)
    normalize = Normalize(tiny.mean, tiny.std, devices.compute().suited_to(8))
    assert (training.predict(model, tiny.test, normalize).argmax(1).numpy() == tiny.test.labels).tolist() == right[
        -1
    ].tolist()


def test_a_run_keeps_what_its_judged_weights_said_in_the_end(trained, tiny):
    (model, _, record), run = trained
    said = run.answers()
    assert said.accuracy == record["test_accuracy"]
    np.testing.assert_array_equal(said.right, right_by_epoch(run)[-1])
    np.testing.assert_array_equal(said.labels, tiny.test.labels)
    assert 0.0999 < said.confidence.min() <= said.confidence.max() <= 1  # of ten classes the likeliest


def test_a_run_without_an_average_is_judged_by_its_raw_weights(small_recipe, tiny):
    fitted = fit(dataclasses.replace(small_recipe, ema_epochs=0.0), tiny, profile="full", hidden=True)
    right = right_by_epoch(run_of(fitted.record))
    assert right.mean(1).tolist() == pytest.approx([row["test_accuracy"] for row in fitted.history], abs=1e-12)


def test_the_returned_net_has_the_recorded_accuracy_and_the_loss_s_scale(trained, tiny):
    (model, _, record), run = trained
    normalize = Normalize(tiny.mean, tiny.std, devices.compute().suited_to(8))
    loss, accuracy = training.evaluate(model, tiny.test, normalize)
    assert accuracy == record["test_accuracy"] and loss == pytest.approx(record["test_loss"], rel=1e-2)
    stored = run.checkpoint()["average"]["module"]["head.weight"]
    assert torch.equal(model.head.weight, stored / 8)


def test_same_seed_same_weights_other_seed_other_weights(trained, small_recipe, tiny, tmp_path):
    again = fit(small_recipe, tiny, profile="full", seed=3, root=tmp_path / "again", hidden=True)
    assert equal(weights(trained[1]), weights(run_of(again.record, tmp_path / "again")))
    other = fit(small_recipe, tiny, profile="full", seed=4, root=tmp_path / "again", hidden=True)
    assert not equal(weights(trained[1]), weights(run_of(other.record, tmp_path / "again")))


def test_the_caller_s_generator_is_left_alone(small_recipe, tiny):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for _ in range(2):  # trained, then taken from the store
        fit(small_recipe, tiny, profile="full", hidden=True)
        assert torch.equal(torch.get_rng_state(), before)


def test_killed_by_the_system_a_run_continues_bit_for_bit(trained, small_recipe, tiny):
    epochs = 2
    fitted, undisturbed = trained
    run = run_directory("shapes10", "full", "small", 3)
    script = TRAIN.format(tests=str(Path(__file__).parent), epochs=epochs)
    process = subprocess.Popen([PYTHON, "-c", script], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (run.path / "checkpoint.pt").exists() or len(run.checkpoint()["history"]) < epochs:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.record() is None and len(run.history() or []) < epochs  # killed between the checkpoint and the history
    again = fit(small_recipe, tiny, profile="full", seed=3, hidden=True)
    assert equal(weights(run), weights(undisturbed))
    assert untimed(again.history) == untimed(fitted.history) and steps_csv(run) == steps_csv(undisturbed)
    assert (right_by_epoch(run) == right_by_epoch(undisturbed)).all()
    assert untimed([again.record]) == untimed([fitted.record])


def stop_at(name, time, monkeypatch):
    """Stop the training when it is about to replace a file for the so-manieth time."""
    replacing, seen = store.replacing, []

    def stopping(path):
        seen.append(path.name)
        if seen.count(name) == time and path.name == name:
            raise KeyboardInterrupt
        return replacing(path)

    monkeypatch.setattr(store, "replacing", stopping)
    monkeypatch.setattr(store, "write_atomic", lambda path, text: stopping(path) and write_atomic(path, text))


@pytest.mark.parametrize("path, other", [("albumentations", "device"), ("device", "albumentations")])
def test_a_run_keeps_the_loader_it_began_with(path, other, small_recipe, tiny, monkeypatch, tmp_path):
    """As when a run that began on a GPU goes on without one."""
    begun, later = (devices.compute(loader=name) for name in (path, other))
    undisturbed = fit(small_recipe, tiny, profile="full", root=tmp_path / "undisturbed", compute=begun, hidden=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at("checkpoint.pt", 2, patch)
        fit(small_recipe, tiny, profile="full", compute=begun, hidden=True)
    again = fit(small_recipe, tiny, profile="full", compute=later, hidden=True)
    assert again.record["loader"] == undisturbed.record["loader"] == path
    assert equal(again.model.state_dict(), undisturbed.model.state_dict())
    anew = fit(small_recipe, tiny, profile="full", root=tmp_path / "other", compute=later, hidden=True)
    assert anew.record["loader"] == other and not equal(anew.model.state_dict(), again.model.state_dict())


def test_a_run_keeps_the_threads_it_began_with(small_recipe, tiny, monkeypatch):
    """With others sums round otherwise; whoever goes on, the caller's threads come back."""
    seen, step = [], story.train_step
    monkeypatch.setattr(story, "train_step", lambda *given: seen.append(torch.get_num_threads()) or step(*given))
    with devices.trainable(2), monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at("checkpoint.pt", 2, patch)
        fit(small_recipe, tiny, profile="full", hidden=True)
    assert len(seen) == 10 and torch.get_num_threads() == 1
    fit(small_recipe, tiny, profile="full", hidden=True)
    assert seen == [2] * 20 and torch.get_num_threads() == 1  # the second epoch, which was lost, and the third


def test_a_run_that_takes_more_than_a_minute_says_once_when_it_will_be_done(small_recipe, tiny, monkeypatch, capsys):
    """Fifteen steps, each of which seems to take ten seconds: twelve are left after the third."""
    monkeypatch.setattr(story.tqdm, "format_dict", property(lambda bar: {"elapsed": 10.0 * bar.n}))
    monkeypatch.setattr(story.tqdm, "update", lambda bar: setattr(bar, "n", bar.n + 1) or True)
    for unused in ("set_postfix_str", "refresh", "display"):
        monkeypatch.setattr(story.tqdm, unused, lambda *given, **more: None)
    fit(small_recipe, tiny, profile="full")
    assert capsys.readouterr().out.count("at this pace it will be done in 2 min 0 s") == 1


def test_a_setting_s_loader_is_what_the_computing_asks_for(small_recipe, tiny):
    plain, asked = (setting_of(small_recipe, tiny, devices.compute("cpu", loader=name)) for name in (None, "device"))
    assert type(plain.batches(tiny.train)) is data.TrainLoader and plain.loader == "albumentations"
    assert type(asked.batches(tiny.train)) is data.DeviceLoader and asked.loader == "device"


@pytest.mark.parametrize("device, cores, expected", [("cpu", 3, 0), ("cuda", 3, 3), ("cuda", 64, 8)])
def test_only_accelerators_get_workers_and_no_more_than_cores(device, cores, expected, small_recipe, tiny, monkeypatch):
    monkeypatch.setattr(devices, "cores", lambda: cores)
    monkeypatch.setattr(Setting, "normalize", Normalize(tiny.mean, tiny.std, Compute("cpu", "fp32")))
    setting = setting_of(small_recipe, tiny, Compute(device, "fp32", loader="albumentations"))
    assert setting.batches(tiny.train).workers == expected


def plateau_recipe(**changes):
    """A ResNet18 of width 8 that holds out 50 of 150 images."""
    cut = {"name": "plateau", "width": 8, "batch_size": 50, "epochs": 2, "holdout": 50}
    return dataclasses.replace(recipes.get("resnet18-plateau"), **cut, **changes)


def test_the_best_weights_survive_a_stop_before_they_are_written(tiny, monkeypatch):
    recipe = plateau_recipe(max_lr=0.01)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at("best.pt", 1, patch)
        fit(recipe, tiny, profile="full", hidden=True)
    fitted = fit(recipe, tiny, profile="full", hidden=True)
    losses = [row["val_loss"] for row in fitted.history]
    best = torch.load(run_of(fitted.record).path / "best.pt", weights_only=True)
    assert best["epoch"] == 1 + losses.index(min(losses))


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("davidnet-onecycle", {"min_lr": 0.5}, "need 0 <= min_lr <= max_lr, got min_lr=0.5, max_lr=0.1"),
        ("davidnet-onecycle", {"peak": 1}, "peak is a share of the run, at least 0 and below 1, not 1.0"),
        ("davidnet-onecycle", {"momentum": 0}, "Nesterov momentum requires a momentum"),
        ("resnet18-plateau", {"factor": 2}, "Factor should be < 1"),
    ],
)
def test_values_that_make_no_training_together_are_refused_before_the_first_step(name, changes, message, tiny):
    recipe = recipes.get(name, {**changes, "width": 8, "holdout": 50})
    with pytest.raises(ValueError, match=message):
        fit(recipe, tiny, profile="full", hidden=True)


@pytest.mark.parametrize("before, after", [("fp32", "fp16"), ("fp16", "fp32")])
def test_a_run_goes_on_with_or_without_a_gradient_scaler(before, after, small_recipe, tiny):
    """As when a T4 takes over from a machine that computes in bf16, or hands over to it."""
    states = [State(setting_of(small_recipe, tiny, Compute("cpu", form)), 5) for form in (before, after)]
    states[0].history.append({"epoch": 1})
    states[1].restore(states[0].saved())
    assert states[1].scaler.is_enabled() == (after == "fp16") and len(states[1].history) == 1


def test_the_record_names_every_device_and_commit_that_trained_a_run(small_recipe, tiny, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "commit", lambda: "first")
        stop_at("checkpoint.pt", 2, patch)
        fit(small_recipe, tiny, profile="full", compute=Compute("cpu", "fp32"), hidden=True)
    monkeypatch.setattr(store, "commit", lambda: "second")
    fitted = fit(small_recipe, tiny, profile="full", compute=Compute("cpu", "bf16"), hidden=True)
    first, then, second = fitted.record["device"].rpartition(", then ")
    assert first.endswith("fp32") and then and second.endswith("bf16")
    assert fitted.record["commit"] == "first, then second"


def test_a_net_that_breaks_in_its_last_step_is_no_success(small_recipe, tiny, monkeypatch):
    def break_after_the_epoch(state, *arguments, train_epoch=story.train_epoch):
        row = train_epoch(state, *arguments)
        with torch.no_grad():
            state.model.head.weight.fill_(float("nan"))
        return row

    monkeypatch.setattr(story, "train_epoch", break_after_the_epoch)
    with pytest.raises(training.TrainingDiverged, match="the loss became nan by step 5"):
        fit(small_recipe, tiny, profile="full", hidden=True)
    assert run_directory("shapes10", "full", "small", 0).checkpoint() is None


@pytest.mark.parametrize(
    "name, time", [("checkpoint.pt", 2), ("history.csv", 2), ("steps.csv", 2), ("answers.npz", 1), ("record.json", 1)]
)
def test_stopped_between_any_two_files_a_run_continues_bit_for_bit(
    name, time, trained, small_recipe, tiny, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(name, time, patch)
        fit(small_recipe, tiny, profile="full", seed=3, hidden=True)
    again = fit(small_recipe, tiny, profile="full", seed=3, hidden=True)
    run = run_of(again.record)
    assert equal(weights(run), weights(trained[1])) and untimed(run.history()) == untimed(trained[0].history)
    assert steps_csv(run) == steps_csv(trained[1]) and (right_by_epoch(run) == right_by_epoch(trained[1])).all()


def test_a_finished_run_is_not_trained_again_and_needs_no_writing(trained, small_recipe, tiny, monkeypatch, capsys):
    fitted, run = trained
    monkeypatch.setattr(Run, "lock", None)
    again = fit(small_recipe, tiny, profile="full", seed=3, root=run.path.parents[3])
    assert again.history == fitted.history and again.record == run.record()
    assert equal(again.model.state_dict(), fitted.model.state_dict())
    shown = capsys.readouterr().out
    assert shown.count("epoch ") == 3 and "trained before" in shown


def test_a_run_is_never_mixed_with_another_configuration(trained, small_recipe, tiny, tmp_path):
    root = trained[1].path.parents[3]
    changed = dataclasses.replace(small_recipe, max_lr=0.2)
    with pytest.raises(ValueError, match=r"another configuration \(max_lr was 0.1, is 0.2\).*an override"):
        fit(changed, tiny, profile="full", seed=3, root=root, hidden=True)
    with pytest.raises(ValueError, match="n_train was 150, is 120"):
        fit(small_recipe, tiny.subset(120, None), profile="full", seed=3, root=root, hidden=True)
    shutil.copytree(root, tmp_path / "copy")
    next((tmp_path / "copy").rglob("record.json")).unlink()  # unfinished runs are guarded as well
    with pytest.raises(ValueError, match="max_lr was 0.1, is 0.2"):
        fit(changed, tiny, profile="full", seed=3, root=tmp_path / "copy", hidden=True)


def relabelled(dataset):
    """The same images under other labels."""
    train = data.Images(dataset.train.images, (dataset.train.labels + 1) % 10)
    return dataclasses.replace(dataset, train=train)


def test_other_labels_under_the_same_name_are_another_configuration(trained, small_recipe, tiny, tmp_path):
    said = r"\(data_digest was [0-9a-f]{16}, is [0-9a-f]{16}\).*and give other data another name"
    root = shutil.copytree(trained[1].path.parents[3], tmp_path / "copy")
    with pytest.raises(ValueError, match=said):
        fit(small_recipe, relabelled(tiny), profile="full", seed=3, root=root, hidden=True)
    next(root.rglob("record.json")).unlink()
    with pytest.raises(ValueError, match=said):
        fit(small_recipe, relabelled(tiny), profile="full", seed=3, root=root, hidden=True)


def test_a_finished_run_tells_in_which_number_format_it_was_trained(small_recipe, tiny, monkeypatch, capsys):
    for precision in ("bf16", "fp32"):  # the second is not trained: the run is there
        monkeypatch.setenv("HELPERS_PRECISION", precision)
        fitted = fit(small_recipe, tiny, profile="full")
    shown = capsys.readouterr().out
    assert "trained before, on 20" in shown and shown.splitlines()[-1].endswith("thread), bf16")
    assert fitted.record["device"].endswith(", bf16")


def test_a_finished_run_whose_history_was_cut_short_comes_back_whole(trained, small_recipe, tiny, tmp_path):
    root = shutil.copytree(trained[1].path.parents[3], tmp_path / "copy")
    path = next(root.rglob("history.csv"))
    path.write_text(path.read_text()[:-30])
    again = fit(small_recipe, tiny, profile="full", seed=3, root=root, hidden=True)
    assert again.history == Run(path.parent).history() == trained[0].history


@contextlib.contextmanager
def doubles():
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() == torch.float64  # as it was
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {"no gradients": torch.no_grad, "inference": torch.inference_mode, "float64": doubles}
MODES |= {"autocast": lambda: torch.autocast("cpu", torch.bfloat16)}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_whatever_the_caller_has_set_a_run_is_the_same(mode, trained, small_recipe, tiny):
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        again = fit(small_recipe, tiny, profile="full", seed=3, hidden=True)
        assert before == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    assert equal(weights(run_of(again.record)), weights(trained[1]))
    assert untimed(again.history) == untimed(trained[0].history)
    again.model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(weight.dtype == torch.float32 and weight.grad is not None for weight in again.model.parameters())


def test_bf16_inside_a_caller_s_autocast_is_bf16_alone(small_recipe, tiny, tmp_path):
    """Whose block keeps casts of weights from step to step, if it is let."""
    asked = {"profile": "full", "compute": Compute("cpu", "bf16"), "hidden": True}
    alone = fit(small_recipe, tiny, root=tmp_path / "alone", **asked)
    with torch.autocast("cpu", torch.bfloat16):
        inside = fit(small_recipe, tiny, root=tmp_path / "inside", **asked)
    assert untimed(inside.history) == untimed(alone.history)


def test_a_tiny_last_batch_spoils_nothing_and_is_not_planned(small_recipe, tiny):
    """150 images in batches of 149: one image alone would be a batch."""
    recipe = dataclasses.replace(small_recipe, batch_size=149)
    fitted = fit(recipe, tiny, profile="full", hidden=True)
    assert len(steps_csv(run_of(fitted.record)).splitlines()) == 1 + 3
    assert fitted.history[-1]["lr"] == recipe.min_lr and fitted.history[1]["lr"] == recipe.max_lr
    assert all(row["test_loss"] < 5 for row in fitted.history)


def test_seeds_and_fields_may_be_numpy_s(trained, small_recipe, tiny, tmp_path):
    recipe = dataclasses.replace(small_recipe, epochs=np.int64(3), max_lr=np.float64(0.1), batch_size=np.int32(32))
    again = fit(recipe, tiny, profile="full", seed=np.arange(4)[3], root=tmp_path, hidden=True)
    assert equal(weights(run_of(again.record, tmp_path)), weights(trained[1]))
    assert run_of(again.record, tmp_path).record()["seed"] == 3


def test_a_plateau_holds_out_images_decides_by_them_and_keeps_the_best(tiny):
    recipe = dataclasses.replace(plateau_recipe(patience=0), epochs=3)
    fitted = fit(recipe, tiny, profile="full", hidden=True)
    losses = [row["val_loss"] for row in fitted.history]
    cut = losses[1] >= losses[0] * (1 - 1e-4)  # patience 0: an epoch that is not better cuts the next one's rate
    assert [row["lr"] for row in fitted.history] == [0.1, 0.1, 0.1 * recipe.factor if cut else 0.1]
    best_epoch = 1 + min(range(3), key=losses.__getitem__)
    saved = torch.load(run_of(fitted.record).path / "best.pt", weights_only=True)
    assert saved["epoch"] == best_epoch and fitted.record["decides_on"] == "validation"
    assert fitted.record["weights"] == "raw" and fitted.record["val_accuracy"] == fitted.history[-1]["val_accuracy"]
    models.build("resnet18", 10, 8).load_state_dict(saved["model"])


def test_the_plateau_sees_the_loss_it_claims_to_watch(tiny, monkeypatch):
    seen, steps = [], []
    step = ReduceLROnPlateau.step
    monkeypatch.setattr(ReduceLROnPlateau, "step", lambda self, loss: seen.append(loss) or step(self, loss))

    def noted(state, images, labels, *rest, train_step=story.train_step):
        steps.append((train_step(state, images, labels, *rest), len(labels)))
        return steps[-1][0]

    monkeypatch.setattr(story, "train_step", noted)
    base = dataclasses.replace(recipes.get("resnet18-plateau"), width=8, batch_size=40, epochs=1, holdout=50)
    found = [
        fit(dataclasses.replace(base, name=f"w-{watched[0]}", watches=watched), tiny, profile="full", hidden=True)
        for watched in recipes.WATCHED
    ]
    (loss, _), images = steps[-1]
    assert seen == [found[0].history[0]["val_loss"], found[1].history[0]["test_loss"], loss.item()]
    assert found[2].history[0]["last_batch_loss"] == loss.item() and "last_batch_loss" not in found[0].history[0]
    assert images == 20  # the last batch of 100 images is small, as that of run A's 50,000 was
    assert [fitted.record["decides_on"] for fitted in found] == ["validation", "test", "last batch"]


def test_training_never_sees_held_out_images(tiny):
    recipe = dataclasses.replace(recipes.get("resnet18-plateau"), holdout=50)
    splits = setting_of(recipe, tiny).splits()
    assert (len(splits["train"]), len(splits["val"]), len(splits["test"])) == (100, 50, 60)
    kept = {image.tobytes() for image in splits["train"].images}
    assert not kept & {image.tobytes() for image in splits["val"].images}


def test_half_normalises_by_a_half_and_per_image_by_what_many_copied(tiny):
    white = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    half, copied = (setting_of(recipes.get(f"published-{name}"), tiny).normalize(white) for name in ("c", "d"))
    assert torch.allclose(half, torch.ones(1, 3, 32, 32))
    expected = (1 - torch.tensor(tiny.mean)) / torch.tensor([0.2023, 0.1994, 0.2010])
    torch.testing.assert_close(copied[0, :, 0, 0], expected)


def test_the_deviation_that_many_copied_is_the_mean_of_the_images_own(cifar10):
    images = cifar10.train.images.reshape(-1, 1024, 3) / np.float32(255)
    np.testing.assert_allclose(images.std(1).mean(0), [0.2023, 0.1994, 0.2010], atol=2e-4)


def test_a_runs_folder_that_cannot_be_written_is_named(small_recipe, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        fit(small_recipe, tiny, profile="full", root=tmp_path / "file", hidden=True)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "unknown recipe 'nothing'; there are: davidnet-onecycle"),
        (["davidnet-onecycle", "--set", "lr=1"], "unknown field 'lr'; overrides may set"),
        (["davidnet-onecycle", "--set", "epochs"], "epochs must be a whole number of at least 1, not ''"),
        (["davidnet-onecycle", "--seed", "-1"], "seed must be a whole number of at least 0, not -1"),
        (["davidnet-onecycle", "--set", "epochs=many"], "epochs must be a whole number of at least 1, not 'many'"),
        (["davidnet-onecycle", "--profile", "slow"], "unknown profile 'slow'; allowed: auto, smoke, quick, full"),
        (["davidnet-onecycle", "--dataset", "mnist"], "nknown data set 'mnist'"),
    ],
)
def test_the_command_line_tells_mistakes_in_one_line(arguments, message, capsys):
    assert command_line.main([*arguments, *([] if "--dataset" in arguments else ["--dataset", "shapes10"])]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("error: ")


def test_the_command_line_trains_and_needs_no_notebook_libraries(own_runs):
    """A bare GPU machine has torch, torchvision, albumentations, numpy, tqdm and filelock."""
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'pandas', 'seaborn', 'IPython', 'papermill',"
        " 'torch_lr_finder', 'torchinfo', 'ipywidgets', 'psutil', 'nbformat']));"
        "from helpers.training import __main__ as command_line; asked = ['davidnet-onecycle', '--set', 'epochs=1'];"
        "sys.exit(command_line.main([*asked, '--profile', 'smoke', '--dataset', 'shapes10']))"
    )
    done = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "davidnet-onecycle+epochs=1, seed 0: test accuracy" in done.stdout and "epoch  1/1" in done.stdout
    assert len(list(own_runs.rglob("record.json"))) == 1


def test_real_cifar10_is_learned(cifar10, tmp_path):
    """600 images, five epochs: far above chance, on the data the series is about."""
    recipe = dataclasses.replace(recipes.get("davidnet-onecycle-plus"), name="real", width=16, batch_size=50, epochs=5)
    fitted = fit(recipe, cifar10.subset(600, 300), profile="full", root=tmp_path, hidden=True)
    assert fitted.record["test_accuracy"] > 0.2 and fitted.record["dataset"] == "cifar10"


def test_settings_are_read_as_python_or_json_or_text():
    asked = ["nesterov=False", "max_lr=.3", "whiten=false", "net=resnet18", "transforms=[]"]
    values = {"nesterov": False, "max_lr": 0.3, "whiten": False, "net": "resnet18", "transforms": []}
    recipe = recipes.get("+".join(["davidnet-onecycle", *asked])).to_dict()
    assert {name: recipe[name] for name in values} == values


@pytest.mark.parametrize("seed", [0.5, True, "1", -1])
def test_a_seed_that_is_no_whole_number_is_refused_before_anything_is_written(seed, tiny, own_runs):
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
        training.fit(small(), tiny, seed=seed)
    assert not own_runs.exists()
