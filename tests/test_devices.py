import os
import platform
import subprocess
import sys

import pytest
import torch

from helpers import devices
from helpers.devices import Compute, cores


def test_default_is_a_device_that_is_there():
    chosen = devices.compute()
    assert torch.zeros(1, device=chosen.device).device.type == chosen.device
    assert chosen.precision in devices.PRECISIONS


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"device": "tpu"}, "unknown device of this machine 'tpu'; allowed: mps, cpu"),
        ({"device": "cpu", "precision": "int8"}, "unknown number format 'int8'; allowed: fp32, bf16, fp16"),
    ],
)
def test_impossible_wishes_are_refused(arguments, message, monkeypatch):
    monkeypatch.setattr(devices, "_present_devices", lambda: ["mps", "cpu"])
    with pytest.raises(ValueError, match=message):
        devices.compute(**arguments)


def test_environment_overrides_the_choice_and_arguments_override_both(monkeypatch):
    monkeypatch.setenv("HELPERS_DEVICE", "cpu")
    monkeypatch.setenv("HELPERS_PRECISION", "fp32")
    assert devices.compute() == Compute("cpu", "fp32")
    assert devices.compute(precision="bf16") == Compute("cpu", "bf16")


def test_autocast_computes_products_in_the_chosen_format():
    square = torch.ones(4, 4)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with Compute("cpu", precision).autocast():
            assert (square @ square).dtype == dtype


def test_narrow_nets_leave_channels_last_on_a_cpu_only():
    assert Compute("cpu", "bf16").suited_to(8).memory_format == torch.contiguous_format
    assert Compute("cpu", "bf16").suited_to(16).memory_format == torch.channels_last
    assert Compute("cuda", "bf16").suited_to(8).memory_format == torch.channels_last


def test_place_moves_weights_into_the_layout():
    net = Compute("cpu", "fp32").place(torch.nn.Conv2d(16, 16, 3))
    assert net.weight.is_contiguous(memory_format=torch.channels_last)


def test_seeded_repeats_inside_and_gives_back_the_generator_even_after_an_error():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with devices.seeded(5):
        first = torch.rand(3)
    with pytest.raises(RuntimeError), devices.seeded(5):
        assert torch.equal(torch.rand(3), first)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


FAULTS = """
import resource, torch
from helpers import devices
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(8)))
devices.Compute("cpu", "fp32").place(torch.nn.Linear(1, 1))
print(min(faults() for _ in range(8)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_cpu_that_holds_a_net_keeps_its_memory():
    """64 MiB taken again and again: page faults only where they go back to the system in between."""
    shown = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout.split()
    assert int(shown[1]) < 20 < int(shown[0])


@pytest.mark.parametrize("capability, expected", [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_cards_before_ampere_take_fp16(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert devices._best_precision("cuda") == expected


@pytest.mark.parametrize("device, waits", [("cpu", True), ("mps", True), ("cuda", False)])
def test_only_cuda_copies_while_the_host_goes_on(device, waits, monkeypatch):
    """Elsewhere the copy of an array that is dropped at once could read memory that was given back."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: asked.append((where, how)) or tensor)
    devices.sent(torch.zeros(3), device)
    assert asked == [((device,), {"non_blocking": not waits})]


def test_repeatable_means_no_benchmark_and_gives_both_settings_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    with pytest.raises(KeyError), devices.repeatable():
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        raise KeyError
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic


@pytest.mark.parametrize("limit, expected", [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 3), (None, 3)])
def test_a_container_s_share_of_the_cores_counts(limit, expected, monkeypatch, tmp_path):
    if limit:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    monkeypatch.setattr("helpers.devices.QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert cores() == expected


def test_threads_are_set_inside_the_block_and_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), devices.trainable(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    with devices.trainable():
        assert torch.get_num_threads() == before


def test_the_rate_of_a_matrix_product_is_its_operations_over_its_time(monkeypatch):
    monkeypatch.setattr(devices.timeit, "repeat", lambda product, repeat, number: [product() or 4.0, 2.0, 4.0])
    state = torch.get_rng_state()
    assert devices.matrix_rate.__wrapped__(devices.compute("cpu", "fp32")) == 2048**3  # the best of all rounds
    assert devices.matrix_rate.__wrapped__(devices.compute("cpu", "fp16")) == 256**3  # a CPU would take minutes
    assert torch.equal(torch.get_rng_state(), state)
