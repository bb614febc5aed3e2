import json
import subprocess
import sys
from concurrent.futures import Future
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import xarray as xr

from napari_why import sample_data
from napari_why.core.errors import MismatchError
from napari_why.images import image_contrast_limits, make_image
from napari_why.napari_reader import image_layers
from napari_why.output.raw_layers import image_from_layers
from napari_why.simulation import SimulatedScene

FIELDS = (
    sample_data.simulated_healthy,
    sample_data.simulated_diseased,
    sample_data.simulated_treated,
)


def test_each_field_is_a_layer_per_channel_in_real_units() -> None:
    for make in FIELDS:
        layers = make()
        assert [kind for _, _, kind in layers] == ["image", "image"]
        for data, keywords, _ in layers:
            assert data.shape == (256, 256)
            assert data.dtype == np.uint16
            assert keywords["scale"] == (0.325, 0.325)
            assert keywords["units"] == ("um", "um")
            assert keywords["axis_labels"] == ("y", "x")
            assert 0 < keywords["contrast_limits"][0] < keywords["contrast_limits"][1] < 65535
        names = [keywords["metadata"]["napari_why"]["channel"] for _, keywords, _ in layers]
        assert names == ["DAPI", "TMRM"]


def test_the_fields_show_the_same_cells_with_the_same_contrast() -> None:
    nuclei, mitochondria = zip(*(make() for make in FIELDS), strict=True)
    for data, keywords, _ in nuclei:
        np.testing.assert_array_equal(data, nuclei[0][0])
        assert keywords["contrast_limits"] == nuclei[0][1]["contrast_limits"]
    assert len({keywords["contrast_limits"] for _, keywords, _ in mitochondria}) == 1
    assert len({keywords["name"] for _, keywords, _ in mitochondria}) == 3


def common_limits(fields) -> list[tuple[float, float]]:
    stacked = np.stack(list(fields))
    return image_contrast_limits(make_image(stacked, "tcyx", ("DAPI", "TMRM")))


def test_the_contrast_of_the_fields_is_that_of_all_three() -> None:
    limits = common_limits(map(sample_data._field, ("healthy", "diseased", "treated")))
    for make in FIELDS:
        for (_, keywords, _), limit in zip(make(), limits, strict=True):
            assert keywords["contrast_limits"] == pytest.approx(limit, abs=0.01)


def test_the_labelled_set_is_a_stack_per_class_and_channel() -> None:
    layers = sample_data.simulated_labelled_set()
    assert len(layers) == 6
    scenes: list[int] = []
    for data, keywords, _ in layers:
        facts = keywords["metadata"]["napari_why"]
        assert data.shape == (6, 256, 256)
        assert keywords["scale"] == (1.0, 0.325, 0.325)
        assert keywords["axis_labels"] == ("field", "y", "x")
        assert facts["labels"] == [facts["label"]] * 6
        assert facts["label"] in keywords["name"]
        if facts["channel"] == "TMRM":
            scenes += facts["scenes"]
    assert len(set(scenes)) == 18


def test_the_labelled_set_is_rendered_beside_and_its_contrast_is_known_beforehand() -> None:
    fields = {
        label: [future.result() for future in futures]
        for label, futures in sample_data._labelled_fields().items()
    }
    limits = common_limits(field for each in fields.values() for field in each)
    for data, keywords, _ in sample_data.simulated_labelled_set():
        assert not isinstance(data, np.ndarray), "nobody waits for what is not looked at"
        facts = keywords["metadata"]["napari_why"]
        channel = ("DAPI", "TMRM").index(facts["channel"])
        assert keywords["contrast_limits"] == pytest.approx(limits[channel], abs=0.01)
        for place in (0, 5):
            np.testing.assert_array_equal(data[place], fields[facts["label"]][place][channel])


def as_read(image: xr.DataArray) -> list[dict[str, Any]]:
    """What the reader tells napari of an image, but for what the samples know better."""
    return [plainly(keywords) for _, keywords, _ in image_layers(image)]


def plainly(keywords: dict[str, Any]) -> dict[str, Any]:
    facts = dict(keywords["metadata"]["napari_why"])
    for name in ("label", "labels", "scenes"):
        facts.pop(name, None)
    known = {"contrast_limits", "name", "translate", "axis_labels", "metadata"}
    name = keywords["name"].partition(" (")[0]
    return {key: keywords[key] for key in keywords.keys() - known} | {"facts": facts, "name": name}


@pytest.mark.parametrize("label", ["healthy", "diseased", "treated"])
def test_napari_is_told_what_the_reader_tells_of_such_images(label: str) -> None:
    scene = SimulatedScene(0, size=256, pixel_size=0.325)
    made = getattr(sample_data, f"simulated_{label}")()
    assert [plainly(keywords) for _, keywords, _ in made] == as_read(scene.image(label))
    np.testing.assert_array_equal([data for data, _, _ in made], scene.image(label).values)


def test_the_labelled_set_is_told_as_the_reader_tells_of_stacks() -> None:
    for (data, keywords, _), other in zip(
        sample_data.simulated_labelled_set()[::2],
        sample_data.simulated_labelled_set()[1::2],
        strict=True,
    ):
        stack = make_image(
            np.stack([data, other[0]], axis=1),
            "tcyx",
            ("DAPI", "TMRM"),
            pixel_size={"y": 0.325, "x": 0.325},
            unit="um",
            source=keywords["metadata"]["napari_why"]["source"],
        )
        assert [plainly(keywords), plainly(other[1])] == as_read(stack)


