"""The record of a result: everything needed to know how it was made and to make it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

# What computes a result and what reads its pixels; a version of these can change a number in it.
RECORDED_PACKAGES = ("napari-why", "torch", "torchvision", "numpy", "xarray", "tifffile")


@dataclass(frozen=True)
class Record:
    """How a result was made.

    Parameters
    ----------
    kind : str
        "attribution", "counterfactual", "prediction", "training", "evaluation" or "batch".
    method : str
        Registry name of the method or network.
    parameters : mapping
        Every parameter, the defaults included; JSON types only.
    seed : int or None
        Seed of the random numbers, None where none were drawn.
    classifier : str
        Fingerprint of the classifier (:attr:`napari_why.Classifier.fingerprint`).
    source : str
        File or layer the result is about.
    details : mapping
        Further JSON facts about the result (target, gap, alphas, ...).
    versions : mapping of str to str
        Package versions.
    created : str
        ISO 8601 time in UTC.
    """

    kind: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    classifier: str = ""
    source: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    # A lambda, because the function stands below and is looked up when a record is made.
    versions: Mapping[str, str] = field(default_factory=lambda: package_versions())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dictionary of JSON types."""
        # Through JSON: what this returns is what a file gives back, with lists for tuples.
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    def to_json(self) -> str:
        """Return the record as indented JSON text."""
        # Sorted, so that two records can be compared line by line; NaN is no JSON, and a file with
        # it would be refused by other programs.
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Record":
        """Make a record of what :meth:`to_dict` returned."""
        return cls(**plain)


def package_versions(names: tuple[str, ...] = RECORDED_PACKAGES) -> dict[str, str]:
    """Versions of the packages a result depends on; those not installed are left out."""
    from importlib import metadata  # later than this file, which the shell's help imports too

    versions = {}
    for name in names:
        try:
            versions[name] = _version_of(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache  # what is installed is read from files, which took longer than many a map whose record it is for
def _version_of(name: str) -> str:
    from importlib import metadata

    return metadata.version(name)
