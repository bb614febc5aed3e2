"""Sources are never targets, and nothing is replaced but what was written here before."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import WhyError
from napari_why.core.record import Record
from napari_why.core.targets import check_target, is_own, refuse_sources
from napari_why.core.whole_files import (
    REPLACING,
    atomic_folder,
    atomic_path,
    find_former,
    replace_own_files,
    saved_file,
    write_table,
    write_whole,
)
from napari_why.images import make_image, read, record_path, write

PIXELS = np.arange(128, dtype=np.uint16).reshape(2, 8, 8)
RECORD = Record("attribution", "occlusion", source="raw.ome.tif")


def image(source: Path | str = ""):
    return make_image(PIXELS, "cyx", ["DAPI", "TMRM"], source=str(source))


# How a user may come to name a file by another name: each makes that name, and returns it.
LINKS: dict[str, Callable[[Path], Path]] = {}


def link(function: Callable[[Path], Path]) -> Callable[[Path], Path]:
    LINKS[function.__name__] = function
    return function


@link
def the_same_path(source: Path) -> Path:
    return source


@link
def a_path_with_detours(source: Path) -> Path:
    (source.parent / "aside").mkdir()
    return source.parent / "aside" / ".." / source.name


@link
def a_link(source: Path) -> Path:
    made = source.with_name("link.ome.tif")
    made.symlink_to(source)
    return made


@link
def a_relative_link(source: Path) -> Path:
    made = source.with_name("link.ome.tif")
    made.symlink_to(source.name)
    return made


@link
def a_link_to_a_link(source: Path) -> Path:
    made = source.with_name("second.ome.tif")
    made.symlink_to(a_link(source))
    return made


@link
def a_hard_link(source: Path) -> Path:
    made = source.with_name("hard.ome.tif")
    os.link(source, made)
    return made


@link
def a_linked_folder(source: Path) -> Path:
    folder = source.parent.parent / "linked"
    folder.symlink_to(source.parent)
    return folder / source.name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An image of our own writing, so that being a source alone keeps it."""
    folder = tmp_path / "images"
    folder.mkdir()
    return write(image(), folder / "raw.ome.tif")


@pytest.mark.parametrize("name", list(LINKS))
def test_a_source_is_no_target_however_it_is_named(source: Path, name: str) -> None:
    target = LINKS[name](source)
    before, inode = source.read_bytes(), source.stat().st_ino
    linked = target.is_symlink()
    named = Record("attribution", "lrp", source=str(source))
    several = Record("attribution", "lrp", details={"read_as": {"path": ["a.tif", str(source)]}})
    aimed = Record("counterfactual", "latent_interpolation", details={"goal": str(source)})
    writers: list[Callable[[], object]] = [
        lambda: write(image(source), target, overwrite=True),
        lambda: write(image(), target, record=named, overwrite=True),
        lambda: write(image(), target, record=several, overwrite=True),
        lambda: write(image(), target, record=aimed, overwrite=True),
        lambda: write_whole(target, b"new", sources=[str(source)]),
        lambda: check_target(target, [source], overwrite=True),
    ]
    for writer in writers:
        with pytest.raises(WhyError, match="a source is never overwritten"):
            writer()
    assert source.read_bytes() == before
    assert source.stat().st_ino == inode
    assert target.is_symlink() == linked


def test_a_folder_that_holds_a_source_is_no_target(source: Path) -> None:
    for folder in (source.parent, source.parent.parent):
        with pytest.raises(WhyError, match="a source is never overwritten"):
            refuse_sources(folder, [source])
    refuse_sources(source.parent / "model", [source, source.parent, "simulated scene 3", "a\0b"])


def test_nothing_is_written_into_an_image_that_is_a_folder(tmp_path: Path) -> None:
    zarr = write(image(), tmp_path / "raw.ome.zarr")
    before = {path: path.stat().st_mtime_ns for path in zarr.rglob("*")}
    for target in (zarr, zarr / "map.ome.tif", zarr / "0" / "map.ome.tif"):
        with pytest.raises(WhyError, match="source"):
            write(image(zarr), target, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in zarr.rglob("*")} == before


