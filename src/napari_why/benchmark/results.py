"""Results on disk: one file for each effect, seed and row, so that a stop loses nothing."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.targets import check_own_folder
from napari_why.core.whole_files import write_whole

# Images of a row that are kept for pictures; all of them would be gigabytes.
SHOWN = 4
# Stands for the files of a folder of results.
MARKER, FORMAT = "benchmark.json", "napari-why benchmark"


@dataclass(frozen=True)
class ResultFolder:
    """Where the results of a benchmark are kept.

    Parameters
    ----------
    folder : Path
        Made where there is none.
    """

    folder: Path

    def place(self, effect: str, seed: int, method: str) -> Path:
        """Return where one result is, or will be.

        Parameters
        ----------
        effect : str
            Or the name of the real data.
        seed : int
        method : str
            Name of the row.

        Returns
        -------
        Path
            A JSON file.
        """
        return self.folder / "results" / effect / f"seed-{seed}" / f"{method}.json"

    def classifier_place(self, effect: str, seed: int, recipe: str) -> Path:
        """Return where one trained classifier is, or will be.

        Parameters
        ----------
        effect : str
            Or the name of the real data.
        seed : int
        recipe : str
            Name of how it is trained.

        Returns
        -------
        Path
            A folder.
        """
        return self.folder / "classifiers" / effect / f"seed-{seed}" / recipe

    def claim(self) -> None:
        """Mark the folder as one of results, before anything is made.

        Raises
        ------
        WhyError
            It holds something else.
        """
        marker = self.folder / MARKER
        # folders of earlier versions have no marker, but their results say how they were made
        if not any("identity" in (read_json(place) or {}) for place in self._places()):
            check_own_folder(self.folder, MARKER)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(marker, {"format": FORMAT})

    def _places(self) -> list[Path]:
        return sorted(self.folder.glob("results/*/seed-*/*.json"))

    def has(self, effect: str, seed: int, method: str, identity: Mapping[str, Any]) -> bool:
        """Return whether there is a result that was made exactly so.

        Parameters
        ----------
        effect, seed, method
            See :meth:`place`.
        identity : mapping
            What decides about the result; JSON types.

        Returns
        -------
        bool
        """
        found = read_json(self.place(effect, seed, method))
        return found is not None and found["identity"] == plain(identity)

    def keep(
        self,
        effect: str,
        seed: int,
        method: str,
        identity: Mapping[str, Any],
        directions: Mapping[str, Mapping[str, Any]],
        images: Mapping[str, NDArray[Any]],
    ) -> None:
        """Write one result; figures by direction, and the first images to look at.

        Parameters
        ----------
        effect, seed, method
            See :meth:`place`.
        identity : mapping
            What decides about the result.
        directions : mapping of str to mapping
            Figures by direction.
        images : mapping of str to ndarray, shape (N, C, H, W)
            Counterfactuals by direction; the first few are kept.
        """
        place = self.place(effect, seed, method)
        place.parent.mkdir(parents=True, exist_ok=True)
        shown: dict[str, Any] = {name: pixels[:SHOWN] for name, pixels in images.items()}
        np.savez_compressed(place.with_suffix(".npz"), **shown)
        write_json(place, {"identity": identity, "directions": directions})

    def images(self, effect: str, seed: int, method: str) -> dict[str, NDArray[Any]]:
        """Return the first counterfactuals by direction, each (n, C, H, W); empty if there are none.

        Parameters
        ----------
        effect, seed, method
            See :meth:`place`.

        Returns
        -------
        dict of str to ndarray
        """
        place = self.place(effect, seed, method).with_suffix(".npz")
        if not place.exists():
            return {}
        with np.load(place, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def table(self, made_by: Sequence[Mapping[str, Any]] | None = None) -> pd.DataFrame:
        """Return results: one row for each effect, seed, direction and method.

        Parameters
        ----------
        made_by : sequence of mapping, optional
            Identities of data. Results that were made of others, scenes of another set say, are left
            out: a mean over both would be of neither.
        """
        wanted = None if made_by is None else [plain(identity) for identity in made_by]
        rows = []
        for place in self._places():
            effect, seed = place.parts[-3], int(place.parts[-2].removeprefix("seed-"))
            found = read_json(place) or {"directions": {}}
            if wanted is not None and not _is_of(found.get("identity", {}), wanted):
                continue
            rows += [
                {
                    "effect": effect,
                    "seed": seed,
                    "direction": direction,
                    "method": place.stem,
                    **{key: math.nan if value is None else value for key, value in figures.items()},
                }
                for direction, figures in found["directions"].items()
            ]
        return pd.DataFrame(rows)


def _is_of(identity: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a result's identity holds all that one of these asks for, whatever its seed."""
    return any(
        all(identity.get(key) == value for key, value in one.items() if key != "seed")
        for one in wanted
    )


def read_json(place: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds, None where there is none."""
    if not place.exists():
        return None
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def write_json(place: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file as a whole or not at all; one that says nothing of itself is no result.

    Parameters
    ----------
    place : Path
        Of the file; one that is there is replaced if it is a result.
    content : mapping
        With ``identity`` or a ``format``; a number that is not finite becomes null.
    """

    def own(path: Path) -> bool:
        found = read_json(path) or {}
        return "identity" in found or found.get("format") == FORMAT

    write_whole(place, json.dumps(plain(content), indent=1, allow_nan=False).encode(), own=own)


def plain(value: Any) -> Any:
    """Return JSON types; None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
