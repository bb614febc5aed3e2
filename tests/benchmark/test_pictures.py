import numpy as np

from napari_why.benchmark import EffectData, Shown, draw_side_by_side
from napari_why.benchmark.pictures import write_pictures

from .conftest import PROTOCOL, Finished


def test_all_changes_have_one_scale_that_nothing_exceeds() -> None:
    source = np.full((2, 8, 8), 1000, dtype=np.uint16)
    changed, truth = source.copy(), np.zeros((2, 8, 8))
    changed[1] += 400
    truth[1] = 900.0
    picture = draw_side_by_side([Shown("a", source, changed, truth)], ("DAPI", "TMRM"), "title")
    images = [axes.images[0] for axes in picture.axes if axes.images]
    changes = [image for image in images if image.get_cmap().name == "RdBu_r"]
    assert len(images) == 8
    assert {image.get_clim() for image in changes} == {(-900.0, 900.0)}
    assert sorted(float(image.get_array().max()) for image in changes) == [0, 0, 400, 900]
    of_tmrm = [image for image in images if image.get_cmap().name == "gray"][2:]
    assert len({image.get_clim() for image in of_tmrm}) == 1


def test_without_a_truth_its_column_is_left_out() -> None:
    image = np.zeros((1, 8, 8), dtype=np.uint16)
    picture = draw_side_by_side([Shown("a", image, image)], ("DAPI",))
    titles = [axes.get_title() for axes in picture.axes if axes.images]
    assert titles == ["DAPI\nsource", "DAPI\ncounterfactual", "DAPI\nchange"]


def test_without_a_truth_the_contrast_shows_what_is_brighter_in_a_counterfactual() -> None:
    dark = np.arange(64, dtype=np.uint16).reshape(1, 8, 8)
    bright = dark + 1000
    (without,) = {
        axes.images[0].get_clim()
        for axes in draw_side_by_side([Shown("a", dark, bright)], ("DAPI",)).axes[:2]
    }
    assert without[0] <= 1
    assert without[1] >= 1062
    known = draw_side_by_side([Shown("a", dark, bright, np.zeros((1, 8, 8)))], ("DAPI",))
    assert known.axes[1].images[0].get_clim()[1] <= 63  # what a wrong counterfactual adds is white


def test_pictures_of_a_benchmark(finished: Finished, tmp_path) -> None:
    data = EffectData(PROTOCOL, "depolarisation", 0)
    written = write_pictures(data, finished.results, tmp_path, ("TRUTH", "transport"))
    assert [place.name for place in written] == [
        "depolarisation_seed-0_healthy_to_treated.png",
        "depolarisation_seed-0_treated_to_healthy.png",
    ]
    assert all(place.stat().st_size > 10_000 for place in written)
