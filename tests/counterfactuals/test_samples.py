"""Draws of what could be: others each time, the same again, right in their share, and no one answer."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.core.errors import ImageWriteError, ParameterError
from napari_why.counterfactuals import changed_image, counterfactual, verdict
from napari_why.counterfactuals.engine import Exporter
from napari_why.counterfactuals.spread import Samples, sample_images
from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model.whole_field import FieldPreprocessing
from napari_why.napari_writer import write_layers
from napari_why.output.images import result_image
from napari_why.output.layers import to_layers
from napari_why.transport.class_maps import ClassMaps
from napari_why.transport.coarse_to_fine import fit_coarse_to_fine
from napari_why.transport.maps import ONLY_SOME_CELLS, Choice
from napari_why.transport.pixel_maps import GreyLevelCurve
from napari_why.transport.responding_cells import RespondingCells, find_all_cells

SHARE, SIZE = 0.4, 48
CHANNELS = ("nuclei", "mitochondria")


def draw_cells(count: int, seed: int, dye: float) -> Tensor:
    """Return images (n, 2, 48, 48) of four cells each: nuclei, and rings of dye around them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = np.zeros((count, 2, SIZE, SIZE))
    for image in images:
        for row in (12, 36):
            for column in (12, 36):
                distance = np.hypot(y - row - rng.uniform(-2, 2), x - column - rng.uniform(-2, 2))
                image[0] += 3 / (1 + np.exp(distance - 5))
                image[1] += dye * np.exp(-((distance - 7) ** 2) / 12)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(images).float() + 0.1 * noise


@pytest.fixture(scope="module")
def maps() -> ClassMaps:
    pair = draw_cells(16, 0, 2.0), draw_cells(16, 1, 0.5)
    forward = fit_coarse_to_fine(*pair, (0,))
    return ClassMaps(
        2,
        {
            (0, 1, "curve"): GreyLevelCurve.fit(*pair, (1,)),
            (0, 1, "responding_cells"): RespondingCells(forward, 0, SHARE, 0.05),
        },
    )


@pytest.fixture
def classifier(small_classifier, maps):
    """Return a classifier with locked nuclei that can draw which cells respond, from p to q."""
    made = small_classifier()
    made.network = deepcopy(made.network)
    made.network.locked = (0,)
    made.preprocessing = Preprocessing(
        CHANNELS, SIZE, "resize", "linear", (1000.0,) * 2, (200.0,) * 2, (1.0, 1.0)
    )
    made.latent_statistics = made.latent_statistics.with_part("pixel_maps", maps)
    return made


def choose(classifier, shown: bool | None) -> None:
    """Let the curve be chosen, with or without draws having been nearer; None: nobody measured."""
    statistics = classifier.latent_statistics
    choice = Choice(kind="curve", scores={} if shown is None else {ONLY_SOME_CELLS: shown})
    transport = statistics.transport.with_choices({(0, 1): choice})
    classifier.latent_statistics = statistics.with_part("transport", transport)


def raw(seed: int = 9, dtype: str = "uint16"):
    pixels = draw_cells(1, seed, 2.0)[0].numpy() * 200 + 1000
    return make_image(np.rint(pixels).astype(dtype), "cyx", CHANNELS, source="field.tif")


def explain(classifier, image=None, **options):
    options = {"steps": 2, "change": "responding_cells", "source": "p", **options}
    return counterfactual(classifier, raw() if image is None else image, "q", **options)


def test_the_same_seed_draws_the_same_and_another_draws_others(classifier) -> None:
    first, again, other = (explain(classifier, draws=8, seed=seed) for seed in (0, 0, 1))
    assert first.samples.images.shape == (8, 2, SIZE, SIZE)
    assert first.samples.images.dtype == np.uint16
    assert np.array_equal(first.samples.images, again.samples.images)
    assert not np.array_equal(first.samples.responding, other.samples.responding)
    assert len({row.tobytes() for row in first.samples.responding}) > 2
    assert first.record.parameters["seed"] == 0
    # the same draw by its number, however many are looked at
    few = explain(classifier, draws=3).samples
    assert np.array_equal(few.images, first.samples.images[:3])


