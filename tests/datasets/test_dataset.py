from pathlib import Path

import numpy as np
import pytest

from napari_why.core.errors import DatasetError, LeakError
from napari_why.core.events import Message, ignore_event, never_cancelled
from napari_why.datasets import Dataset, image_store
from napari_why.datasets.data_checks import check_data
from napari_why.images import make_image, write

from .conftest import FolderMaker, image_of


def in_memory(count: int = 12, **columns: list[str]) -> Dataset:
    labels = ["sick", "healthy"] * (count // 2)
    return Dataset.from_images([image_of(n) for n in range(count)], labels, **columns)


def test_a_folder_with_a_sub_folder_per_class(class_folder: FolderMaker) -> None:
    dataset = Dataset.open(class_folder(sick=3, healthy=2))
    assert len(dataset) == 5
    assert dataset.classes == ("healthy", "sick")
    assert dataset.channels == ("DAPI", "TMRM")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.image(2).identical(dataset.image(2))
    assert dataset.image(2).dtype == np.uint16
    np.testing.assert_array_equal(dataset.image(2), image_of(0))


def test_every_file_is_read_once(
    class_folder: FolderMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = class_folder(sick=3, healthy=3)
    files = []
    read = image_store.read

    def counting(path, **options):
        files.append(path)
        return read(path, **options)

    monkeypatch.setattr(image_store, "read", counting)
    dataset = Dataset.open(folder)
    for index in range(len(dataset)):
        dataset.image(index)
    assert len(dataset.fingerprint) == 64
    assert len(files) == len(set(files)) == 6


def test_files_beyond_the_memory_are_read_each_time(class_folder: FolderMaker) -> None:
    folder = class_folder(sick=2)
    files = sorted((folder / "sick").glob("*.tif"))
    store = image_store.ImageStore([(file,) for file in files], kept_bytes=image_of(0).nbytes)
    first, second = store.image(0), store.image(1)
    assert store.image(0) is first
    assert store.image(1) is not second
    np.testing.assert_array_equal(store.image(1), second)


def test_pixels_cannot_be_written_to_and_the_given_array_can() -> None:
    given = [image_of(0), image_of(1)]
    dataset = Dataset.from_images(given, ["a", "b"])
    with pytest.raises(ValueError, match="read-only"):
        dataset.image(0).values[0, 0, 0] = 1
    given[0][0, 0, 0] = 7


def test_unreadable_files_are_listed_and_not_fatal_up_to_a_share(
    class_folder: FolderMaker,
) -> None:
    folder = class_folder(sick=3, healthy=3)
    whole = folder / "sick" / "sick_00.ome.tif"
    broken = folder / "sick" / "broken.tif"
    broken.write_bytes(whole.read_bytes()[:-150])
    with pytest.raises(DatasetError, match=r"1 of 7 files unreadable .*broken\.tif"):
        Dataset.open(folder)
    dataset = Dataset.open(folder, max_unreadable=0.2)
    assert len(dataset) == 6
    assert [Path(item.path).name for item in dataset.unreadable] == ["broken.tif"]
    assert "broken.tif" in dataset.unreadable[0].reason
    np.testing.assert_array_equal(dataset.image(3), image_of(0))


def test_a_stack_is_no_image_of_a_data_set(class_folder: FolderMaker) -> None:
    folder = class_folder(sick=2, healthy=2)
    write(make_image(np.zeros((3, 2, 8, 8), "uint16"), "zcyx", None), folder / "sick" / "z.ome.tif")
    dataset = Dataset.open(folder, max_unreadable=0.5)
    assert "stack" in dataset.unreadable[0].reason


def test_cancelling_keeps_what_was_read(class_folder: FolderMaker) -> None:
    folder = class_folder(sick=2, healthy=3)
    events: list[object] = []
    dataset = Dataset.open(folder, on_event=events.append, cancelled=lambda: len(events) > 2)
    assert len(dataset) == 2
    assert events[-1].partial is True


@pytest.mark.parametrize(
    ("counts", "message"),
    [({}, "found 0 sub-folders"), ({"sick": 0}, "without images"), ({"sick": 2}, "one class only")],
)
def test_folders_that_are_no_data_set(
    class_folder: FolderMaker, counts: dict[str, int], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset.open(class_folder(**counts))


def test_a_class_with_one_image_opens_and_the_split_says_so(class_folder: FolderMaker) -> None:
    dataset = Dataset.open(class_folder(sick=1, healthy=5))
    assert len(dataset) == 6
    with pytest.raises(DatasetError, match=r"class sick: found 1 groups \(1 images\)"):
        dataset.split()


def test_images_that_differ_in_channels_or_type_are_refused() -> None:
    two, one = image_of(0), image_of(1, channels=("DAPI",))
    with pytest.raises(DatasetError, match="2 images with channels DAPI, TMRM but 1 with"):
        Dataset.from_images([two, two, one], ["a", "b", "a"])
    with pytest.raises(DatasetError, match="pixel type uint8"):
        Dataset.from_images([two, two, image_of(1, dtype="uint8")], ["a", "b", "a"])


def test_what_is_no_image_or_does_not_fit_is_refused() -> None:
    with pytest.raises(DatasetError, match="found ndarray"):
        Dataset.from_images([image_of(0).values, image_of(1)], ["a", "b"])
    with pytest.raises(DatasetError, match="well: found 1 values"):
        Dataset.from_images([image_of(0), image_of(1)], ["a", "b"], well=["A1"])


def test_groups_by_plate_and_well_or_as_asked() -> None:
    places = {"plate": list("1122") * 3, "well": list("ABAB") * 3}
    dataset = in_memory(12, **places)
    assert dataset.group_columns == ("plate", "well")
    assert len(np.unique(dataset.groups)) == 4
    images = [image_of(n) for n in range(12)]
    by_well = Dataset.from_images(images, dataset.table["label"].tolist(), group="well", **places)
    assert len(np.unique(by_well.groups)) == 2
    alone = Dataset.from_images(images, dataset.table["label"].tolist(), group=None, **places)
    assert len(np.unique(alone.groups)) == 12
    with pytest.raises(DatasetError, match="no column donor to group by"):
        Dataset.from_images(images, ["a", "b"] * 6, group="donor", **places)


def test_a_missing_well_is_refused() -> None:
    with pytest.raises(DatasetError, match="no well for 1 images"):
        in_memory(2, well=["A1", None])


def test_parts_keep_the_numbers_of_the_classes() -> None:
    dataset = in_memory(12).split(seed=3)
    only_sick = dataset.select(dataset.labels == 1)
    assert only_sick.classes == ("healthy", "sick")
    assert set(only_sick.labels) == {1}
    assert only_sick.table.index.tolist() == list(range(6))
    np.testing.assert_array_equal(only_sick.image(1), dataset.image(2))
    assert len(dataset.select([])) == 0
    assert sum(len(dataset.part(name)) for name in ("train", "validation", "test")) == 12


def test_part_says_what_is_missing() -> None:
    with pytest.raises(DatasetError, match=r"call split\(\)"):
        in_memory(2).part("train")
    with pytest.raises(DatasetError, match="expected one of test, train, validation"):
        in_memory(12).split().part("val")


def test_a_split_of_the_table_is_kept_and_checked() -> None:
    own = ["train"] * 8 + ["test"] * 4
    dataset = in_memory(12, split=own)
    assert dataset.split(seed=1).table["split"].tolist() == own
    assert set(dataset.split(redraw=True).table["split"]) == {"train", "validation", "test"}
    with pytest.raises(DatasetError, match="found 'exam'"):
        in_memory(2, split=["train", "exam"])


def test_a_leak_of_a_group_is_an_error_unless_asked_for() -> None:
    images, wells = [image_of(n) for n in range(4)], ["A1", "A2", "A1", "A2"]
    labels, split = ["a", "b", "a", "b"], ["train", "train", "test", "train"]
    with pytest.raises(LeakError, match=r"1 of 2 groups by well .*A1 in test and train"):
        Dataset.from_images(images, labels, well=wells, split=split)
    leaky = Dataset.from_images(images, labels, allow_leak=True, well=wells, split=split)
    with pytest.raises(LeakError):
        leaky.split()
    assert leaky.split(allow_leak=True) is leaky


def test_summary_counts_groups_and_images_per_split() -> None:
    wells = [f"{label}{n}" for n in (1, 1, 2, 2, 3, 3) for label in "AB"]
    summary = in_memory(12, well=wells).split(fractions=(1 / 3, 1 / 3, 1 / 3)).summary()
    assert summary.columns.tolist() == ["split", "label", "groups", "images"]
    assert summary["split"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert summary["groups"].tolist() == [1] * 6
    assert summary["images"].tolist() == [2] * 6
    assert in_memory(4).summary()["split"].tolist() == ["all", "all"]


def test_fingerprint_depends_on_pixels_labels_and_split_but_not_on_the_place(
    class_folder: FolderMaker,
) -> None:
    here = Dataset.open(class_folder("here", sick=3, healthy=3))
    there = Dataset.open(class_folder("there", sick=3, healthy=3))
    assert here.fingerprint == there.fingerprint
    images = [here.image(index) for index in range(6)]
    labels = here.table["label"].tolist()
    assert Dataset.from_images(images, labels).fingerprint == here.fingerprint
    images[2] = images[2].copy(data=images[2].values + (np.arange(144) == 5).reshape(12, 12))
    assert Dataset.from_images(images, labels).fingerprint != here.fingerprint
    assert here.split().fingerprint != here.fingerprint
    assert here.select(range(5)).fingerprint != here.fingerprint


@pytest.mark.parametrize(("larger", "told"), [(4, False), (5, True)])
def test_classes_of_more_than_twice_the_size_are_told(
    class_folder: FolderMaker, larger: int, told: bool
) -> None:
    """Where images are opened, split and counted."""
    labels = ["healthy"] * larger + ["sick"] * 2
    dataset = Dataset.from_images([image_of(n) for n in range(len(labels))], labels)
    said = [sentence for sentence in dataset.summary().attrs["sentences"] if "uneven" in sentence]
    assert [dataset.imbalance] == (said or [""])
    assert bool(said) == told
    if told:
        assert f"{larger} images of healthy and 2 of sick" in said[0]
        assert "always naming healthy would be right for 71%" in said[0]
    heard: list[object] = []
    opened = Dataset.open(class_folder(healthy=larger, sick=2), on_event=heard.append)
    assert opened.imbalance == dataset.imbalance
    assert any("uneven" in str(event) for event in heard) == told


def test_an_uneven_training_set_is_noted_for_the_card() -> None:
    labels = ["healthy"] * 9 + ["sick"] * 5
    splits = ["train"] * 9 + ["train"] * 3 + ["test"] * 2
    dataset = Dataset.from_images([image_of(n) for n in range(14)], labels, split=splits)
    assert dataset.imbalance == ""
    heard: list[object] = []
    found = check_data(dataset, "keep", on_event=heard.append, cancelled=lambda: False)
    assert any("9 images of healthy and 3 of sick" in note for note in found.notes)
    assert any("9 images of healthy and 3 of sick" in str(event) for event in heard)


def test_what_was_left_out_and_noticed_is_told_once_and_kept(class_folder: FolderMaker) -> None:
    folder = class_folder(sick=30, healthy=30)
    broken = folder / "sick" / "broken.ome.tif"
    broken.write_bytes(b"II*\0no tiff")
    told: list[str] = []

    def on_event(event: object) -> None:
        if isinstance(event, Message) and event.finding:
            told.append(event.text)

    dataset = Dataset.open(folder, on_event=on_event)
    left_out = [note for note in dataset.notes if "left out" in note]
    assert len(left_out) == 1
    assert str(broken) in left_out[0]
    assert [text for text in told if text in dataset.notes] == list(dataset.notes)
    split = dataset.split(seed=0)
    assert split.part("train").notes == dataset.notes
    assert left_out[0] in split.summary().attrs["sentences"]
    checked = check_data(split, "refuse", on_event=ignore_event, cancelled=never_cancelled)
    assert checked.to_card()["data_notes"] == list(dataset.notes)


@pytest.mark.parametrize(
    "notes",
    [
        (
            "DAPI: values reach 577: 12 bits stored in 16.",
            "DAPI: values reach 486: 12 bits stored in 16.",
        ),
        ("The tags come to 6.5 um a pixel.", "The tags come to 1,3 um a pixel."),
        ("Its OME-XML is that of a_f1.ome.tif.", "Its OME-XML is that of b_f22.ome.tif."),
        ("The label 'A1' is one.", "The label 'β 2' is one."),
        ("image 0: odd.", "image 1: odd."),
    ],
)
def test_notes_that_differ_in_numbers_and_names_are_one(notes: tuple[str, str]) -> None:
    noted = [("image 0", [notes[0], "other."]), ("image 1", [notes[1]])]
    told = image_store.fold_notes(noted, 3)
    assert len(told) == 2
    assert told[0].startswith(notes[0])
    assert "2 of 3 images" in told[0]
    assert "of the first" in told[0]
    assert told[1] == "other. (1 of 3 images, the first image 0)"


@pytest.mark.parametrize(
    "notes",
    [
        ("DAPI: values reach 577.", "TMRM: values reach 577."),
        ("channel 1: values reach 577.", "channel 2: values reach 577."),
        ("The size along x is unknown.", "The size along z is unknown."),
    ],
)
def test_notes_that_differ_in_channels_or_words_stay_apart(notes: tuple[str, str]) -> None:
    told = image_store.fold_notes([("a.tif", [notes[0]]), ("b.tif", [notes[1]])], 2)
    assert [line.partition(" (")[0] for line in told] == list(notes)


def test_a_note_of_the_reader_counts_its_images() -> None:
    odd = image_of(0).assign_attrs(notes=("odd",))
    store = image_store.ImageStore([odd, image_of(1), odd])
    table = in_memory(4).table
    assert image_store.describe_reading(store, table, (0, 1, 2), ()) == [
        "odd (2 of 3 images, the first image 0)"
    ]
