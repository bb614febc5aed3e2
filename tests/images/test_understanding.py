import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_why.core.errors import ImageReadError
from napari_why.images import read, understand

PIXELS = np.random.default_rng(0).integers(1, 60000, (3, 6, 7)).astype("uint16")


def save(path: Path, pixels=PIXELS[0]) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    return path


def test_what_has_to_be_asked_is_said(tmp_path: Path) -> None:
    about = understand(save(tmp_path / "pages.tif", PIXELS))
    assert (about.format, about.stored_axes, about.shape) == ("plain TIFF", "?yx", (3, 6, 7))
    assert "axes='zyx'" in about.question


def test_files_of_one_image_are_listed(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"p_B02_s1_w{channel}.tif") for channel in (1, 2)]
    about = understand(paths[1])
    assert about.files == tuple(map(str, paths))
    assert (about.axes, about.channels, about.question) == ("cyx", ("w1", "w2"), "")


def test_a_plate_tells_its_wells_and_what_is_missing(tmp_path: Path) -> None:
    for name in ("p_A01_s1_w1.tif", "p_A01_s1_w2.tif", "p_A02_s1_w1.tif"):
        save(tmp_path / name)
    about = understand(tmp_path)
    assert (about.wells, about.fields) == (("A01", "A02"), 2)
    assert "no file of channel w2" in " ".join(about.notes)
    with pytest.raises(ImageReadError, match="without files of a known convention"):
        understand(tmp_path.parent / tmp_path.name / "..", pattern="(?P<channel>nothing)")


def test_a_folder_whose_files_have_to_be_asked_for_lists_what_reads_it(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"p_B02_s1_w{channel}.tif", PIXELS) for channel in (1, 2)]
    about = understand(tmp_path)
    assert about.files == tuple(map(str, paths))
    assert (about.stored_axes, about.axes, about.shape) == ("?yx", "", (3, 6, 7))
    assert (about.channels, about.wells, about.fields) == (("w1", "w2"), ("B02",), 1)
    assert "3 pages without a word" in about.question
    assert [choice.axes for choice in about.choices] == ["zyx", "tyx"]
    for choice in about.choices:
        assert read(tmp_path, **choice.arguments).sizes["c"] == 2
    save(tmp_path / "p_B03_s1_w1.tif", PIXELS)
    several = understand(tmp_path)
    assert several.question.startswith("2 fields; the first is described; ")
    assert several.choices == about.choices


def test_a_folder_of_pages_in_stacks_has_no_answer(tmp_path: Path) -> None:
    for plane in (1, 2):
        save(tmp_path / f"r02c03f01p{plane:02}-ch1sk1fk1fl1.tiff", PIXELS)
    about = understand(tmp_path)
    assert about.choices == ()
    assert "read each file on its own" in about.question


def test_the_shell_lists_the_answers_for_a_folder(tmp_path: Path) -> None:
    from napari_why.cli import application

    for channel in (1, 2):
        save(tmp_path / f"p_B02_s1_w{channel}.tif", PIXELS)
    outcome = CliRunner().invoke(application, ["inspect", str(tmp_path)])
    assert outcome.exit_code == 0
    assert "choices      zyx: 3 z planes; tyx: 3 time points\n" in outcome.output


def test_the_shell_prints_it_as_lines_and_as_json(tmp_path: Path) -> None:
    from napari_why.cli import application

    path = str(save(tmp_path / "field.tif"))
    lines = CliRunner().invoke(application, ["inspect", path]).output
    assert "plain TIFF" in lines
    found = json.loads(CliRunner().invoke(application, ["inspect", path, "--json"]).output)
    assert (found["shape"], found["channels"]) == ([1, 6, 7], ["channel 1"])


def test_the_shell_lists_the_answers_to_what_it_asks(tmp_path: Path) -> None:
    from napari_why.cli import application

    path = str(save(tmp_path / "pages.tif", PIXELS))
    lines = CliRunner().invoke(application, ["inspect", path]).output
    assert "zyx: 3 z planes; tyx: 3 time points; cyx: 3 channels" in lines
    found = json.loads(CliRunner().invoke(application, ["inspect", path, "--json"]).output)
    assert found["choices"][2] == {"axes": "cyx", "words": "3 channels", "channels": []}
