"""Mean maps of classes against means by hand, in frames whose truth is known."""

from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import napari_why as why
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.evaluation.map_alignment import (
    coarse_image,
    crop_cell,
    find_nuclear_channel,
    measure_registration,
    place_cells,
)
from napari_why.evaluation.map_statistics import ClassDifference, WellMeans, correlate_maps
from napari_why.output.figures import class_maps_figure
from napari_why.output.images import result_image
from napari_why.simulation import simulate
from napari_why.simulation.planted_effects import find_cells

SIDE = 40
LABELS = ["diseased", "treated"] * 6
# two images a well, wells of one class each; the third well of "diseased" has four
WELLS = ["A1", "B1", "A1", "B1", "A2", "B2", "A3", "B2", "A3", "B3", "A3", "B3"]


def noise_images(count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(100, 10, (count, 2, SIDE, SIDE))


def weights(seed: int = 1) -> NDArray[np.float64]:
    of_first = np.random.default_rng(seed).normal(size=(2, SIDE, SIDE))
    return np.stack([of_first, -of_first])


def one_cell(turn: float, shift: tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
    """An oblong nucleus with a cloud of the other dye beyond one end, turned about its middle."""
    y, x = np.mgrid[-24:25, -24:25].astype(float)
    along = np.cos(turn) * x - np.sin(turn) * y
    across = np.sin(turn) * x + np.cos(turn) * y
    nucleus = 1 / (1 + np.exp(4 * (np.hypot(along / 7, across / 4) - 1) * 4))
    cloud = np.exp(-((along - 8) ** 2 + (across - 3) ** 2) / 8)
    return np.roll(np.stack([100 + 400 * nucleus, 100 + 300 * cloud]), shift, axis=(1, 2))


def test_the_mean_map_is_the_mean_over_wells_and_not_over_images(oracle, in_memory) -> None:
    pixels, planted = noise_images(12), weights()
    found = why.class_maps(
        oracle(planted),
        in_memory(pixels, LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "none"},
    )
    evidence = planted[0] * (pixels - 100) / 10
    of_well = {
        well: evidence[[name == well for name in WELLS]].mean(axis=0) for well in ("A1", "A2", "A3")
    }
    by_hand = sum(of_well.values()) / 3
    mean = found.mean("diseased")
    assert (mean.groups, mean.images, mean.cells) == (3, 6, 0)
    np.testing.assert_allclose(mean.mean[:2], by_hand, atol=1e-5)
    np.testing.assert_allclose(mean.mean[2], by_hand.sum(axis=0), atol=1e-5)
    squares = sum((value - by_hand) ** 2 for value in of_well.values())
    np.testing.assert_allclose(mean.standard_error[:2], np.sqrt(squares / 2 / 3), atol=1e-5)
    raw = {well: pixels[[name == well for name in WELLS]].mean(axis=0) for well in of_well}
    image = next(item for item in found.composites if item.label == "diseased")
    np.testing.assert_allclose(image.mean, sum(raw.values()) / 3, rtol=1e-6)


def test_layers_of_class_maps_lie_beside_images_in_micrometres(oracle, in_memory) -> None:
    plain = in_memory(noise_images(12), LABELS, WELLS)
    size = {"unit": "um", "pixel_size": {"y": 0.5, "x": 0.25}}
    images = [plain.image(row).assign_attrs(size) for row in range(12)]
    dataset = why.Dataset.from_images(images, LABELS, well=WELLS)
    for images_of, scale, unit in ((dataset, (0.5, 0.25), "micrometer"), (plain, (1, 1), "pixel")):
        found = why.class_maps(
            oracle(weights()), images_of, "input_x_gradient", options={"alignment": "none"}
        )
        for layer in why.to_layers(found):
            assert (tuple(layer.scale), str(layer.units[0])) == (scale, unit)


def test_the_map_of_the_wrong_class_and_differences_of_one_logit(oracle, in_memory) -> None:
    dataset = in_memory(noise_images(12), LABELS, WELLS)
    options = {"alignment": "none", "explained": "all"}
    found = why.class_maps(oracle(weights()), dataset, "input_x_gradient", options=options)
    own, wrong = found.mean("diseased"), found.mean("diseased", "treated")
    # the second logit is minus the first
    np.testing.assert_allclose(wrong.mean, -own.mean, atol=1e-6)
    only_wrong = why.class_maps(
        oracle(weights()), dataset, "input_x_gradient", options=options | {"explained": "wrong"}
    )
    assert {(item.label, item.target) for item in only_wrong.maps} == {
        ("diseased", "treated"),
        ("treated", "diseased"),
    }
    np.testing.assert_allclose(only_wrong.mean("diseased", "treated").mean, wrong.mean)
    pair = found.difference("diseased", "treated", "diseased")
    other = found.mean("treated", "diseased")
    np.testing.assert_allclose(pair.difference, own.mean - other.mean)
    np.testing.assert_allclose(
        pair.standard_error**2, own.standard_error**2 + other.standard_error**2
    )
    assert "two logits" in found.difference("diseased", "treated").sentence
    assert "two logits" not in pair.sentence
    shown = [name for name, picture in found.pictures().items() if picture.visible]
    assert shown == ["image of diseased", "diseased for diseased, all channels"]
    written = found.pictures()["diseased for treated, all channels"].compute()
    np.testing.assert_allclose(written[0], wrong.mean[-1], rtol=1e-6)
    with pytest.raises(ParameterError, match="expected one of diseased for treated"):
        only_wrong.mean("diseased")


def test_nothing_is_claimed_of_classes_by_maps_of_two_logits(oracle, in_memory) -> None:
    # labels that say nothing: maps of two logits differ all the same, and are no evidence
    dataset = in_memory(noise_images(12), LABELS, WELLS)
    notes = {}
    for explained in ("own", "wrong", "diseased"):
        options = {"alignment": "none", "explained": explained}
        found = why.class_maps(oracle(weights()), dataset, "input_x_gradient", options=options)
        notes[explained] = " ".join(found.notes)
        assert (found.differences[0].beyond is None) == (explained != "diseased")
    for explained in ("own", "wrong"):
        assert "differ at" not in notes[explained]
        assert "shuffles" not in notes[explained]
        assert "take the name of one of them as explained" in notes[explained]
    assert "differ at" in notes["diseased"]
    assert "shuffles" in notes["diseased"]


@pytest.mark.parametrize(("planted", "low", "high"), [(0.0, 0.03, 0.07), (4.0, 0.25, 0.4)])
def test_differences_beyond_chance_are_one_in_twenty_without_any(planted, low, high) -> None:
    rng = np.random.default_rng(3)
    sides = []
    for label, effect in (("diseased", planted), ("treated", 0.0)):
        means = WellMeans()
        for well in range(8):
            value = rng.normal(size=(1, 60, 60))
            value[:, :30, :30] += effect  # a quarter
            means.add(well, value, np.ones((60, 60)), 0)
        sides.append(means.finish(label, "diseased"))
    found = ClassDifference.of(*sides)
    assert low < found.beyond < high
    assert (ClassDifference.of(sides[0], sides[0]).beyond) == 0


def test_pixels_that_cells_do_not_cover_do_not_count() -> None:
    means = WellMeans()
    for well, there in enumerate([[1, 1], [2, 0], [1, 0]]):
        count = np.array([there], dtype=float)
        means.add(well, np.array([[there]]) * np.array([well + 1.0, 5.0]), count, 1)
    found = means.finish("a", "a")
    np.testing.assert_allclose(found.mean, [[[2.0, 5.0]]])
    np.testing.assert_allclose(found.standard_error[0, 0], [np.sqrt(1 / 3), np.nan])


@pytest.mark.parametrize("turn", [0.4, 1.7, 3.0, 4.4, 5.9])
def test_turned_copies_of_a_cell_come_to_lie_on_each_other(turn: float) -> None:
    def crop(pixels: NDArray[np.float64], turned: bool) -> NDArray[np.float64]:
        cells = find_cells(pixels[0], pixels[0].shape)
        (place,) = place_cells(cells, pixels, half=12, turned=turned)
        return crop_cell(pixels, place, 12)

    def likeness(turned: bool) -> float:
        one, other = crop(one_cell(0.0), turned), crop(one_cell(turn), turned)
        return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])

    assert likeness(turned=True) > 0.98
    assert likeness(turned=False) < 0.9


