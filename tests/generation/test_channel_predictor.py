"""A channel predicted from another: raw units in and out, held-out wells, and what it is compared with."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import napari_why as why
from napari_why.core.errors import CancellationError, MismatchError, ModelFileError
from napari_why.core.events import EpochFinished, Message
from napari_why.datasets import Dataset, Preprocessing
from napari_why.generation import ChannelPredictor
from napari_why.generation.channel_predictor import INVENTED
from napari_why.generation.prediction_report import (
    FIGURES,
    GAN,
    LINEAR,
    MEAN,
    PLAIN,
    compare_planes,
    fit_trivial_predictors,
)
from napari_why.images import make_image
from napari_why.networks.unet import UNet
from napari_why.output.images import result_image
from napari_why.output.layer_metadata import LayerFacts
from napari_why.training.examples import TensorExamples

SIDE = 24
QUICK = {
    "size": 16,
    "sizing": "crop",
    "epochs": 2,
    "batch_size": 6,
    "widths": "4,6",
    "discriminator_widths": "4,6",
    "threads": 1,
    "device": "cpu",
}


def related(count: int = 24, seed: int = 0) -> Dataset:
    """16-bit images whose second channel is three times the first, and 100 more; four to a well."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        first = random.integers(1000, 12000, (SIDE, SIDE))
        images.append(
            make_image(
                np.stack([first, 3 * first + 100]).astype(np.uint16), "cyx", ("DAPI", "TMRM")
            )
        )
    wells = [f"B{index // 4 + 1:02d}" for index in range(count)]
    labels = ["healthy", "treated"] * (count // 2)
    return Dataset.from_images(images, labels, well=wells)


@pytest.fixture(scope="module")
def plate() -> Dataset:
    return related().split(seed=0)


@pytest.fixture(scope="module")
def predictor(plate) -> ChannelPredictor:
    return why.fit_channel_predictor(plate, "TMRM", on_event=why.quiet, **QUICK)


class Threefold(nn.Module):
    """Knows the truth of these images, standardised by what both channels are."""

    widths = (4, 6)

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocessing.mean))
        self.register_buffer("std", torch.tensor(preprocessing.std))
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        raw = given * self.std[0] + self.mean[0]
        return (3 * raw + 100 - self.mean[1]) / self.std[1]


def test_a_prediction_is_in_raw_units_of_the_images_own_type(predictor, plate) -> None:
    knowing = replace(predictor, network=Threefold(predictor.preprocessing))
    image = plate.image(0)
    found = why.predict_channel(knowing, image)
    assert found.images.dtype == np.uint16
    # trained on cut-outs, it predicts the whole image
    assert found.images.shape == (1, SIDE, SIDE)
    np.testing.assert_allclose(found.images[0], image.sel(c="TMRM").values, atol=1)
    np.testing.assert_allclose(found.real[0], image.sel(c="TMRM").values, atol=0.01)
    assert np.abs(found.error).max() <= 1.01
    assert found.grid.shape == (SIDE, SIDE)
    # the channel that is predicted need not be there
    alone = why.predict_channel(knowing, image.sel(c=["DAPI"]))
    np.testing.assert_array_equal(alone.images, found.images)
    assert alone.error is None


def test_what_leaves_the_range_of_the_type_ends_at_its_limits(predictor, plate) -> None:
    bright = plate.image(0).copy()
    bright[0] = 60000  # three times that is no 16-bit number
    knowing = replace(predictor, network=Threefold(predictor.preprocessing))
    assert (why.predict_channel(knowing, bright).images == 65535).all()


def test_resized_images_are_predicted_at_their_size(plate) -> None:
    found = why.fit_channel_predictor(
        plate, "TMRM", on_event=why.quiet, **{**QUICK, "sizing": "resize", "plain": False}
    )
    made = why.predict_channel(found, plate.image(0))
    assert made.images.shape == (1, 16, 16)
    assert made.grid.step == (SIDE / 16, SIDE / 16)


def test_predictions_are_marked_as_generated(predictor, plate, tmp_path) -> None:
    found = why.predict_channel(predictor, plate.image(0))
    assert found.record.details["generated"] is True
    layers = why.to_layers(found)
    names = [layer.name for layer in layers]
    assert any("TMRM: generated, predicted from DAPI" in name for name in names)
    for layer in layers:
        facts = LayerFacts.of(layer)
        assert facts.further["generated"] is True
        assert facts.notes[0] == INVENTED
    written = why.write(
        result_image(found, plate.image(0)), tmp_path / "t.ome.tif", record=found.record
    )
    again = why.read(written)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again.values, found.images)


