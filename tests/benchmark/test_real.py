import numpy as np
import pytest

from napari_why.benchmark import RealData, as_text, run_real_benchmark
from napari_why.core.errors import ParameterError
from napari_why.simulation import simulate_effect


def test_images_are_sized_and_no_test_image_is_trained_on() -> None:
    data = RealData("cells", simulate_effect(60, size=40), size=32, scored=4)
    there, back = data.directions
    assert there.images.shape == (4, 2, 32, 32)
    assert there.images.dtype == np.uint16
    assert there.truth is None
    np.testing.assert_array_equal(there.real, back.images)
    same = RealData("cells", simulate_effect(60, size=32), size=32, scored=100)
    train = same.dataset.part("train")
    trained = {train.image(index).to_numpy().tobytes() for index in range(len(train))}
    assert not trained & {image.tobytes() for image in same.directions[0].images}


def test_without_the_truth_three_figures_are_left(tmp_path) -> None:
    dataset = simulate_effect(64, size=32)
    table = run_real_benchmark(
        tmp_path,
        "cells",
        dataset,
        methods=("do-nothing", "transport"),
        size=32,
        epochs=1,
        reference_epochs=4,
        scored=8,
    )
    assert len(table) == 8  # two rows and both baselines, in both directions
    assert table["correlation"].isna().all()
    assert table["off_target"].isna().all()
    nothing = table[table["method"] == "do-nothing"]
    assert nothing["feature_distance"].tolist() == pytest.approx([1, 1])
    assert table[["validity", "agreement", "mask_area"]].notna().all(axis=None)
    assert "cells\thealthy to treated\ttransport" in as_text(table)


def test_rows_that_need_the_truth_are_refused(tmp_path) -> None:
    with pytest.raises(ParameterError, match="found TRUTH, which need the true change"):
        run_real_benchmark(tmp_path, "cells", simulate_effect(8, size=16), methods=("TRUTH",))
