import dataclasses

import pytest
import torch
from helpers.training.settings import Setting

from helpers import devices
from helpers.devices import Compute
from helpers.training import engine, speed


@pytest.fixture(autouse=True)
def memory_as_it_was():
    yield
    devices.keep_memory()


def test_works_take_turns_after_a_round_that_is_not_counted():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    taken = speed.in_turns(works, 2, {"b": lambda: calls.append("prepare b")})
    assert calls == ["a", "prepare b", "b"] * 3
    assert {name: len(values) for name, values in taken.items()} == {"a": 2, "b": 2}
    assert all(wall >= 0 and cpu >= 0 for values in taken.values() for wall, cpu in values)


def test_forms_add_one_thing_at_a_time(monkeypatch):
    monkeypatch.setattr(devices, "keep_memory", lambda keep=True: True)
    found = speed.forms(Compute("cpu", "bf16"))
    assert list(found) == ["plain: fp32, NCHW", "+ channels_last", "+ bf16", "+ memory kept"]
    flat = [(f.compute.memory_format, f.compute.precision, f.keep_memory) for f in found.values()]
    assert [sum(a != b for a, b in zip(one, two)) for one, two in zip(flat, flat[1:])] == [1, 1, 1]
    assert flat[0] == (torch.contiguous_format, "fp32", False)
    assert flat[-1] == (torch.channels_last, "bf16", True)


def test_forms_that_change_nothing_are_left_out(monkeypatch):
    monkeypatch.setattr(devices, "keep_memory", lambda keep=True: False)
    assert list(speed.forms(Compute("cpu", "fp32", torch.contiguous_format))) == ["plain: fp32, NCHW"]
    monkeypatch.setattr(devices, "keep_memory", lambda keep=True: True)
    assert list(speed.forms(Compute("cuda", "fp16"))) == ["plain: fp32, NCHW", "+ channels_last", "+ fp16"]


def test_a_timed_step_is_the_training_step(small_recipe, tiny, monkeypatch):
    taken, real = [], engine.train_step
    monkeypatch.setattr(engine, "train_step", lambda *a: taken.append(a) or real(*a))
    setting = Setting(small_recipe, tiny, "full", 0, Compute("cpu", "fp32", torch.contiguous_format))
    form = next(iter(speed.forms(setting.compute).values()))
    images, labels = torch.tensor(tiny.train.images[:8]), torch.tensor(tiny.train.labels[:8])
    work = speed.one_step(setting, form, images, labels)
    for _ in range(small_recipe.epochs * 3):  # more than its schedule has
        work()
    state, shown = taken[-1][:2]
    assert len(state.steps) == len(taken) == 9 and state.model.training
    assert torch.equal(shown, setting.normalize(images))


def test_the_whole_loop_trains_every_image_augmented(small_recipe, tiny, monkeypatch):
    taken, real = [], engine.train_step
    monkeypatch.setattr(engine, "train_step", lambda *a: taken.append(a) or real(*a))
    recipe = dataclasses.replace(small_recipe, batch_size=10)
    setting = Setting(recipe, tiny, "full", 0, Compute("cpu", "fp32", torch.contiguous_format))
    work = speed.whole_loop(setting, tiny.train.take(range(25)))
    work()
    work()
    assert [len(labels) for _, _, labels, *_ in taken] == [10, 10, 5] * 2
    expected = next(setting.train_loader(tiny.train.take(range(25))).epoch(0))[0]
    assert torch.equal(taken[0][1], setting.normalize(expected))
