"""A class asked for by a number is the one that is called so, in every verb, and it is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_why as why
from napari_why.cli import main
from napari_why.core.errors import ParameterError
from napari_why.model.classifier import find_class


@pytest.mark.parametrize(
    ("classes", "given", "name"),
    [
        (("diseased", "treated"), 1, "treated"),
        (("diseased", "treated"), np.int64(0), "diseased"),
        (("diseased", "treated"), "treated", "treated"),
        (("1", "2"), 1, "1"),
        (("1", "2"), 2, "2"),
        (("1", "2"), "1", "1"),
        (("0", "1"), 1, "1"),
        (("1", "0"), 1, "1"),
        (("2", "1", "0"), 0, "0"),
        (("01", "02"), 1, "01"),
        (("1.0", "2.0"), 2, "2.0"),
        (("-1", "1"), -1, "-1"),
        (("10", "30", "100"), 100, "100"),
        (("1", "01"), 1, "1"),
        (("dose 1", "2"), 2, "2"),
    ],
)
def test_the_class_of_that_name(classes: tuple[str, ...], given, name: str) -> None:
    found = find_class(classes, given)
    assert (found.name, classes[found.index]) == (name, name)


@pytest.mark.parametrize(
    ("classes", "given", "told"),
    [
        (("1", "2"), 1, "taken as the class of that name, '1', and not as the index of '2'"),
        (("1", "0"), 0, "taken as the class of that name, '0', and not as the index of '1'"),
        (("1", "2"), 0, "no class's name and was taken as an index: of class '1'"),
        (("5", "control"), 1, "no class's name and was taken as an index: of class 'control'"),
        (("0", "1"), 1, None),
        (("1", "2"), 2, None),
        (("1", "2"), "2", None),
        (("diseased", "treated"), 1, None),
    ],
)
def test_what_may_mean_two_classes_is_told(classes: tuple[str, ...], given, told) -> None:
    notes = find_class(classes, given).notes
    assert len(notes) == (told is not None)
    assert told is None or told in notes[0]


@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (("1", "2"), 3),
        (("1", "2"), "3"),
        (("01", "1.0"), 1),
        (("a", "b"), "1"),
        (("a", "b"), -1),
        (("a", "b"), True),
        (("1", "2"), True),
        (("1", "2"), 1.0),
        (("nan", "inf"), 2),
    ],
)
def test_no_class_is_guessed(classes: tuple[str, ...], given) -> None:
    with pytest.raises(ParameterError, match=r"^source: found"):
        find_class(classes, given, "source")


@pytest.fixture(scope="module")
def numbered() -> why.Classifier:
    """A classifier whose classes are called 1 and 2, as a column of a table calls them."""
    torch.manual_seed(0)
    scenes = why.simulate(16, size=32, wells=8)
    names = dict(zip(scenes.classes, ("1", "2"), strict=True))
    images = [scenes.image(row) for row in range(len(scenes))]
    data = why.Dataset.from_images(images, [names[label] for label in scenes.table["label"]])
    tiny = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    return why.fit(
        data.split(seed=1), "iresnet", size=32, epochs=1, network_parameters=tiny, threads=1,
        lock="none", pixel_maps=False,
    )  # fmt: skip


def test_every_verb_takes_the_class_of_that_name(numbered: why.Classifier) -> None:
    image = why.simulate(2, size=32, wells=2).image(0)
    other = next(name for name in numbered.classes if name != numbered.predict(image).label)
    told = f"target {other} was taken as the class of that name" if other == "1" else None

    found = why.attribute(numbered, image, "saliency", int(other))
    assert found.target == found.record.details["target"] == other
    changed = why.counterfactual(numbered, image, int(other), "mean_shift", steps=2)
    assert changed.target == other
    measured = why.measure_dataset(numbered, [image], int(other), "mean_shift", steps=2)
    assert measured.record.parameters["target"] == other
    assert measured.images["direction"].iloc[0].endswith(f"to {other}")
    for sentences in (found.notes, changed.notes, measured.sentences):
        assert any(told in sentence for sentence in sentences) if told else True


def test_the_shell_takes_a_name(numbered: why.Classifier, tmp_path: Path) -> None:
    model = numbered.save(tmp_path / "model")
    image = why.write(why.simulate(2, size=32, wells=2).image(0), tmp_path / "image.ome.tif")
    out = tmp_path / "map.ome.tif"
    for target in ("1", "2"):
        words = f"attribute {model} {image} --out {out} --method=saliency --overwrite"
        with pytest.raises(SystemExit) as left:
            main([*words.split(), "--target", target])
        assert left.value.code == 0
        assert json.loads(out.with_name("map.json").read_text())["details"]["target"] == target


def test_a_goal_keeps_its_own_class(numbered: why.Classifier) -> None:
    """The class that a goal is predicted to be is an index, and no name."""
    from napari_why.counterfactuals.generate import pose_question

    scenes = why.simulate(8, size=32, wells=8)
    images = [scenes.image(row) for row in range(len(scenes))]
    for goal in images:
        label = numbered.predict(goal).label
        question = pose_question(numbered, images[0], None, goal, source="12".replace(label, ""))
        assert numbered.classes[question.target] == label