FOREIGN = {
    "raw.tif": b"II*\0somebody else's",
    "raw.ome.tif": b'II*\0<OME Creator="OMERO napari-why">',
    "plate.csv": b"path,label\n/data/napari-why/a.tif,healthy\n",
    "notes.json": b'{"napari-why": 1, "versions": ["napari-why"]}',
    "classifier.json": b'{"format": "napari-why classifier", "card": {"versions": {"napari-why": "1"}}}',
    "animation.gif": b"GIF89a napari-why",
    "figure.png": b"\x89PNG\r\n\x1a\nnapari-why is good",
    "notes.txt": b"napari-why",
    "table.parquet": b"PAR1 PAR1",
    "film.mp4": b"\0\0\0 ftypisom",
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_what_another_program_wrote_is_kept(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_bytes(FOREIGN[name])
    assert not is_own(target)
    with pytest.raises(WhyError, match="napari-why did not write"):
        write_whole(target, b"new")
    assert target.read_bytes() == FOREIGN[name]
    assert list(tmp_path.iterdir()) == [target]


def test_a_table_beside_an_images_record_is_kept(tmp_path: Path) -> None:
    write(image(), tmp_path / "well.ome.tif", record=RECORD)
    (tmp_path / "well.csv").write_text("cell,area\n1,200\n")
    with pytest.raises(WhyError, match="did not write"):
        write_table(pd.DataFrame({"change": [0.5]}), tmp_path / "well.csv")
    assert (tmp_path / "well.csv").read_text() == "cell,area\n1,200\n"


def test_a_users_table_that_names_this_program_is_kept(tmp_path: Path) -> None:
    mine = pd.DataFrame({"path": ["/data/napari-why/a.tif", "/data/napari_why/b.tif"]})
    mine.to_parquet(tmp_path / "mine.parquet")
    assert not is_own(tmp_path / "mine.parquet")


def test_of_a_folder_of_results_only_what_it_is_made_of_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(RECORD.to_json())
    (tmp_path / "figures").mkdir()
    ours = ["summary.txt", "regions.csv", "figures/00001_raw.png"]  # older ones have no mark
    mine = ["notes.txt", "cells.csv", "figures/poster.png"]
    for name in (*ours, *mine):
        (tmp_path / name).write_text("of somebody")
    assert {name for name in (*ours, *mine) if is_own(tmp_path / name)} == set(ours)


def test_an_image_folder_is_known_by_its_creator_alone(tmp_path: Path) -> None:
    zarr = write(image(), tmp_path / "a.ome.zarr")
    assert is_own(zarr)
    entry = zarr / "zarr.json"
    entry.write_text(entry.read_text().replace('"name": "napari-why"', '"name": "for napari-why"'))
    assert not is_own(zarr)


def test_a_records_source_keeps_its_own_record(tmp_path: Path) -> None:
    first = write(image(), tmp_path / "map.ome.tif", record=RECORD)
    before = record_path(first).read_bytes()
    with pytest.raises(WhyError, match=r"map\.json: found the source"):
        write(image(first), tmp_path / "map.tif", record=RECORD, overwrite=True)
    assert record_path(first).read_bytes() == before


def test_images_and_their_records_are_replaced_where_they_are_ours(tmp_path: Path) -> None:
    for name in ("a.ome.tif", "a.tif", "b.ome.zarr"):
        for record in (None, RECORD):
            target = tmp_path / name
            write(image(), target, overwrite=True)
            write(image(), target, record=record, overwrite=True)
            assert is_own(target)
            assert (read(target).to_numpy() == PIXELS).all()
    record_path(tmp_path / "c.ome.tif").write_text('{"my": "notes"}')
    with pytest.raises(WhyError, match=r"c\.json: found something that napari-why did not write"):
        write(image(), tmp_path / "c.ome.tif", record=RECORD, overwrite=True)
    assert not (tmp_path / "c.ome.tif").exists()


def test_tables_are_replaced_where_they_are_ours(tmp_path: Path) -> None:
    table = pd.DataFrame({"well": ["A01"], "change": [0.5]})
    for name in ("a.csv", "a.parquet"):
        for _ in range(2):
            write_table(table, tmp_path / name)
        with pytest.raises(WhyError, match="did not write"):
            write_table(table.assign(further=1), tmp_path / name)
        write_table(table, tmp_path / name, record=RECORD)
        write_table(table.assign(further=1), tmp_path / name)  # the record tells whose it is
        (tmp_path / "a.json").unlink()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, there = tmp_path / "link.ome.tif", tmp_path / "disk" / "map.ome.tif"
    there.parent.mkdir()
    write(image(), there)
    target.symlink_to(there)
    changed = make_image(PIXELS + 1, "cyx", ["DAPI", "TMRM"])
    with pytest.raises(WhyError, match="the file exists"):
        write(changed, target)
    write(changed, target, overwrite=True)
    assert target.is_symlink()
    assert (read(there).to_numpy() == PIXELS + 1).all()
    there.unlink()
    with pytest.raises(WhyError, match="the file exists"):
        write(changed, target)
    with pytest.raises(WhyError, match="link to nothing"):
        write(changed, target, overwrite=True)


def test_a_users_files_in_an_own_folder_stay(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    replace_own_files(folder, {"a": b"1", "b": b"1"}, replace=False)
    (folder / "thesis.docx").write_text("years of work")
    (folder / "images").mkdir()
    (folder / "images" / "raw.tif").write_bytes(b"II*\0")
    replace_own_files(folder, {"a": b"2", "c": b"2"}, replace=True)
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == {
        "a": b"2",
        "b": b"1",
        "c": b"2",
        "thesis.docx": b"years of work",
        "images/raw.tif": b"II*\0",
    }


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do work in a process of its own that is killed (SIGKILL) before a renaming; True if it was."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    process = os.fork()
    if process == 0:  # whatever happens, pytest must not go on twice
        try:
            steps = iter(range(1000))

            def counted(function: Callable[..., object]) -> Callable[..., object]:
                def renamed(*arguments: object, **options: object) -> object:
                    if next(steps) == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*arguments, **options)

                return renamed

            for owner, name in (
                (os, "rename"), (os, "replace"), (os, "rmdir"), (Path, "mkdir"), (Path, "write_bytes"),
                (shutil, "rmtree"),
            ):  # fmt: skip
                setattr(owner, name, counted(getattr(owner, name)))
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def test_killed_at_any_moment_all_old_or_all_new_files_are_there(tmp_path: Path) -> None:
    names, outcomes = ("classifier.json", "weights.safetensors"), set()
    for step in range(100):
        folder = tmp_path / f"{step}" / "model"
        replace_own_files(folder, dict.fromkeys(names, b"old"), replace=False)
        (folder / "mine.txt").write_text("mine")
        new = dict.fromkeys(names, b"new")
        killed = killed_at(step, lambda: replace_own_files(folder, new, replace=True))  # noqa: B023
        found = {saved_file(folder, name).read_bytes() for name in names}
        assert len(found) == 1, step
        outcomes |= found
        assert (folder / "mine.txt").read_text() == "mine"
        replace_own_files(folder, dict.fromkeys(names, b"next"), replace=True)
        assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "mine.txt"])
        assert {(folder / name).read_bytes() for name in names} == {b"next"}
        if not killed:
            break
    assert step > 5  # it was killed at several moments before it came through
    assert outcomes == {b"old", b"new"}