def test_the_series_leads_to_the_first_draw(classifier) -> None:
    result = explain(classifier, draws=2)
    found, drawn = (one.astype(float) for one in (changed_image(result), result.samples.image(0)))
    assert np.abs(found - drawn).max() <= 1
    assert explain(classifier, draws=0).samples.images.shape[0] == 1


def test_locked_channels_stay_and_only_responding_cells_change(classifier) -> None:
    image = raw()
    samples = explain(classifier, image, draws=6).samples
    assert samples.cells.max() == 4
    for drawn, responding in zip(samples.images, samples.responding, strict=True):
        assert np.array_equal(drawn[0], image.values[0])
        lost = image.values[1].astype(float) - drawn[1]
        sums = [lost[samples.cells == cell + 1].mean() for cell in range(4)]
        whole = [image.values[1][samples.cells == cell + 1].mean() - 1000 for cell in range(4)]
        assert (np.array(sums) / whole > 0.4).tolist() == responding.tolist()


def test_cells_of_a_whole_field_are_those_of_its_images(maps) -> None:
    """A field is mirrored up to what the network halves; what is mirrored is drawn and not exported."""
    side = SIZE - 3  # with margins that hold a row of cells of their own
    pixels = draw_cells(1, 6, 2.0)[0].numpy()[:, :side, :side] * 200 + 1000
    image = make_image(np.rint(pixels).astype(np.uint16), "cyx", CHANNELS)
    crops = Preprocessing(CHANNELS, SIZE, "crop", "linear", (1000.0,) * 2, (200.0,) * 2, (1.0, 1.0))
    field = FieldPreprocessing.of(crops, (side, side), 70)
    prepared = field(image)[None]
    sampler = maps.find(0, 1, "responding_cells").sample(prepared, 2)
    source = field.inverse(prepared)[0].astype(np.float32)
    export = Exporter(field, source, (0,), np.dtype(np.uint16))
    samples = Samples(sampler, export, np.zeros((8, 2), np.float32), "q", 1)
    assert sampler.number.shape == (70, 70)
    assert samples.cells.shape == samples.images.shape[-2:] == (side, side)
    assert samples.responding.shape == (8, samples.cells.max())
    assert samples.facts()["cells"] == samples.cells.max() < sampler.number.max()
    assert set(np.unique(samples.cells)) == set(range(1, samples.cells.max() + 1))
    # each is the one that changes
    for drawn, responding in zip(samples.images, samples.responding, strict=True):
        lost = image.values[1].astype(float) - drawn[1]
        for cell, responds in enumerate(responding, start=1):
            amount = lost[samples.cells == cell].mean()
            dye = image.values[1][samples.cells == cell].mean() - 1000
            assert (amount / dye > 0.4) == responds


def test_the_share_is_right_and_images_do_not_respond_in_step(maps) -> None:
    cells = maps.find(0, 1, "responding_cells")
    one, other = (cells.sample(draw_cells(1, seed, 2.0)) for seed in (3, 4))
    responding = np.array([[s.responding(k) for k in range(400)] for s in (one, other)])
    # 3,200 cells: five standard errors
    assert responding.mean() == pytest.approx(SHARE, abs=5 * np.sqrt(SHARE * 0.6 / 3200))
    together = np.corrcoef(responding[0].ravel(), responding[1].ravel())[0, 1]
    assert abs(together) < 5 / np.sqrt(1600)


def test_the_verdict_says_one_of_many_with_what_all_of_them_reach(classifier) -> None:
    result = explain(classifier, draws=5)
    samples, found = result.samples, verdict(result)
    reached = [
        classifier.logits(classifier.prepare(make_image(one, "cyx", CHANNELS))).softmax(1)[0, 1]
        for one in samples.images
    ]
    np.testing.assert_allclose(samples.reached, reached, atol=1e-5)
    (said,) = [text for text in found.reservations if text.startswith("one of 5 draws")]
    assert f"{np.mean(reached):.2f} in the mean" in said
    assert not found.trustworthy
    assert any("about 40 % (± 5 %) of the cells respond in each" in note for note in result.notes)
    assert any("which of them would respond was not learnt" in note for note in result.notes)
    assert not any("how sure the change is was not measured" in note for note in result.notes)
    facts = result.record.details["samples"]
    # which cells they are, the seed repeats: of a whole field the numbers would fill the record
    assert facts["responding"] == [int(row.sum()) for row in samples.responding]
    assert (facts["share"], facts["seed"], facts["cells"]) == (SHARE, 0, 4)
    json.dumps(result.record.to_dict())