@pytest.mark.parametrize(
    "key",
    [
        *(2, -1, slice(1, 4), slice(4, 4), (slice(None), 3), (1, slice(2, 5), 7), (..., 0), [0, 2]),
        *(
            (),
            True,
            False,
            None,
            (2, 3, 4),
            np.True_,
            (1, None, 2),
            (1, True),
            (slice(1, 3), None, 0),
        ),
        # of an index that is an array beside one that is none, axes come in another order
        *((1, slice(None), [0, 1]), (slice(1, 3), [0, 1], [2, 2]), (np.array([0, 1]),) * 3),
    ],
)
def test_fields_are_sliced_as_arrays_are(key: Any) -> None:
    data = sample_data.simulated_labelled_set()[0][0]
    whole = np.asarray(data)
    for name in ("shape", "dtype", "ndim", "size", "nbytes"):
        assert getattr(whole, name) == getattr(data, name)
    assert data[key].shape == whole[key].shape
    np.testing.assert_array_equal(data[key], whole[key])
    assert len(data) == len(whole)
    np.testing.assert_array_equal(
        deepcopy(data)[key], whole[key]
    )  # as of a layer that is duplicated


def test_fields_are_computed_with_as_arrays_are() -> None:
    data = sample_data.simulated_labelled_set()[0][0]
    whole = np.asarray(data)
    np.testing.assert_array_equal(data > 500, whole > 500)
    np.testing.assert_array_equal(1 + data - data, whole * 0 + 1)
    np.testing.assert_array_equal(np.subtract(data, 1, dtype=float), whole - 1.0)
    np.testing.assert_array_equal(np.maximum.reduce(data), whole.max(axis=0))
    assert data.max() == whole.max()
    assert data.astype(float).dtype == float
    np.testing.assert_array_equal(data.T, whole.T)
    with pytest.raises(ValueError, match="read-only"):
        data.sort()  # of a copy, it would be lost
    with pytest.raises(AttributeError, match="compute"):
        data.compute()


def test_nobody_waits_for_fields_to_learn_what_no_array_has() -> None:
    data = sample_data.RenderedFields([Future()], 0)
    assert not hasattr(data, "coords")
    assert not hasattr(data, "__array_interface__")
    assert data.size == 256**2


def test_who_writes_into_a_sample_changes_nothing_else() -> None:
    data, other = (sample_data.simulated_labelled_set()[0][0] for _ in range(2))
    before, place = np.asarray(other), (1, 5, 6)
    for read in (data[1], data[1:3], np.asarray(data), data[...]):
        read[...] = 0  # a copy
    np.testing.assert_array_equal(data, before)
    earlier = deepcopy(data)
    data[place] = 60_000
    later = deepcopy(data)
    later[2] = 3
    np.add(later, 1, out=later)
    assert (data[place], data[1][5, 6], data.max()) == (60_000, 60_000, 60_000)
    assert (later[place], later[2].min(), later[2].max()) == (60_001, 4, 4)
    for unchanged in (other, earlier, sample_data.simulated_labelled_set()[0][0]):
        np.testing.assert_array_equal(unchanged, before)
    expected = before.copy()
    expected[place] = 60_000
    np.testing.assert_array_equal(data, expected)
    single = sample_data.simulated_healthy()[0][0]
    single[5, 5] = 60_000
    assert sample_data.simulated_healthy()[0][0][5, 5] != 60_000
    kept = (sample_data._field("healthy"), sample_data._labelled_fields()["healthy"][0].result())
    assert not any(pixels.flags.writeable for pixels in kept)


def test_a_sample_loads_nothing_that_reads_files_or_makes_data_sets() -> None:
    """napari makes it in the thread of the window, which waits for all that is imported."""
    code = (
        "import json, sys; from napari_why import sample_data; sample_data.simulated_treated(); "
        "sample_data.simulated_labelled_set(); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "napari_why.simulation.scenes" in loaded
    others = {"napari_why.images", "napari_why.datasets", "tifffile", "dask.array", "pandas"}
    assert loaded.isdisjoint(others)


def test_napari_takes_them() -> None:
    layers = pytest.importorskip("napari.layers")
    for data, keywords, _ in sample_data.simulated_treated():
        layer = layers.Image(data, **keywords)
        assert tuple(layer.scale) == (0.325, 0.325)


def test_napari_uses_them_as_arrays() -> None:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    layers = [Layer.create(*data) for data in sample_data.simulated_labelled_set()[:2]]
    layers[0].reset_contrast_limits("data")
    assert layers[0].contrast_limits == [layers[0].data.min(), layers[0].data.max()]
    with pytest.raises(MismatchError, match="found 3 axes"):
        image_from_layers(layers, ("DAPI", "TMRM"))
    before = np.asarray(layers[0].data)
    # as napari converts a layer: the pixels are handed on
    viewer = ViewerModel()
    labels = viewer.add_layer(Labels(layers[0].data))
    viewer.dims.set_current_step(0, 0)
    labels.paint((0, 5, 5), 3)
    assert labels.data[0, 5, 5] == labels.get_value((0, 5, 5)) == 3
    labels.fill((0, 5, 5), 4)
    labels.undo()
    labels.undo()
    np.testing.assert_array_equal(labels.data, before)


def test_no_class_lies_over_another() -> None:
    layers = pytest.importorskip("napari.layers")
    places = [
        layers.Image(data, **keywords).extent.world[:, -2:]
        for make in (*FIELDS, sample_data.simulated_labelled_set)
        for data, keywords, _ in make()[::2]  # one channel; the other lies over it on purpose
    ]
    assert len(places) == 6
    for number, (low, high) in enumerate(places):
        for other_low, other_high in places[:number]:
            assert (low >= other_high).any() or (high <= other_low).any()
