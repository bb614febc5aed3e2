"""``napari-why inspect`` on folders and tables, and what is told of images and written to any stream."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.cli.long_work import write_json
from napari_why.images import make_image, read, write


def make_set(folder: Path, *, count: int = 2, suffix: str = "") -> Path:
    for number, label in enumerate(("healthy", "treated")):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng(10 * number + index).integers(9, 250, (2, 8, 8))
            image = make_image(pixels.astype("uint16"), "cyx", ["DAPI", "TMRM"])
            write(image, folder / label / f"i{index}{suffix}.ome.tif")
    return folder


def make_plate(folder: Path, name: str = "p_{well}_s{field}_w{channel}.tif") -> Path:
    folder.mkdir()
    for well in ("B02", "B03"):
        for field in (1, 2):
            for channel in (1, 2):
                pixels = np.full((8, 8), 100 * channel + field, "uint16")
                pixels[0, 0] = 7
                path = folder / name.format(well=well, field=field, channel=channel)
                tifffile.imwrite(path, pixels, metadata=None)
    return folder


def lines_of(text: str) -> list[str]:
    """The lines of single images, which begin with a file."""
    lines = [line for line in text.splitlines() if not line.startswith("notes ")]
    return [line for line in lines if ".tif:" in line or " + " in line.split(":")[0]]


def test_class_folders_one_line_an_image(shell, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    (folder / "treated" / "broken.tif").write_bytes(b"II*\0")
    (folder / "#recycle").mkdir()
    (folder / "#recycle" / "old.tif").write_bytes(b"II*\0")
    outcome = shell("inspect", folder)
    assert outcome.code == 0
    assert "classes      healthy 2, treated 3" in outcome.out
    notes = [line for line in outcome.out.splitlines() if line.startswith("notes ")]
    assert len(notes) == 2
    assert "1 in recycle bins" in notes[0]
    assert "Cannot be read: 1 of 5 images, the first: " in notes[1]
    lines = lines_of(outcome.out)
    assert len(lines) == 5
    assert f"{Path('healthy') / 'i0.ome.tif'}: label healthy; channels DAPI, TMRM" in lines
    assert "broken.tif: label treated" in lines[2]
    assert "cannot be read" in lines[2]
    assert "channels" not in lines[2]
    assert lines[0] in lines_of(shell("inspect", folder, "--all").out)


def test_json_has_everything(shell, tmp_path: Path) -> None:
    found = json.loads(shell("inspect", make_set(tmp_path / "set", count=12), "--json").out)
    assert found["classes"] == {"healthy": 12, "treated": 12}
    assert len(found["images"]) == 24
    last = found["images"][-1]
    assert last["label"] == "treated"
    assert (last["shape"], last["dtype"], last["channels"]) == (
        [2, 8, 8],
        "uint16",
        ["DAPI", "TMRM"],
    )


def test_a_long_folder_shows_its_first_images_and_a_count(shell, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", count=12)
    assert len(lines_of(shell("inspect", folder).out)) == 20
    assert "... and 4 more images; --all shows them" in shell("inspect", folder).out
    assert len(lines_of(shell("inspect", folder, "--all").out)) == 24


def test_files_of_a_channel_each(shell, tmp_path: Path) -> None:
    outcome = shell("inspect", make_plate(tmp_path / "plate"))
    lines = lines_of(outcome.out)
    assert len(lines) == 4
    assert lines[0].startswith("p_B02_s1_w1.tif + p_B02_s1_w2.tif: plate p; well B02; field 1;")
    assert "channels w1, w2; named as ImageXpress / MetaXpress" in lines[0]
    assert "wells        B02; B03" in outcome.out
    assert "No classes" in outcome.out


def test_a_plate_map_shows_the_match(shell, tmp_path: Path) -> None:
    plate = make_plate(tmp_path / "plate")
    (tmp_path / "map.csv").write_text("well,treatment\nB02,DMSO\nB04,FCCP\n", encoding="utf-8")
    found = json.loads(shell("inspect", plate, "--plate-map", tmp_path / "map.csv", "--json").out)
    assert [row["label"] for row in found["images"]] == ["DMSO"] * 2
    assert [row["well"] for row in found["images"]] == ["B02"] * 2
    assert len(found["left_out"]) == 2
    assert "the plate map lists no well B03" in found["left_out"][0]["reason"]
    assert any("B04" in note for note in found["notes"])


def test_a_pattern_shows_its_match(shell, tmp_path: Path) -> None:
    plate = make_plate(tmp_path / "plate", "{well}-{field}-c{channel}.tif")
    pattern = r"(?P<well>[A-H]\d+)-(?P<field>\d+)-(?P<channel>c\d)"
    lines = lines_of(shell("inspect", plate, "--pattern", pattern).out)
    assert lines[0].startswith("B02-1-c1.tif + B02-1-c2.tif: well B02; field 1; channels c1, c2")
    assert len(lines) == 4


def test_a_pattern_keeps_the_classes_of_folders(shell, tmp_path: Path) -> None:
    for label in ("healthy", "treated"):
        (tmp_path / "set").mkdir(exist_ok=True)
        make_plate(tmp_path / "set" / label, "{well}-{field}-c{channel}.tif")
    pattern = r"(?P<well>[A-H]\d+)-(?P<field>\d+)-(?P<channel>c\d)"
    found = json.loads(shell("inspect", tmp_path / "set", "--pattern", pattern, "--json").out)
    assert found["classes"] == {"healthy": 4, "treated": 4}


def test_a_table_of_images(shell, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    table = folder / "labels.csv"
    table.write_text(
        "path,label,well\nhealthy/i0.ome.tif,a,B02\ntreated/i0.ome.tif,b,B03\n", "utf-8"
    )
    for place in (table, folder):
        lines = lines_of(shell("inspect", place).out)
        assert len(lines) == 2
        assert "label a; well B02" in lines[0]


def test_what_a_data_set_would_say_is_said(shell, tmp_path: Path) -> None:
    """Groups from names, files put together, the question that opening would end with."""
    for name, said, absent in (
        ("{well}_f{field}.ome.tif", "Groups were taken from the names: 24 images of 12 wells", "+"),
        (
            "{well}_s{field}_w{channel}.tif",
            "48 files were taken as 24 images of w1 and w2",
            "w1 is",
        ),
        ("{well}-f{field}-{letter}.tif", "pattern='(?P<field>.+)(?P<channel>a|b)'", "No classes"),
        ("{well}-{field}-{channel}.tif", "Every image has one channel", "No classes"),
    ):
        folder = tmp_path / name.replace("{", "").replace("}", "")
        for number in range(48):
            label, row = ("healthy", "B") if number < 24 else ("treated", "C")
            parts = {"well": f"{row}{number % 6 + 2:02d}", "field": number // 6 % 2 + 1}
            parts |= {"channel": number // 12 % 2 + 1, "letter": "ab"[number // 12 % 2]}
            path = folder / label / name.format(**parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((2, 8, 8) if name.endswith(".ome.tif") else (8, 8), number, "uint16")
            tifffile.imwrite(path, pixels, metadata=None)
        outcome = shell("inspect", folder)
        notes = [line for line in outcome.out.splitlines() if line.startswith("notes ")]
        assert any(said in note for note in notes), outcome.out
        assert absent not in outcome.out
        assert notes == [
            f"notes        {note}"
            for note in json.loads(shell("inspect", folder, "--json").out)["notes"]
        ]


def test_litter_keeps_no_groups_from_being_told(shell, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", count=12)
    for path in sorted(folder.rglob("i*.tif")):
        row = "BC"[path.parent.name == "treated"]
        number = int(path.name.partition(".")[0][1:])
        path.rename(path.with_name(f"{row}{number + 1:02d}_f1.ome.tif"))
    (folder / "healthy" / "thumb.jpg").write_text("no image")
    out = shell("inspect", folder).out
    assert "Groups were taken from the names: 24 images of 24 wells" in out
    assert "no groups were taken" not in out
    assert "Cannot be read: 1 of 25 images" in out


def test_what_is_not_there_is_told_of_images_that_are_not_read(shell, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", count=12)
    (folder / "treated" / "zzz.ome.tif").symlink_to(tmp_path / "gone.ome.tif")
    out = shell("inspect", folder).out
    assert "Cannot be read: 1 of 25 images (20 were read), the first: " in out
    assert "zzz.ome.tif" in out


def test_the_options_of_a_plate_are_those_of_train(shell, tmp_path: Path) -> None:
    plate = make_plate(tmp_path / "plate", "{well}-x_{field}-{channel}.tif")
    (tmp_path / "map.csv").write_text("well,treatment\nB02,DMSO\nB03,FCCP\n", encoding="utf-8")
    options = ("--plate-map", tmp_path / "map.csv", "--json")
    names = ("--pattern", r"(?P<well>B\d+)-x_(?P<field>\d)-(?P<channel>\d)")
    where = r"(?P<well>B\d+)-x"
    for given, count in (
        ((*names, "--well-pattern", where), 4),
        (names, 4),
        (("--well-pattern", where), 8),
        (("--pattern", where), 8),
    ):
        found = json.loads(shell("inspect", plate, *options, *given).out)
        assert [row["label"] for row in found["images"]] == ["DMSO"] * (count // 2) + ["FCCP"] * (
            count // 2
        )
        channels = found["images"][0]["channels"]
        assert channels == (["1", "2"] if count == 4 else ["channel 1"])
    refused = shell("inspect", plate, "--well-pattern", where)
    assert refused.code == 1
    assert "--plate-map" in refused.err


def test_a_folder_without_an_image_is_refused_in_a_line(shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = shell("inspect", tmp_path / "empty")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "no image" in outcome.err


# ---------------------------------------------------------------------- what is told of an image


@pytest.fixture
def noted(tmp_path: Path, image: Path) -> Path:
    """An image of 12 bits stored in 16, which the reader notes."""
    stored = read(image)
    pixels = np.asarray(stored).astype(float)
    scaled = stored.copy(data=(pixels / pixels.max() * 4000).astype("uint16"))
    return write(scaled, tmp_path / "noted.ome.tif")


def test_what_is_noted_of_an_image_is_told_to_scripts(
    shell, model: Path, noted: Path, tmp_path: Path
) -> None:
    said = "12 bits stored in 16"
    outcome = shell("predict", model, noted)
    assert said in outcome.err
    (row,) = json.loads(shell("predict", model, noted, "--json").out)
    assert said in row["notes"]
    out = tmp_path / "map.ome.tif"
    outcome = shell("attribute", model, noted, "--method", "saliency", "--out", out)
    assert outcome.code == 0
    assert said in outcome.err
    record = json.loads(next(tmp_path.glob("map*.json")).read_text(encoding="utf-8"))
    assert said in " ".join(record["details"]["image_notes"])
    out = tmp_path / "series.ome.tif"
    outcome = shell("counterfactual", model, noted, "--steps", 3, "--out", out)
    assert outcome.code == 0
    assert said in outcome.err
    out = tmp_path / "measured"
    outcome = shell("measure", model, noted, "--steps", 3, "--no-figures", "--out", out)
    assert said in outcome.err
    assert said in (out / "summary.txt").read_text(encoding="utf-8")


# ----------------------------------------------------------------------------- any encoding at all


def run_shell(encoding: str, *arguments: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "napari_why.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )


def test_a_stream_of_few_letters_ends_nothing(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    (folder / "treated").rename(folder / "\u0394-TMRM")
    outcome = run_shell("cp1252", "inspect", folder)
    assert outcome.returncode == 0, outcome.stderr
    text = outcome.stdout.decode("cp1252")
    assert "label ?-TMRM" in text
    assert len(lines_of(text)) == 4


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "cp932"])
def test_json_is_whole_in_every_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    value = {"label": "\u0394-TMRM \u00b5 \udce4"}
    with (tmp_path / "out").open("w", encoding=encoding, errors="replace") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        write_json(value)
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert json.loads(text) == {"label": "\u0394-TMRM \u00b5 \ufffd"}
