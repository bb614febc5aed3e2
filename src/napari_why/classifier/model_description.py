"""The JSON part of a saved classifier, checked entry by entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_why.classifier.image_facts import ImageFacts
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.errors import ModelFileError, WhyError

FORMAT = "napari-why classifier"
VERSION = 1
LARGEST_SIZE = 16384
MOST_CHANNELS = 256
MOST_CLASSES = 10_000
ENTRIES = {
    "format": str,
    "version": int,
    "network": dict,
    "preprocessing": dict,
    "classes": list,
    "latent_statistics": dict | None,
    "metrics": dict,
    "card": dict,
    "fingerprint": str,
    "weights_sha256": str,
}
LATER_ENTRIES = {"second_network": dict | None}
"""Entries that classifiers of version 0.1.0 do not have."""


@dataclass(frozen=True)
class ModelDescription:
    """What ``classifier.json`` says; see :class:`napari_why.classifier.Classifier`.

    Parameters
    ----------
    network : dict
        Keyword arguments of ``build_network``.
    preprocessing : Preprocessing
    classes : tuple of str
    latent_statistics : dict or None
        The part of the latent statistics that is not tensors.
    metrics, card : dict
    fingerprint : str
        Of weights and configuration.
    weights_sha256 : str
        SHA-256 of the weights file, in hexadecimal.
    second_network : dict or None
        Keyword arguments of ``build_network``.
    """

    network: dict[str, Any]
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    latent_statistics: dict[str, Any] | None
    metrics: dict[str, Any]
    card: dict[str, Any]
    fingerprint: str
    weights_sha256: str
    second_network: dict[str, Any] | None = None

    @classmethod
    def checked(cls, plain: Any, file: str) -> "ModelDescription":
        """Make a description of parsed JSON.

        Raises
        ------
        ModelFileError
            Another or a newer format, an entry that is missing, unknown or of another type, or
            numbers that cannot be.
        """
        _check_format(plain, file)
        _check_entries(plain, file)
        try:
            preprocessing = Preprocessing.from_dict(plain["preprocessing"])
            if plain["card"]:
                ImageFacts.from_dict(plain["card"]["images"])
        except (WhyError, TypeError, ValueError, KeyError, IndexError) as error:
            raise ModelFileError(f"{file}: found an entry that cannot be ({error})") from error
        described = cls(
            plain["network"],
            preprocessing,
            tuple(map(str, plain["classes"])),
            plain["latent_statistics"],
            plain["metrics"],
            plain["card"],
            plain["fingerprint"],
            plain["weights_sha256"],
            plain.get("second_network"),
        )
        described._check_numbers(file)
        return described

    @property
    def configuration(self) -> dict[str, Any]:
        """The entries that the fingerprint covers beside the weights."""
        return {
            "network": self.network,
            "preprocessing": self.preprocessing.to_dict(),
            "classes": list(self.classes),
        }

    def _check_numbers(self, file: str) -> None:
        size = self.preprocessing.size
        given = self.network.get("size", size)
        sides = given if isinstance(given, list) else [given]
        whole = all(isinstance(side, int) and 1 <= side <= LARGEST_SIZE for side in sides)
        counts = (self.network.get("input_channels"), self.network.get("classes"))
        checks = {
            "an image size that cannot be": whole or given is None,
            "another image size in the network than in the preprocessing": size is None
            or given is None
            or set(sides) == {size},
            "no class names, too many, or one twice": 2 <= len(self.classes) <= MOST_CLASSES
            and len(set(self.classes)) == len(self.classes),
            "too many channels": len(self.preprocessing.channels) <= MOST_CHANNELS,
            "another number of channels or classes in the network than named": counts
            == (len(self.preprocessing.channels), len(self.classes)),
            "a network that is not frozen": self.network.get("frozen") is True,
        }
        for problem, fine in checks.items():
            if not fine:
                raise ModelFileError(f"{file}: found {problem}; take the original file")


def _check_format(plain: Any, file: str) -> None:
    if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{file}: found another kind of JSON; expected a {FORMAT}")
    version = plain.get("version")
    if version != VERSION:
        advice = (
            "update napari-why" if isinstance(version, int) and version > VERSION else "train anew"
        )
        raise ModelFileError(
            f"{file}: found format version {version}; expected {VERSION}; {advice}"
        )


def _check_entries(plain: Mapping[str, Any], file: str) -> None:
    missing = sorted(set(ENTRIES) - set(plain))
    unknown = sorted(set(plain) - set(ENTRIES) - set(LATER_ENTRIES))
    if missing or unknown:
        parts = [
            f"without {', '.join(missing)}" if missing else "",
            f"with the unknown {', '.join(unknown)}" if unknown else "",
        ]
        raise ModelFileError(
            f"{file}: found a description {' and '.join(filter(None, parts))}; "
            "take the original file"
        )
    for name, kind in (ENTRIES | LATER_ENTRIES).items():
        if not isinstance(plain.get(name), kind):
            raise ModelFileError(f"{file}: found {type(plain[name]).__name__} for {name}")
