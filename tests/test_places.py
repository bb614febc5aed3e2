"""The place for a result is tried before the work, kept meanwhile, and left for another if need be."""

import errno
import json
import os
import platform
from pathlib import Path
from typing import Any

import psutil
import pytest

from napari_why.core.errors import WhyError
from napari_why.core.targets import rescue, reserve, try_target


def refusing(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Let the file system refuse to write files in a folder, as root too."""
    original = Path.open

    def open_it(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if self.parent == folder and set(mode) & set("wax"):
            raise OSError(number, os.strerror(number), str(self))
        return original(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_it)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("name", ["result", "missing/folders/result"])
def test_a_place_that_refuses_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    refusing(monkeypatch, tmp_path, number)
    with pytest.raises(WhyError, match=os.strerror(number)):
        try_target(tmp_path / name)


def test_a_folder_that_is_there_is_tried_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    refusing(monkeypatch, tmp_path / "there", errno.EACCES)
    with pytest.raises(WhyError, match="nothing can be written"):
        try_target(tmp_path / "there")


def test_what_will_not_fit_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(WhyError, match=r"MB left on that disk; expected about 10\d* MB"):
        try_target(tmp_path / "result", expected_bytes=10**20)


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WhyError, match="where a folder is needed"):
        try_target(tmp_path / "file" / "result")


def test_a_try_leaves_nothing_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "kept").write_text("content")
    try_target(tmp_path / "there")
    try_target(tmp_path / "new" / "result")
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "kept"]


def test_a_second_program_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with reserve(tmp_path / "model"):
        with (
            pytest.raises(WhyError, match=f"process {os.getpid()} on "),
            reserve(tmp_path / "model"),
        ):
            pass
        with reserve(tmp_path / "another"):
            pass
    with reserve(tmp_path / "model"):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_missing_do_not_hide_the_first_program(tmp_path: Path) -> None:
    with reserve(tmp_path / "new" / "model"):
        with pytest.raises(WhyError, match="writes there"), reserve(tmp_path / "new" / "model"):
            pass
        with reserve(tmp_path / "other" / "model"):
            pass


def lock_of(folder: Path, **holder: Any) -> Path:
    lock = folder / ".model.napari-why.lock"
    plain = {"pid": os.getpid(), "host": platform.node(), "started": 0.0, "since": "then"}
    lock.write_text(json.dumps(plain | holder))
    return lock


def test_the_lock_of_a_program_that_runs_no_more_is_cleared_away(tmp_path: Path) -> None:
    free = next(pid for pid in range(2**22, 1, -1) if not psutil.pid_exists(pid))
    for holder in ({"pid": free}, {"started": 1.0}):  # the second: the number was given out again
        lock = lock_of(tmp_path, **holder)
        with reserve(tmp_path / "model"):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert not lock.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "x", "host": 3}'])
def test_a_lock_that_cannot_be_understood_counts(tmp_path: Path, content: str) -> None:
    lock = lock_of(tmp_path)
    lock.write_text(content)
    with pytest.raises(WhyError, match="delete"), reserve(tmp_path / "model"):
        pass
    assert lock.exists()


def test_the_lock_of_another_computer_counts(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, host="elsewhere", pid=1)
    with (
        pytest.raises(WhyError, match=r"on elsewhere, since then.*delete"),
        reserve(tmp_path / "model"),
    ):
        pass
    assert lock.exists()


def test_what_cannot_be_saved_in_its_place_is_saved_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "gone")
    target = tmp_path / "unplugged" / "model"

    def save(path: Path) -> None:
        if path.parent != home:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_text("trained for hours")

    error = rescue(target, save, OSError(errno.ENOSPC, "No space left on device", str(target)))
    (saved,) = home.iterdir()
    assert saved.read_text() == "trained for hours"
    assert f"saved as {saved}" in str(error)
    assert "No space left on device" in str(error)


def test_the_name_of_a_rescued_file_keeps_its_ending(tmp_path: Path) -> None:
    saved: list[Path] = []
    rescue(tmp_path / "map.ome.tif", saved.append, WhyError("full"))
    assert saved[0].name.startswith("map-rescued-")
    assert saved[0].name.endswith(".ome.tif")


def test_where_there_is_no_place_at_all_that_is_said(tmp_path: Path) -> None:
    def save(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert "it is lost" in str(rescue(tmp_path / "model", save, WhyError("full")))