def test_killed_at_any_moment_a_replaced_folder_is_found(tmp_path: Path) -> None:
    """As an image in a folder is replaced: the former one is set aside for a moment."""

    def make(folder: Path, content: str, replace: bool = True) -> None:
        with atomic_folder(folder, replace=replace) as part:
            (part / "0").write_text(content)

    hidden = 0
    for step in range(100):
        folder = tmp_path / f"{step}" / "raw.ome.zarr"
        make(folder, "old", replace=False)
        killed = killed_at(step, lambda: make(folder, "new"))  # noqa: B023
        place = folder if folder.exists() else find_former(folder)
        hidden += not folder.exists()
        assert place is not None
        assert (place / "0").read_text() in ("old", "new")
        with pytest.raises(OSError, match="full"), atomic_path(folder):
            raise OSError("full")  # the next run fails, but has put things right before
        assert (folder / "0").read_text() in ("old", "new")
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        if not killed:
            break
    assert hidden  # the moment between the two renamings was met


def test_only_stale_files_of_ours_are_cleared(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "running.tif") as part:
        part.write_text("half")
        others = [tmp_path / ".hidden.part", tmp_path / ".a.deadbeef.part.tif", tmp_path / "x.part"]
        elsewhere = tmp_path / part.name.replace(part.name.split(".")[2][:4], "zzzz")
        for path in (*others, elsewhere):
            path.write_text("not ours, or of a program that may run")
        assert not killed_at(-1, lambda: write_whole(tmp_path / "other.csv", b"1"))
        killed_at(1, lambda: write_whole(tmp_path / "other.csv", b"2"))
        killed_at(0, lambda: (tmp_path / ".nothing").mkdir())
        write_whole(tmp_path / "next.csv", b"1")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {
            part.name, elsewhere.name, "other.csv", "next.csv", *(path.name for path in others)
        }  # fmt: skip
    assert (tmp_path / "running.tif").read_text() == "half"


def test_what_version_0_1_0_left_is_found_and_cleared_after_a_day(tmp_path: Path) -> None:
    former, part = tmp_path / ".model.0123abcd.former", tmp_path / ".map.0123abcd.part.csv"
    former.mkdir()
    part.write_text("half")
    assert find_former(tmp_path / "model") == former
    write_whole(tmp_path / "a.csv", b"1")  # it does not say whether its writer still runs
    assert part.exists()
    for path in (former, part):
        os.utime(path, (0, 0))
    write_whole(tmp_path / "b.csv", b"1")
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "b.csv", "model"}


def test_what_waits_is_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("not ours")
    (tmp_path / "model" / REPLACING).symlink_to(tmp_path / "elsewhere")
    assert saved_file(tmp_path / "model", "a") == tmp_path / "model" / "a"