@pytest.mark.parametrize("shown", [True, False, None])
def test_one_answer_is_called_one_of_many_only_where_that_was_shown(classifier, shown) -> None:
    choose(classifier, shown)
    result = explain(classifier, change="auto")
    assert result.samples is None
    assert any("one answer of many" in text for text in verdict(result).reservations) == bool(shown)
    assert any("change=responding_cells draws others" in note for note in result.notes) == bool(
        shown
    )
    drawn = explain(classifier)
    for told, state in (
        ("do not show that only some cells of q respond", False),
        ("it was not measured whether only some cells of q respond", None),
    ):
        assert any(told in note for note in drawn.notes) == (shown is state)


def test_draws_have_a_slider_of_their_own_at_the_alpha_of_the_change(classifier) -> None:
    result = explain(classifier, draws=4, steps=3)
    layers = [
        layer for layer in to_layers(result) if layer.metadata["napari_why"]["role"] == "draws"
    ]
    assert [layer.name for layer in layers] == [
        "field · nuclei: draws of q",
        "field · mitochondria: draws of q",
    ]
    for index, layer in enumerate(layers):
        assert layer.axis_labels == ("draw", "alpha", "y", "x")
        assert np.array_equal(layer.data[:, 0], result.samples.images[:, index])
        assert layer.translate[:2].tolist() == [0, 1]
        assert layer.scale[:2].tolist() == [1, 0.5]
    one_answer = to_layers(explain(classifier, change="curve"))
    assert all(layer.metadata["napari_why"]["role"] != "draws" for layer in one_answer)


def test_napari_is_told_how_draws_are_saved(classifier, tmp_path) -> None:
    """Its own Save has no axis left for them, and a slice would be one draw."""
    layers = to_layers(explain(classifier, draws=2))
    drawn = [layer for layer in layers if layer.metadata["napari_why"]["role"] == "draws"]
    with pytest.raises(ImageWriteError, match=r"button Draws\.\.\. .* --samples FILE"):
        write_layers(
            str(tmp_path / "draws.ome.tif"), [layer.as_layer_data_tuple() for layer in drawn]
        )
    assert not list(tmp_path.iterdir())


def test_draws_are_written_along_time(classifier) -> None:
    result = explain(classifier, draws=3)
    found = sample_images(result)
    image = result_image(found, raw())
    assert image.dims == ("t", "c", "y", "x")
    assert image.dtype == np.uint16
    assert np.array_equal(image.values, result.samples.images)
    assert found.record.details["shows"] == "draws"
    assert sample_images(explain(classifier, change="curve")) is None


def test_a_multiple_and_a_direction_without_draws_are_refused(classifier, maps) -> None:
    with pytest.raises(ParameterError, match="overshoot: found"):
        explain(classifier, overshoot=1.5)
    curves = replace(maps, maps={(0, 1, "curve"): maps.find(0, 1, "curve")})
    classifier.latent_statistics = classifier.latent_statistics.with_part("pixel_maps", curves)
    with pytest.raises(ParameterError, match="no map of the kind"):
        explain(classifier)


def test_maps_that_draw_are_kept_and_have_no_versions(maps) -> None:
    read = ClassMaps.from_parts(maps.tensors(), maps.to_dict())
    image = draw_cells(1, 5, 2.0)
    assert len(find_all_cells(image, 0)) == 1
    draws = [one.find(0, 1, "responding_cells").sample(image, 3).draw(1) for one in (maps, read)]
    assert torch.equal(*draws)
    assert read.kinds(0, 1) == ("curve", "responding_cells")
    # what it draws is what could be, not how well it is known
    assert maps.draws(0, 1, "responding_cells", 4) == ()
