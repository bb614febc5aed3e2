"""What the page Data keeps between sessions: the last folder, and names of channels by folder.

A small file of Qt's in the user's folder for settings; nothing of it is a preference to be set.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QSettings

# Names that say nothing of what is seen: "channel 1", "ch2", "w1", "C0", "3".
NAMELESS = re.compile(r"(channel|chan|ch|c|w|wavelength)?[ _-]?\d+", re.IGNORECASE)
# Folders whose names of channels are kept; those used longest ago are forgotten first.
MOST_KEPT = 200


def _settings() -> QSettings:
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-why", "remembered"
    )


def last_folder() -> str:
    """Return the folder that a file dialog was in last; empty where it is there no more."""
    folder = str(_settings().value("last_folder", "") or "")
    return folder if folder and Path(folder).is_dir() else ""


def remember_folder(chosen: Path) -> None:
    """Keep where something was chosen: the folder that holds it."""
    _settings().setValue("last_folder", str(chosen.parent))


def remember_channels(folder: Path, found: Sequence[str], names: Sequence[str]) -> None:
    """Keep the names that a user gave to the channels of a folder's files.

    Parameters
    ----------
    folder : Path
        Of the files.
    found : sequence of str
        As the files call them.
    names : sequence of str
        As many, as the user calls them.
    """
    settings = _settings()
    kept = _read(settings)
    for key in (_key(folder, found), _key(None, found)):
        kept.pop(key, None)
        kept[key] = list(names)
    settings.setValue("channels", json.dumps(dict(list(kept.items())[-MOST_KEPT:])))


@dataclass(frozen=True)
class Proposal:
    """Names for channels, and where they are from, in words."""

    names: tuple[str, ...]
    origin: str


def propose_channels(
    folder: Path, found: Sequence[str], of_classifier: Sequence[str] = ()
) -> Proposal:
    """Propose names for channels that files call ``found``.

    Those of the last time for this folder; else, where files name their channels, those; else the
    classifier's, where it has as many; else those of the last time for files that call them so.

    Parameters
    ----------
    folder : Path
        Of the files.
    found : sequence of str
    of_classifier : sequence of str
        Channels of the classifier in use; empty without one.

    Returns
    -------
    Proposal
        As many names as ``found``, and where they are from.
    """
    kept, count = _read(_settings()), len(found)
    here, alike = kept.get(_key(folder, found)), kept.get(_key(None, found))
    if here and len(here) == count:
        return Proposal(tuple(here), "as last time in this folder")
    if not all(NAMELESS.fullmatch(name) for name in found):
        return Proposal(tuple(found), "as the files say")
    if len(of_classifier) == count:
        return Proposal(tuple(of_classifier), "as the classifier in use calls them, in this order")
    if alike and len(alike) == count:
        return Proposal(tuple(alike), "as last time for files that name none")
    return Proposal(tuple(found), "the files name none: type what they show")


def _key(folder: Path | None, found: Sequence[str]) -> str:
    return json.dumps([None if folder is None else str(folder), *found])


def _read(settings: QSettings) -> dict[str, list[str]]:
    try:
        kept = json.loads(str(settings.value("channels", "{}")))
    except ValueError:
        return {}  # a file that somebody edited; what it kept is typed again
    if not isinstance(kept, dict):
        return {}
    return {
        str(key): [str(name) for name in names]
        for key, names in kept.items()
        if isinstance(names, list)
    }