def test_the_report_is_of_held_out_wells_beside_what_needs_no_network(predictor, plate) -> None:
    rows = pd.DataFrame(predictor.card["report"]["rows"]).set_index("method")
    assert list(rows.index) == [GAN, PLAIN, LINEAR, MEAN]
    held_out = plate.part("test")
    assert predictor.card["report"]["split"] == "test"
    assert (rows["wells"] == held_out.table["well"].nunique()).all()
    # one linear function is the truth here
    assert rows.loc[LINEAR, "absolute_error"] < 0.5
    assert rows.loc[LINEAR, "correlation"] == pytest.approx(1, abs=1e-6)
    assert rows.loc[LINEAR, "detail"] == pytest.approx(1, abs=1e-3)
    assert rows.loc[MEAN, "absolute_error"] > 100
    assert abs(rows.loc[MEAN, "correlation"]) < 0.3


def test_a_report_can_be_made_again_and_says_that_nothing_is_evidence(predictor, plate) -> None:
    knowing = replace(predictor, network=Threefold(predictor.preprocessing))
    report = why.evaluate_channel_predictor(knowing, plate, on_event=why.quiet)
    summary = report.summary().set_index("method")
    assert summary.loc[GAN, "absolute_error"] < 0.5
    assert report.sentences[0].startswith("TMRM by conditional GAN: error 0")
    assert report.sentences[-1] == INVENTED
    assert set(report.table["well"]) == set(plate.part("test").table["well"])
    assert (report.table["images"] == 4).all()


def test_a_report_of_another_split_says_so(predictor, plate) -> None:
    heard: list[object] = []
    whole = why.evaluate_channel_predictor(predictor, related(), on_event=heard.append)
    own = why.evaluate_channel_predictor(predictor, plate, on_event=heard.append)
    assert whole.table.equals(own.table)
    told = "measured on other images, or on another split, than the predictor"
    assert not any(told in event.text for event in heard if isinstance(event, Message))
    other = plate.split(seed=5, redraw=True)
    why.evaluate_channel_predictor(predictor, other, on_event=heard.append)
    assert any(told in event.text for event in heard if isinstance(event, Message))


def test_copies_of_training_images_are_left_out_of_the_report(plate) -> None:
    split = list(plate.table["split"])
    images = [plate.image(row) for row in range(len(plate))]
    images[split.index("test")] = images[split.index("train")]
    table = plate.table
    copied = Dataset.from_images(
        images, list(table["label"]), well=list(table["well"]), split=split, allow_leak=True
    )
    heard: list[object] = []
    found = why.fit_channel_predictor(copied, "TMRM", on_event=heard.append, **QUICK)
    told = "1 validation and test images are left out"
    assert any(told in event.text for event in heard if isinstance(event, Message))
    report = why.evaluate_channel_predictor(found, copied, on_event=why.quiet)
    assert report.table["images"].min() == 3  # of the well with the copy; four elsewhere


def test_nothing_is_claimed_where_nothing_is_held_out(plate) -> None:
    heard = []
    found = why.fit_channel_predictor(plate.part("train"), "TMRM", on_event=heard.append, **QUICK)
    assert found.card["report"] is None
    said = [event.text for event in heard if isinstance(event, Message) and event.finding]
    assert said == ["no image is held out: nothing is known about other wells"]


def test_images_that_are_not_split_are_split_as_a_fit_does(predictor) -> None:
    again = why.fit_channel_predictor(related(), "TMRM", on_event=why.quiet, **QUICK)
    assert again.fingerprint == predictor.fingerprint


def test_a_loaded_predictor_predicts_the_same(predictor, plate, tmp_path) -> None:
    place = predictor.save(tmp_path / "predictor")
    loaded = why.load_channel_predictor(place)
    image = plate.image(3)
    np.testing.assert_array_equal(loaded.predict(image).images, predictor.predict(image).images)
    assert loaded.fingerprint == predictor.fingerprint
    assert loaded.card == predictor.card
    with pytest.raises(ModelFileError, match="makes images of 'channels'; expected one of codes"):
        why.load_generator(place)


