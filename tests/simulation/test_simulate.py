from pathlib import Path

import numpy as np
import pytest

from napari_why.core.errors import ParameterError, WhyError
from napari_why.datasets import Dataset
from napari_why.simulation import SimulatedScene, simulate, simulate_to_folder


def test_a_labelled_set_with_plates_and_wells() -> None:
    dataset = simulate(48, size=32, plates=2, seed=5)
    assert dataset.classes == ("diseased", "treated")
    assert dataset.group_columns == ("plate", "well")
    assert dataset.summary()["images"].tolist() == [24, 24]
    assert dataset.summary()["groups"].tolist() == [12, 12]
    assert dataset.image(0).dtype == np.uint16
    assert dataset.image(0).attrs["unit"] == "um"
    wells = dataset.table.groupby(["plate", "well"])["label"].nunique()
    assert (wells == 1).all()
    assert not dataset.table.duplicated(["plate", "well", "field"]).any()
    assert len(dataset.split().part("test")) > 0


def test_the_scene_of_a_row_renders_the_other_class() -> None:
    dataset = simulate(6, size=32, seed=9)
    row = 3
    number = int(dataset.table["scene"][row])
    scene = SimulatedScene(number, seed=9, size=32)
    label = dataset.table["label"][row]
    assert scene.image(label).equals(dataset.image(row))
    other = next(name for name in dataset.classes if name != label)
    assert not scene.image(other).equals(dataset.image(row))


def test_seeds_make_the_same_set_again_and_another() -> None:
    assert simulate(6, size=32, seed=1).fingerprint == simulate(6, size=32, seed=1).fingerprint
    assert simulate(6, size=32, seed=1).fingerprint != simulate(6, size=32, seed=2).fingerprint


def test_three_classes_can_be_told_apart_by_brightness_and_graininess() -> None:
    dataset = simulate(60, classes=("healthy", "diseased", "treated"), size=64)
    planes = [dataset.image(n).sel(c="TMRM").values.astype(float) - 100 for n in range(60)]
    spread = np.array([plane.std() for plane in planes])
    of_class = [spread[dataset.labels == number].mean() for number in range(3)]
    diseased, healthy, treated = of_class
    assert diseased > 1.5 * healthy
    assert diseased > 2 * treated


def test_to_a_folder_and_back(tmp_path: Path) -> None:
    csv = simulate_to_folder(tmp_path / "set", 6, size=32, seed=4)
    dataset = Dataset.open(csv.parent)
    assert dataset.channels == ("DAPI", "TMRM")
    assert dataset.fingerprint == simulate(6, size=32, seed=4).fingerprint
    with pytest.raises(WhyError, match="not empty"):
        simulate_to_folder(tmp_path / "set", 6, size=32)


def test_cancelling_keeps_the_images_so_far() -> None:
    events: list[object] = []
    dataset = simulate(20, size=32, on_event=events.append, cancelled=lambda: len(events) > 5)
    assert len(dataset) == 5
    with pytest.raises(WhyError, match="cancelled after 1 images"):
        events.clear()
        simulate(20, size=32, on_event=events.append, cancelled=lambda: len(events) > 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 1},
        {"classes": ("healthy",)},
        {"classes": ("healthy", "sick")},
        {"size": 8},
        {"plates": 0},
        {"wells": 200},
        {"pixel_size": 0.0},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    values: dict[str, object] = {"count": 4, "size": 32} | wrong
    with pytest.raises(ParameterError):
        simulate(**values)
