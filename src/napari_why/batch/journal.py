"""What a batch has done, on the disk after every image: a run that is killed loses the one in work."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from napari_why.batch.explain_one import ERROR, ImageOutcome
from napari_why.core.errors import WhyError
from napari_why.core.whole_files import atomic_path
from napari_why.output.layer_metadata import plain_json

# One line of JSON an image, in the order in which they were done.
JOURNAL = "journal.jsonl"
# Of a line that says which pictures were about to be written over.
BEGUN = "begun"


class Journal:
    """The outcomes of a batch by the image they are of, and by what they were made with.

    Parameters
    ----------
    folder : Path
        Of the results; it is there.
    keep : bool
        Keep what an earlier run wrote, but for a line that was cut short.
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self._folder = folder
        self._path = folder / JOURNAL
        self._done: dict[str, ImageOutcome] = {}
        self._owners: dict[str, str] = {}  # of every picture the key that it was written for last
        if keep:
            self._read()
        self._rewrite()

    def find(self, key: str) -> ImageOutcome | None:
        """Return what was made of an image with the same classifier, options and file.

        None where it failed, which is tried again, and where a picture of it is gone.
        """
        found = self._done.get(key)
        if found is None or found.row.get(ERROR):
            return None
        there = all((self._folder / name).is_file() for name in found.files)
        return found if there else None

    def add(self, key: str, outcome: ImageOutcome) -> None:
        """Write an outcome where no crash of this program or of the system reaches it.

        Parameters
        ----------
        key : str
            See :func:`outcome_key`.
        outcome : ImageOutcome

        Raises
        ------
        WhyError
            It cannot be written: the disk is full, say.
        """
        self._remember(key, outcome)
        self._append(_line(key, outcome))

    def begin(self, names: Iterable[str]) -> None:
        """Note that pictures are about to be written over: what they belonged to is no longer there.

        Said before the work: a run that is killed in the midst of an image leaves pictures that
        must not pass for those of an earlier outcome.

        Raises
        ------
        WhyError
            As :meth:`add` does.
        """
        begun = [name for name in names if name in self._owners]
        if begun:
            self._disown(begun)
            self._append(json.dumps({BEGUN: begun}) + "\n")

    def _append(self, line: str) -> None:
        try:
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WhyError(
                f"{self._path}: cannot be written ({error.strerror or error}); make room and go on "
                "with resume: what is there is kept"
            ) from error

    def _remember(self, key: str, outcome: ImageOutcome) -> None:
        # of the same image with other options: its pictures have been written over
        for name in outcome.files:
            if self._owners.get(name, key) != key:
                self._done.pop(self._owners[name], None)
            self._owners[name] = key
        self._done[key] = outcome

    def _disown(self, names: Iterable[str]) -> None:
        for name in names:
            self._done.pop(self._owners.pop(name, ""), None)

    def _read(self) -> None:
        with suppress(FileNotFoundError), self._path.open(encoding="utf-8") as file:
            for line in file:
                # the last line of a run that was killed may be a part of one
                with suppress(ValueError, KeyError, TypeError):
                    plain = json.loads(line)
                    if BEGUN in plain:
                        self._disown(plain[BEGUN])
                    else:
                        self._remember(*_parse(plain))

    def _rewrite(self) -> None:
        """Write what is kept anew: after a line that was cut short none could follow."""
        with atomic_path(self._path) as part:
            text = "".join(_line(key, outcome) for key, outcome in self._done.items())
            part.write_text(text, encoding="utf-8", newline="\n")


def outcome_key(made_with: Mapping[str, Any], state: str) -> str:
    """Return what an outcome is known by: image, state of its file, classifier and options.

    Parameters
    ----------
    made_with : mapping
        Image, classifier and options.
    state : str
        Of the image's file: it differs once the file was changed.

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    told = json.dumps([plain_json(made_with), state], sort_keys=True)
    return sha256(told.encode()).hexdigest()


def join_outcomes(outcomes: Iterable[ImageOutcome]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table of images, whose errors come last, and the table of regions."""
    several = list(outcomes)
    images = pd.DataFrame([outcome.row for outcome in several])
    if ERROR in images:
        images.insert(len(images.columns) - 1, ERROR, images.pop(ERROR))
    filled = [item.regions for item in several if item.regions is not None and len(item.regions)]
    regions = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return images, regions


def _line(key: str, outcome: ImageOutcome) -> str:
    regions = None if outcome.regions is None else outcome.regions.to_dict("split", index=False)
    plain = {
        "key": key,
        "row": outcome.row,
        "regions": regions,
        "files": list(outcome.files),
    }
    # numbers may be NaN, which is no JSON, but Python's own reader takes it back
    return json.dumps(plain_json(plain)) + "\n"


def _parse(plain: Mapping[str, Any]) -> tuple[str, ImageOutcome]:
    regions = plain["regions"]
    table = None if regions is None else pd.DataFrame(regions["data"], columns=regions["columns"])
    return plain["key"], ImageOutcome(dict(plain["row"]), table, tuple(plain["files"]))