def test_shifted_copies_of_a_cell_come_to_lie_on_each_other_bit_for_bit() -> None:
    crops = []
    for shift in ((0, 0), (7, -5)):
        pixels = one_cell(0.7, shift)
        cells = find_cells(pixels[0], pixels[0].shape)
        (place,) = place_cells(cells, pixels, half=8, turned=False)
        crops.append(crop_cell(pixels, place, 8))
    np.testing.assert_allclose(*crops, atol=1e-9)
    assert np.unravel_index(crops[0][0].argmax(), crops[0][0].shape) == pytest.approx((8, 8), abs=2)


def test_a_nucleus_that_the_edge_cuts_is_left_out() -> None:
    pixels = one_cell(0.7, (24, 0))
    cells = find_cells(pixels[0], pixels[0].shape)
    assert len(cells.centres) > 0
    assert place_cells(cells, pixels, half=8, turned=False) == []


def test_maps_are_aligned_to_nuclei_wherever_they_lie(oracle, in_memory) -> None:
    rng = np.random.default_rng(0)
    turns, shifts = rng.uniform(0, 2 * np.pi, 12), rng.integers(-9, 10, (12, 2))
    pixels = np.stack([one_cell(turn, tuple(by)) for turn, by in zip(turns, shifts, strict=True)])
    planted = np.ones((2, 2, 49, 49))
    planted[1] = -1
    classifier, dataset = oracle(planted), in_memory(pixels, LABELS, WELLS)
    found = {
        alignment: why.class_maps(
            classifier, dataset, "input_x_gradient", options={"alignment": alignment}
        )
        for alignment in ("auto", "nuclei_and_axis")
    }
    assert found["auto"].alignment == "nuclei"
    assert found["auto"].record.details["nuclei"] == "DAPI"
    one = one_cell(0.0)
    (place,) = place_cells(find_cells(one[0], one[0].shape), one, half=12, turned=True)
    turned = found["nuclei_and_axis"].mean("diseased")
    half = (turned.mean.shape[1] - 1) // 2
    expected = crop_cell((one - 100) / 10, place, half)
    assert turned.cells == 6
    near = slice(half - 10, half + 11)
    likeness = np.corrcoef(turned.mean[:2, near, near].ravel(), expected[:, near, near].ravel())[
        0, 1
    ]
    assert likeness > 0.98
    # not turned, the cloud is smeared to a ring
    plain = found["auto"].mean("diseased").mean
    assert plain[1].max() < 0.7 * turned.mean[1].max()
    assert result_image(found["auto"]).shape[1:] == (2 * half + 1, 2 * half + 1)


