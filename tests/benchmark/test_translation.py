"""The row ``translation``: known truth and real images, by the product's own engine."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from napari_why.benchmark import rows as benchmark_rows
from napari_why.benchmark import run_real_benchmark, run_truth_benchmark
from napari_why.benchmark.data import EffectData
from napari_why.benchmark.results import ResultFolder
from napari_why.simulation import simulate_effect

from .conftest import PROTOCOL

SMALL = replace(PROTOCOL, training=48, held_out=12, scored=4, epochs=1, reference_epochs=1)


@pytest.fixture(autouse=True)
def quick_translators() -> Iterator[None]:
    recipes = dict(benchmark_rows.RECIPES)
    recipes["flowing"] = replace(recipes["flowing"], flow={"epochs": 1, "widths": "4,6"})
    recipes["translating"] = replace(
        recipes["translating"],
        translation={"epochs": 1, "widths": "4,6", "discriminator_widths": "4,6"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_why.benchmark.rows.RECIPES", recipes)
        yield


def test_it_is_measured_where_the_truth_is_known_and_keeps_what_is_locked(tmp_path) -> None:
    table = run_truth_benchmark(
        tmp_path,
        effects=("depolarisation",),
        methods=("translation",),
        seeds=(0,),
        protocol=SMALL,
    )
    rows = table[table["method"] == "translation"]
    assert len(rows) == 2
    assert rows[["validity", "agreement", "feature_distance", "correlation"]].notna().all(axis=None)
    assert (rows["training_seconds"] > 0).all()
    found = ResultFolder(tmp_path).images("depolarisation", 0, "translation")
    for direction in EffectData(SMALL, "depolarisation", 0).directions:
        # DAPI: locked in the network, and so by its translators
        np.testing.assert_array_equal(found[direction.name][:, 0], direction.images[:, 0])
    again = run_truth_benchmark(
        tmp_path, effects=("depolarisation",), methods=("translation",), seeds=(0,), protocol=SMALL
    )
    assert again.equals(table)  # kept, not made again


def test_it_is_measured_on_real_images(tmp_path) -> None:
    table = run_real_benchmark(
        tmp_path,
        "cells",
        simulate_effect(48, size=32),
        methods=("do-nothing", "translation", "flow"),
        size=32,
        epochs=1,
        reference_epochs=1,
        scored=4,
    )
    for name in ("translation", "flow"):
        rows = table[table["method"] == name]
        assert len(rows) == 2
        assert rows["correlation"].isna().all()
        assert rows[["validity", "agreement", "feature_distance"]].notna().all(axis=None)


def test_recipes_without_a_translation_are_the_same_as_on_disk() -> None:
    assert set(benchmark_rows.RECIPES["locked"].to_dict()) == {
        "network",
        "settings",
        "network_parameters",
    }
    row = benchmark_rows.METHODS["translation"]
    assert row.to_dict()["trained"]["translation"]["epochs"] == 1
