"""Many images at once are explained as one after the other, with what they share done once."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import xarray as xr

import napari_why as why
from napari_why.attribution import METHODS, Attribution, References, attribute, attribute_many
from napari_why.attribution import context as context_module
from napari_why.core import events
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.model import Classifier


@pytest.fixture
def several(image) -> list[xr.DataArray]:
    """Three images, one of them of another size."""
    turned = image.copy(data=image.values[:, ::-1].copy())
    dim = image.copy(data=(image.values // 2).astype(image.dtype))
    return [image, turned, dim]


def same(one: Attribution, other: Attribution) -> None:
    assert np.array_equal(one.maps, other.maps)
    assert np.array_equal(one.joint, other.joint)
    records = [found.record.to_dict() for found in (one, other)]
    for record in records:
        del record["created"]
    assert records[0] == records[1]
    assert (one.target, one.score, one.notes, one.grid) == (
        other.target,
        other.score,
        other.notes,
        other.grid,
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("occlusion", {"window": 5, "stride": 5}),
        ("saliency", {}),
        ("lrp", {}),
        ("smoothgrad", {"samples": 3, "seed": 4}),
        ("cam", {}),
    ],
)
def test_maps_and_records_are_those_of_one_by_one(classifier, several, method, options) -> None:
    found = list(attribute_many(classifier, several, method, **options))
    assert len(found) == 3
    for one, image in zip(found, several, strict=True):
        same(one, attribute(classifier, image, method, **options))


def test_target_wrapper_and_regions(classifier, several) -> None:
    labels = [np.arange(256).reshape(16, 16) // 64 + 1 + shift for shift in range(3)]
    found = list(
        attribute_many(classifier, several, "region_occlusion", "healthy", regions=iter(labels))
    )
    assert [one.regions[0].label for one in found] == [1, 2, 3]
    for one, image, own in zip(found, several, labels, strict=True):
        same(one, attribute(classifier, image, "region_occlusion", "healthy", regions=own))
    wrapped = {"wrapper": "shift_averaged", "wrapper_options": {"reach": 1}}
    (averaged,) = attribute_many(classifier, several[:1], "saliency", **wrapped)
    same(averaged, attribute(classifier, several[0], "saliency", **wrapped))
    with pytest.raises(MismatchError, match="labels for 1 images"):
        list(attribute_many(classifier, several, "region_occlusion", regions=labels[:1]))


def test_files_are_read_when_their_turn_comes(classifier, several, tmp_path) -> None:
    paths = [why.write(image, tmp_path / f"{n}.ome.tif") for n, image in enumerate(several)]
    found = attribute_many(classifier, paths, "saliency")
    first = next(found)
    paths[1].unlink()
    same(first, attribute(classifier, why.read(paths[0]), "saliency"))
    with pytest.raises(why.core.errors.WhyError):
        next(found)


def test_what_images_share_is_done_once(classifier, several, monkeypatch) -> None:
    made = []
    fingerprint = Classifier.fingerprint.fget
    monkeypatch.setattr(
        Classifier, "fingerprint", property(lambda own: made.append(1) or fingerprint(own))
    )
    read = context_module.choose_references
    monkeypatch.setattr(
        context_module, "choose_references", lambda *given: made.append("read") or read(*given)
    )
    dataset = why.Dataset.from_images(several, ["diseased", "treated", "healthy"])
    found = list(
        attribute_many(classifier, several, "expected_gradients", samples=4, references=dataset)
    )
    assert made == [1, "read"]
    assert {one.record.classifier for one in found} == {fingerprint(classifier)}
    same(
        found[1],
        attribute(classifier, several[1], "expected_gradients", samples=4, references=dataset),
    )


def test_a_data_set_is_explained_row_by_row(classifier, several) -> None:
    dataset = why.Dataset.from_images(several, ["diseased", "treated", "healthy"])
    found = list(attribute_many(classifier, dataset, "saliency"))
    for index, one in enumerate(found):
        same(one, attribute(classifier, dataset.image(index), "saliency"))


def test_refused_at_once(classifier, several) -> None:
    with pytest.raises(ParameterError):
        attribute_many(classifier, several, "no such method")
    with pytest.raises(ParameterError):
        attribute_many(classifier, several, "occlusion", window=-1)
    with pytest.raises(ParameterError, match="references"):
        attribute_many(classifier, several, "expected_gradients")
    unsuitable = next(
        name for name in sorted(METHODS) if METHODS[name].unsuitable(classifier.network)
    )
    with pytest.raises(UnsupportedNetworkError):
        attribute_many(classifier, several, unsuitable)


def test_progress_and_cancel(classifier, several) -> None:
    heard: list[events.Event] = []
    found = list(attribute_many(classifier, several, "saliency", on_event=heard.append))
    assert heard[0] == events.Started("explaining images", 3)
    assert heard[-1] == events.Finished(partial=False)
    assert len(found) == 3
    heard.clear()

    def two_are_done() -> bool:
        return events.Advanced(2) in heard

    stopped = attribute_many(
        classifier, several, "saliency", on_event=heard.append, cancelled=two_are_done
    )
    assert len(list(stopped)) == 2
    assert heard[-1] == events.Finished(partial=True)


def test_an_image_that_was_cancelled_is_the_last_and_says_so(classifier, several) -> None:
    done: list[int] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.Advanced):
            done.append(event.done)

    found = list(
        attribute_many(
            classifier,
            several,
            "smoothgrad",
            samples=20,
            on_event=note,
            cancelled=lambda: len(done) > 25,
        )
    )
    assert [one.complete for one in found] == [True, False]


def test_images_of_unknown_number_and_nothing_kept(classifier, several) -> None:
    alive: list[str] = []

    def images() -> Iterator[xr.DataArray]:
        for number, image in enumerate(several):
            alive.append(f"image {number}")
            yield image

    heard: list[events.Event] = []
    found = attribute_many(classifier, images(), "saliency", on_event=heard.append)
    assert alive == []
    next(found)
    assert heard[0] == events.Started("explaining images", None)
    assert alive == ["image 0"]


def test_references_that_are_prepared_are_taken_as_they_are(classifier, several) -> None:
    given = References(torch.randn(4, 2, 16, 16), torch.tensor([0, 1, 2, 0]))
    (found,) = attribute_many(
        classifier, several[:1], "expected_gradients", samples=2, references=given
    )
    same(
        found,
        attribute(classifier, several[0], "expected_gradients", samples=2, references=given),
    )