def test_names_that_do_not_fit_the_preprocessing_are_refused(predictor, tmp_path) -> None:
    saved = predictor._to_save()
    forged = replace(saved, names={"given": ("TMRM",), "made": ("DAPI",)})
    with pytest.raises(ModelFileError, match="other channels"):
        why.load_channel_predictor(forged.save(tmp_path / "forged"))


def test_a_training_that_was_interrupted_and_resumed_is_the_same(
    predictor, plate, tmp_path
) -> None:
    heard = []
    settings = {"folder": tmp_path / "kept", **QUICK}
    cut = why.fit_channel_predictor(
        plate,
        "TMRM",
        on_event=heard.append,
        cancelled=lambda: any(isinstance(event, EpochFinished) for event in heard),
        **settings,
    )
    assert cut.card["training"]["status"] == "cancelled"
    assert PLAIN not in {row["method"] for row in cut.card["report"]["rows"]}
    again = why.fit_channel_predictor(plate, "TMRM", resume=True, on_event=why.quiet, **settings)
    assert again.fingerprint == predictor.fingerprint
    assert again.card["report"] == predictor.card["report"]
    assert [e.network for e in heard if isinstance(e, EpochFinished)] == [GAN]


def test_without_a_discriminator_it_is_a_plain_u_net(plate) -> None:
    heard = []
    found = why.fit_channel_predictor(plate, "TMRM", adversarial=0, on_event=heard.append, **QUICK)
    epochs = [event for event in heard if isinstance(event, EpochFinished)]
    assert all("discriminator_loss" not in event.metrics for event in epochs)
    assert {event.network for event in epochs} == {PLAIN}
    methods = [row["method"] for row in found.card["report"]["rows"]]
    assert methods == [PLAIN, LINEAR, MEAN]


def test_channels_that_are_not_there_are_refused(predictor, plate) -> None:
    with pytest.raises(MismatchError, match="channel: found GFP; expected some of DAPI, TMRM"):
        why.fit_channel_predictor(plate, "GFP", on_event=why.quiet, **QUICK)
    with pytest.raises(MismatchError, match="expected one to be left"):
        why.fit_channel_predictor(plate, ("DAPI", "TMRM"), on_event=why.quiet, **QUICK)
    with pytest.raises(MismatchError, match="expected DAPI too"):
        predictor.predict(plate.image(0).sel(c=["TMRM"]))


def test_cancelled_at_once_there_is_nothing(plate) -> None:
    with pytest.raises(CancellationError, match="nothing was trained"):
        why.fit_channel_predictor(
            plate, "TMRM", on_event=why.quiet, cancelled=lambda: True, **QUICK
        )


def test_figures_of_a_plane_are_what_they_are_called() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(32, 32)) * 100 + 1000
    found = compare_planes(real + 5, real)
    assert found["absolute_error"] == pytest.approx(5)
    assert found["correlation"] == pytest.approx(1)
    other = compare_planes(random.normal(size=(32, 32)) * 200 + 1000, real)
    # as much detail as twice the real one's, and none of it true
    assert other["detail"] == pytest.approx(2, rel=0.1)
    assert abs(other["detail_correlation"]) < 0.15
    constant = compare_planes(real, np.full((32, 32), 7.0))
    assert np.isnan([constant[name] for name in FIGURES if name != "absolute_error"]).all()


def test_trivial_predictors_are_least_squares_and_the_mean_image() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 8, 8, generator=random)
    images[:, 2] = 0.5 * images[:, 0] - 2 * images[:, 1] + 0.25
    examples = TensorExamples(images, torch.zeros(6, dtype=torch.int64))
    predict = fit_trivial_predictors(examples, 2)
    new = torch.randn(2, 2, 8, 8, generator=random)
    expected = 0.5 * new[:, :1] - 2 * new[:, 1:] + 0.25
    torch.testing.assert_close(predict[LINEAR](new), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(predict[MEAN](new), images[:, 2:].mean(0).expand(2, 1, 8, 8))


def test_a_u_net_of_whole_images_sees_no_more_than_its_surroundings() -> None:
    # of some random weights no unit is above zero, and nothing is seen at all
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(1, (4, 6), outputs=1).eval()
        image = torch.randn(1, 1, 64, 64)
    changed = image.clone()
    changed[..., :4, :4] += 3
    difference = (network(changed) - network(image)).abs()[0, 0]
    assert difference[:4, :4].max() > 0
    assert difference[32:, 32:].max() == 0
