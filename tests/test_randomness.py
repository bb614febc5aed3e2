"""``rng`` beside ``seed``: the same number is the same draw, and a generator gives another each time."""

import inspect

import numpy as np
import pytest

import napari_why as why
from napari_why.attribution import METHODS
from napari_why.core.errors import ParameterError
from napari_why.core.options import Options, parameters_of, validated
from napari_why.core.randomness import choose_seed, seed_from, with_seed
from napari_why.datasets import Dataset
from napari_why.fitting import FitOptions
from napari_why.generation import ImageGenerator
from napari_why.simulation import simulate, simulate_effect
from napari_why.training import TrainingOptions


def pixels(dataset: Dataset) -> np.ndarray:
    return np.stack([np.asarray(dataset.image(index)) for index in range(len(dataset))])


@pytest.mark.parametrize("make", [simulate, simulate_effect])
def test_a_number_is_the_seed_and_a_generator_gives_one(make) -> None:
    wanted = pixels(make(4, size=32, seed=5))
    assert np.array_equal(pixels(make(4, size=32, rng=5)), wanted)
    generator = np.random.default_rng(1)
    first, second = (pixels(make(4, size=32, rng=generator)) for _ in range(2))
    assert not np.array_equal(first, second)
    again = np.random.default_rng(1)
    assert np.array_equal(pixels(make(4, size=32, rng=again)), first)
    assert np.array_equal(pixels(make(4, size=32, rng=again)), second)


def test_splits_and_folds_take_it() -> None:
    dataset = simulate(48, size=16, wells=12)
    assert list(dataset.split(rng=3).table["split"]) == list(dataset.split(seed=3).table["split"])
    assert list(dataset.split(rng=3).table["split"]) != list(dataset.split(seed=4).table["split"])
    for mine, theirs in zip(dataset.folds(3, rng=2), dataset.folds(3, seed=2), strict=True):
        assert list(mine.table["split"]) == list(theirs.table["split"])


def test_options_and_parameters_of_methods_take_it() -> None:
    for options in (FitOptions, TrainingOptions):
        assert options.of(None, {"rng": 9}).seed == 9
    function = METHODS["rise"].function
    assert validated(function, {"rng": 9})["seed"] == 9
    drawn = validated(function, {"rng": np.random.default_rng(0)})["seed"]
    assert drawn == seed_from(np.random.default_rng(0))
    # what draws nothing takes none
    with pytest.raises(ParameterError, match="found parameter rng"):
        validated(METHODS["occlusion"].function, {"rng": 9})
    with pytest.raises(ParameterError, match="found parameter rng"):
        Options.of(None, {"rng": 9})


def test_every_public_function_with_a_seed_takes_it() -> None:
    """By its own signature, or by options and parameters that it hands on."""
    functions = {name: getattr(why, name) for name in why.__all__}
    functions |= {"split": Dataset.split, "folds": Dataset.folds, "draw": ImageGenerator.sample}
    functions |= {"simulate_effect": simulate_effect}
    seeded = [
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and "seed" in inspect.signature(function).parameters
    ]
    assert {"simulate", "evaluate", "sample", "score_explanation", "split"} <= set(seeded)
    assert [n for n in seeded if "rng" not in inspect.signature(functions[n]).parameters] == []
    # a generator is no number for a form
    for name in ("sample", "draw"):
        assert all(item.name != "rng" for item in parameters_of(functions[name]))


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True, np.random.RandomState(0)])
def test_anything_else_is_refused_in_words(wrong) -> None:
    with pytest.raises(ParameterError, match=r"rng: found .*numpy\.random\.Generator"):
        seed_from(wrong)


def test_both_at_once_are_refused() -> None:
    with pytest.raises(ParameterError, match="one of the two"):
        choose_seed(3, 4)
    with pytest.raises(ParameterError, match="one of the two"):
        with_seed({"seed"}, {"seed": 0, "rng": 4})
    assert with_seed({"seed"}, {"rng": None}) == {}
    assert with_seed({"seed", "rng"}, {"rng": 4}) == {"rng": 4}