def test_regions_tell_where_evidence_lies_and_what_chance_would_have(oracle, in_memory) -> None:
    pixels = np.stack([one_cell(0.3 * i, (i - 6, 6 - i)) for i in range(12)])
    for image in pixels:
        inside = find_cells(image[0], image[0].shape).nuclei
        image[1] = np.where(inside, 130.0, 100.0)  # evidence of 3 a pixel, and none elsewhere
    planted = np.zeros((2, 2, 49, 49))
    planted[0, 1], planted[1, 1] = 1, -1
    found = why.class_maps(
        oracle(planted),
        in_memory(pixels, LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "regions"},
    )
    assert found.maps == ()
    assert found.pictures() == {}
    table = found.regions.set_index(["label", "channel", "region"])
    nucleus = table.loc[("diseased", "TMRM", "nucleus")]
    assert nucleus["evidence per pixel"] == pytest.approx(3, abs=1e-5)
    assert nucleus["share of evidence"] == pytest.approx(1)
    assert nucleus["groups"] == 3
    assert 0 < nucleus["share of pixels"] < 0.1
    assert table.loc[("treated", "TMRM", "nucleus")]["evidence per pixel"] == pytest.approx(-3)
    assert table.loc[("diseased", "TMRM", "cytoplasm")]["share of evidence"] == pytest.approx(0)
    shares = table.loc[("diseased", "TMRM")]["share of pixels"]
    assert shares.sum() == pytest.approx(1)
    # drawn as bars, a class beside the other, where there are no maps to draw
    drawn = {axes.get_ylabel(): axes for axes in class_maps_figure(found).axes if axes.patches}
    bars = [bar.get_height() for bar in drawn["TMRM:\nshare of evidence"].patches]
    expected = table.xs("TMRM", level="channel")["share of evidence"]
    regions = ("nucleus", "cytoplasm", "background")
    assert bars == pytest.approx(
        [expected[label, region] for label in ("diseased", "treated") for region in regions]
    )


