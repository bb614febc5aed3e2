"""What a fit says of its data before it trains: leaks, and what else tells the class."""

import numpy as np
import pytest

from napari_why.core.errors import LeakError
from napari_why.core.events import Message, never_cancelled
from napari_why.datasets import Dataset, identical_images
from napari_why.datasets.data_checks import check_data
from napari_why.fitting import fit
from napari_why.images import make_image
from napari_why.model.familiarity import describe_confounding


def leaky(copies: int = 12, channels: int = 2) -> Dataset:
    """Return images of which some come again under other names, in one channel or in all."""
    pixels = np.random.default_rng(1).integers(0, 999, (36, 2, 16, 16)).astype(np.uint16)
    pixels[36 - copies :, :channels] = pixels[:copies, :channels]
    images = [make_image(plane, "cyx", ("DAPI", "TMRM")) for plane in pixels]
    splits = ["train"] * 12 + ["validation"] * 12 + ["test"] * 12
    return Dataset.from_images(images, ["a", "b"] * 18, split=splits)


def check(dataset: Dataset, duplicates: str):
    said: list[str] = []

    def hear(event) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    found = check_data(dataset, duplicates, on_event=hear, cancelled=never_cancelled)
    assert tuple(said) == found.notes
    return found


@pytest.mark.parametrize("channels", [1, 2])
def test_copies_in_two_splits_are_refused_with_a_way_on(channels: int) -> None:
    with pytest.raises(LeakError, match=r"identical DAPI.*duplicates='leave_out'"):
        fit(leaky(channels=channels), "cam_net", size=16, epochs=1)


# Of 20 copies, four are of images that are copies themselves.
@pytest.mark.parametrize(("copies", "left_out"), [(3, 3), (12, 12), (20, 16)])
def test_copies_can_be_left_out(copies: int, left_out: int) -> None:
    found = check(leaky(copies), "leave_out")
    assert not any(item.leaks for item in identical_images(found.dataset))
    assert len(found.dataset.part("train")) == 12
    assert len(found.dataset) == 36 - left_out
    assert len(found.left_out) == left_out
    assert "left out" in found.notes[-1]


def test_kept_copies_are_noted() -> None:
    found = check(leaky(), "keep")
    assert len(found.dataset) == 36
    assert "too good" in found.notes[-1]
    assert check(leaky(0), "refuse").notes == ()


def test_wells_in_two_splits_are_told_though_they_were_allowed() -> None:
    plain = leaky(0)
    images = [plain.image(row) for row in range(36)]
    table = {"split": list(plain.table["split"]), "well": [f"A{n % 6 + 1}" for n in range(36)]}
    with pytest.raises(LeakError):
        Dataset.from_images(images, ["a", "b"] * 18, **table)
    for allowed in ({"allow_leak": True}, {"group": None}):
        data = Dataset.from_images(images, ["a", "b"] * 18, **allowed, **table)
        assert any("6 of 6 groups by well" in note for note in check(data, "refuse").notes)


def test_the_card_keeps_groups_and_what_tells_the_class(tmp_path) -> None:
    from napari_why.model import load

    plain = leaky(0)
    images = [plain.image(row) for row in range(36)]
    labels = ["a" if number % 12 < 6 else "b" for number in range(36)]
    plates = ["P1" if label == "a" else "P2" for label in labels]
    columns = {"plate": plates, "well": [f"A{number // 2 + 1}" for number in range(36)]}
    data = Dataset.from_images(images, labels, **columns, split=list(plain.table["split"]))
    classifier = fit(data, "cam_net", size=16, epochs=1)
    (said, *_) = describe_confounding(classifier.card)
    assert "plates of its own" in said
    assert said in classifier.card["notes"]
    groups = classifier.card["seen_groups"]
    assert groups["columns"] == ["plate", "well"]
    assert len(groups["names"]) == 12
    classifier.save(tmp_path / "model")
    assert load(tmp_path / "model").card["confounding"] == classifier.card["confounding"]
