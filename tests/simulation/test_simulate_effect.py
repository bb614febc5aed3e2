import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import ParameterError, WhyError
from napari_why.simulation import EffectScene, effect_scenes, simulate_effect


def test_a_data_set_whose_rows_know_their_truth() -> None:
    dataset = simulate_effect(24, "translocation", size=32, seed=3)
    assert dataset.classes == ("healthy", "treated")
    assert dataset.group_columns == ("plate", "well")
    row = dataset.table.iloc[5]
    scene = EffectScene(
        row["scene"], "translocation", seed=3, size=32, brightness=row["brightness"]
    )
    assert scene.image(row["label"]).equals(dataset.image(5))
    assert len(dataset.split().part("test")) > 0


def test_scenes_of_another_seed_share_no_image() -> None:
    dataset = simulate_effect(8, size=32, seed=1)
    others = effect_scenes(8, size=32, seed=2)
    seen = {dataset.image(n).to_numpy().tobytes() for n in range(8)}
    assert not seen & {
        scene.image(label).to_numpy().tobytes() for scene in others for label in scene.classes
    }


def test_nuisance_plates_tell_the_class_four_times_out_of_five() -> None:
    dataset = simulate_effect(80, "nuisance", size=16)
    table = dataset.table
    bright = table["brightness"] > 1
    assert bright[table["label"] == "treated"].mean() == pytest.approx(0.8)
    assert bright[table["label"] == "healthy"].mean() == pytest.approx(0.2)
    assert table.groupby("plate")["brightness"].nunique().eq(1).all()
    assert table["plate"].nunique() == 4
    assert not table.duplicated(["plate", "well", "field"]).any()
    wells = pd.DataFrame(table).groupby(["plate", "well"])["label"].nunique()
    assert (wells == 1).all()


def test_nuisance_test_scenes_lie_on_all_plates() -> None:
    brightness = [scene.brightness for scene in effect_scenes(8, "nuisance", size=16)]
    assert len(set(brightness)) == 4
    assert np.ptp(brightness) > 0.4


def test_cancelling_keeps_the_images_so_far() -> None:
    events: list[object] = []
    dataset = simulate_effect(
        20, size=16, on_event=events.append, cancelled=lambda: len(events) > 5
    )
    assert len(dataset) == 5
    with pytest.raises(WhyError, match="cancelled after 0 images"):
        simulate_effect(20, size=16, cancelled=lambda: True)


@pytest.mark.parametrize(
    "wrong",
    [{"count": 1}, {"effect": "magic"}, {"plates": 1}, {"plate_share": 1.5}, {"strength": 3.0}],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        simulate_effect(**({"count": 8, "effect": "nuisance", "size": 16} | wrong))