def test_where_nuclei_touch_regions_are_compared_unless_crops_are_asked_for(
    oracle, in_memory
) -> None:
    pixels = np.full((12, 2, SIDE, SIDE), 100.0)
    pixels[:, 0, 8:14, 8:30] = pixels[:, 0, 8:30, 8:14] = 500  # an L is no nucleus
    dataset = in_memory(pixels, LABELS, WELLS)
    found = {
        alignment: why.class_maps(
            oracle(weights()), dataset, "input_x_gradient", options={"alignment": alignment}
        )
        for alignment in ("auto", "nuclei")
    }
    assert (found["auto"].alignment, found["nuclei"].alignment) == ("regions", "nuclei")
    said = "100% of the area that stands out in DAPI is in shapes that no single nucleus has"
    for result, end in (
        (found["auto"], "regions are compared"),
        (found["nuclei"], "take 'regions'"),
    ):
        (note,) = [note for note in result.notes if note.startswith(said)]
        assert note.endswith(end)


def test_images_of_different_places_are_said_not_to_be_registered() -> None:
    scenes = simulate(24, size=64, wells=12)
    groups = scenes.groups.tolist()
    pixels = [scenes.image(row).values.astype(float) for row in range(24)]
    # a lamp that is brighter in the middle registers nothing
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    lit = [image * (1 - 0.4 * (x**2 + y**2)) for image in pixels]
    apart = measure_registration([coarse_image(image) for image in lit], groups)
    same = [pixels[0] + 0.5 * image for image in pixels]
    together = measure_registration([coarse_image(image) for image in same], groups)
    moved = [np.roll(image, 9 * row, axis=(1, 2)) for row, image in enumerate(same)]
    shifted = measure_registration([coarse_image(image) for image in moved], groups)
    assert not apart.registered
    assert "is meaningless" in apart.sentence
    assert together.share > 0.9
    assert together.registered
    assert shifted.share < 0.25
    assert measure_registration([coarse_image(pixels[0])] * 4, [0, 0, 1, 1]) is None


def test_two_planted_kinds_of_maps_make_two_branches(oracle, in_memory) -> None:
    pixels = noise_images(12)
    for image, label in zip(pixels, LABELS, strict=True):
        half = slice(0, SIDE // 2) if label == "diseased" else slice(SIDE // 2, SIDE)
        image[1, :, half] += 15
    planted = np.ones((2, 2, SIDE, SIDE))
    planted[1] = -1
    found = why.class_maps(
        oracle(planted),
        in_memory(pixels, LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "none", "explained": "diseased"},
    )
    similarity = found.similarity
    clusters = similarity.clusters(2)
    of_class = {label: set(clusters[[name == label for name in LABELS]]) for label in set(LABELS)}
    in_rows = [clusters[[item == label for item in similarity.labels]] for label in set(LABELS)]
    assert all(len(set(part)) == 1 for part in in_rows)
    assert len(of_class) == 2
    ordered = [similarity.labels[row] for row in similarity.order]
    assert ordered in (sorted(ordered), sorted(ordered, reverse=True))
    assert list(similarity.table["label"]) == ordered
    said = next(note for note in found.notes if note.startswith("maps of two wells"))
    assert "logit of its own" not in said
    # six wells, three of each: 1 of the 10 ways to halve them is as good
    assert similarity.linkage.shape == (11, 4)


def test_similarity_is_the_correlation() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 30))
    rows[3] = -2 * rows[0] + 7
    found = correlate_maps(list(rows), list("abcd"), list("aabb"))
    np.testing.assert_allclose(found.matrix, np.corrcoef(rows))
    assert found.matrix[0, 3] == pytest.approx(-1)
    assert correlate_maps(list(rows[:1]), ["a"], ["a"]) is None


def test_cancelled_work_has_some_of_every_class(oracle, in_memory) -> None:
    asked = iter([False] * 5)
    dataset = in_memory(noise_images(12), sorted(LABELS), sorted(WELLS))
    seen = []
    found = why.class_maps(
        oracle(weights()),
        dataset,
        "input_x_gradient",
        options={"alignment": "none"},
        on_event=lambda event: seen.append(type(event).__name__),
        cancelled=lambda: next(asked, True),
    )
    assert not found.complete
    assert {item.label for item in found.maps} == {"diseased", "treated"}
    assert found.notes[0].startswith("incomplete: the work was stopped after ")
    assert 0 < len(found.images) < 12
    assert (seen[0], seen[-1]) == ("Started", "Finished")


