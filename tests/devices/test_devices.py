"""Choosing where to compute."""

import os
from collections.abc import Callable

import pytest
import torch

from napari_why.core.devices import (
    choose_device,
    default_threads,
    float64_device,
    limited_threads,
    to_float64,
)
from napari_why.core.errors import ParameterError

find_float64_device = float64_device.__wrapped__  # without what it remembers


def test_auto_chooses_a_device_and_says_why() -> None:
    choice = choose_device("auto")
    torch.zeros(1, device=choice.name)
    assert choice.reason


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu").name == "cpu"


@pytest.mark.parametrize("wanted", ["tpu", "cuda:99", "", "CPU"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(wanted: str) -> None:
    with pytest.raises(ParameterError, match=rf"found '{wanted}'; expected auto or one of cpu"):
        choose_device(wanted)


def test_auto_without_any_gpu_is_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device().name == "cpu"


def test_auto_takes_the_apple_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device().name == "mps"


def test_auto_takes_the_first_of_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")

    assert choose_device().name == "cuda:0"
    assert "GPU number 0" in choose_device().reason
    assert choose_device("cuda").name == "cuda:0"
    assert choose_device("cuda:1").name == "cuda:1"


@pytest.mark.parametrize(
    "refusal", [TypeError("no float64 here"), RuntimeError("aspect fp64 is not supported")]
)
def test_the_processor_stands_in_for_a_device_without_float64(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    monkeypatch.setattr(torch, "zeros", refuse(refusal))
    assert find_float64_device(torch.device("xpu")).type == "cpu"


def test_full_memory_does_not_mean_that_there_is_no_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "zeros", refuse(torch.OutOfMemoryError("tried to allocate 8 bytes")))
    with pytest.raises(torch.OutOfMemoryError):
        find_float64_device(torch.device("cuda"))


def test_the_processor_has_float64() -> None:
    tensor = torch.tensor([0.1])
    assert float64_device(tensor.device) == tensor.device
    assert torch.equal(to_float64(tensor), tensor.double())


def refuse(error: Exception) -> Callable[..., torch.Tensor]:
    def raising(*args: object, **kwargs: object) -> torch.Tensor:
        raise error

    return raising


def test_one_core_is_left_for_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert default_threads() == 7
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert default_threads() == 1


def test_threads_are_counted_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert default_threads() == 3


def test_threads_are_limited_inside_the_block_only() -> None:
    before = torch.get_num_threads()
    with limited_threads(3) as count:
        assert count == torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_threads_are_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), limited_threads(3):
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_the_default_cap_never_raises_a_lower_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    with limited_threads(2), limited_threads() as count:
        assert count == 2