def test_of_very_many_images_some_of_all_wells_are_compared(oracle, in_memory, monkeypatch) -> None:
    # by its name: the function of the package hides the module
    monkeypatch.setattr(import_module("napari_why.evaluation.class_maps"), "MOST_COMPARED", 6)
    found = why.class_maps(
        oracle(weights()),
        in_memory(noise_images(12), LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "none"},
    )
    assert found.similarity.matrix.shape == (6, 6)
    assert len(set(found.similarity.groups)) == 6
    assert "of 12 images 6, evenly spread, are compared with each other" in found.notes
    assert found.mean("diseased").images == 6


def test_work_that_is_cancelled_at_once_has_nothing_and_says_so(oracle, in_memory) -> None:
    found = why.class_maps(
        oracle(weights()),
        in_memory(noise_images(12), LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "none"},
        cancelled=lambda: True,
    )
    assert (found.maps, found.pictures(), len(found.images)) == ((), {}, 0)
    assert found.notes[0] == "incomplete: the work was stopped after 0 of 12 images"
    assert found.record.to_dict()["details"]["complete"] is False


def test_what_cannot_be_is_refused_or_listed(oracle, in_memory) -> None:
    unnamed = ("one", "two")
    dataset = in_memory(noise_images(12), LABELS, WELLS, unnamed)
    classifier = oracle(weights(), unnamed)
    with pytest.raises(ParameterError, match="no channel whose name tells nuclei"):
        why.class_maps(classifier, dataset, "input_x_gradient")
    with pytest.raises(ParameterError, match="nuclei: found 'DAPI'; expected auto or one of one"):
        why.class_maps(classifier, dataset, "input_x_gradient", options={"nuclei": "DAPI"})
    with pytest.raises(ParameterError, match="explained: found 'nothing'"):
        why.class_maps(classifier, dataset, options={"alignment": "none", "explained": "nothing"})
    with pytest.raises(UnsupportedNetworkError):
        why.class_maps(classifier, dataset, "cam", options={"alignment": "none"})
    pixels = noise_images(12)
    pixels[3, 0, 0, 0] = np.nan
    broken = in_memory(pixels, LABELS, WELLS)
    found = why.class_maps(
        oracle(weights()), broken, "input_x_gradient", options={"alignment": "none"}
    )
    (row,) = found.images[found.images["error"] != ""].to_dict("records")
    assert "NaN" in row["error"]
    assert found.mean("treated").images == 5
    assert any(note.startswith("1 of 12 images do not count") for note in found.notes)


def test_only_images_called_what_they_are_count_where_that_is_asked_for(oracle, in_memory) -> None:
    pixels, planted = noise_images(12), weights()
    scores = (planted[0] * (pixels - 100) / 10).sum(axis=(1, 2, 3))
    right = [
        (score > 0) == (label == "diseased") for score, label in zip(scores, LABELS, strict=True)
    ]
    found = why.class_maps(
        oracle(planted),
        in_memory(pixels, LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "none", "only_correct": True},
    )
    assert sum(item.images for item in found.maps) == sum(right)
    assert 0 < sum(right) < 12


def test_nuclei_are_known_by_their_stain() -> None:
    assert find_nuclear_channel(["TMRM", "nuclei (DAPI)"]) == "nuclei (DAPI)"
    assert find_nuclear_channel(["Mito", "ER"]) is None


def test_a_smoothed_registered_network_finds_the_planted_place(oracle, in_memory) -> None:
    """Of registered images the mean map stands out where the effect was planted alone."""
    pixels = noise_images(12)
    place = np.zeros((SIDE, SIDE), bool)
    place[10:18, 20:28] = True
    for image, label in zip(pixels, LABELS, strict=True):
        image[1, place] += 25 if label == "diseased" else 0
    found = why.class_maps(
        oracle(np.stack([np.ones((2, SIDE, SIDE)), np.zeros((2, SIDE, SIDE))])),
        in_memory(pixels, LABELS, WELLS),
        "input_x_gradient",
        options={"alignment": "none", "explained": "diseased"},
    )
    difference = ndimage.uniform_filter(
        found.difference("diseased", "treated", "diseased").difference[1], 3
    )
    assert (
        difference[place].min()
        > 3 * np.abs(difference[~ndimage.binary_dilation(place, iterations=2)]).std()
    )
    assert difference[place].mean() == pytest.approx(2.5, abs=0.5)
