"""What ``classifier.json`` says, checked entry by entry and each entry against the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.foreign_files import checksum
from napari_why.core.schema import canonical
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.model.image_facts import ImageFacts
from napari_why.model.schema import (
    FIRST_VERSION,
    VERSION,
    check_format,
    description_schema,
    find_later_entries,
)
from napari_why.training.metrics import probability_columns

WEIGHTS_FILE = "weights.safetensors"
# Of the classifier whose network makes the images of this one's counterfactuals; beside it, and not in
# a folder of its own, so that all files are replaced together.
GENERATOR_FILE, GENERATOR_WEIGHTS_FILE = "generator.json", "generator.safetensors"
SPLITS = ("validation", "test")
ROUNDING = 1e-6  # of an accuracy: float64 keeps 15 digits, other programs may write fewer
UNCHECKED = (
    "saved by an earlier version: its latent statistics, choices of the transport, second network, "
    "metrics and card stand under no checksum, so that a change of them would not be noticed"
)


@dataclass(frozen=True)
class ModelDescription:
    """What ``classifier.json`` says; see :class:`napari_why.model.Classifier`.

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
        Of all that decides about a result; in a folder of version 1 of the network alone.
    weights_sha256 : str
        SHA-256 of the weights file, in hexadecimal.
    second_network : dict or None
        Keyword arguments of ``build_network``.
    notes : tuple of str
        What is to be kept in mind of the whole classifier.
    version : int
        Of the format.
    former_fingerprint : str
        Of the network alone; empty in a folder of version 1.
    generator_sha256 : str
        SHA-256 of the generator's description, which holds that of its weights; empty without one.
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
    notes: tuple[str, ...] = ()
    version: int = VERSION
    former_fingerprint: str = ""
    generator_sha256: str = ""

    @classmethod
    def check(cls, plain: Any, file: str) -> "ModelDescription":
        """Make a description of parsed JSON.

        Parameters
        ----------
        plain : object
            Any JSON value.
        file : str
            What messages call it.

        Returns
        -------
        ModelDescription

        Raises
        ------
        ModelFileError
            Another or a newer format, an entry that is missing, unknown or of another type,
            numbers that cannot be, parts that do not agree, or content that was altered.
        """
        version = check_format(plain, file)
        description_schema(version).check(plain, f"{file}:")
        old = version == FIRST_VERSION
        if old and (later := find_later_entries(plain)):
            raise ModelFileError(
                f"{file}: found {', '.join(later)} in format version {FIRST_VERSION}, which never held "
                "that: its version was altered, so that no checksum is asked for; take the original "
                "file or train anew"
            )
        if not old and checksum_of(plain) != plain["checksum"]:
            raise ModelFileError(
                f"{file}: found content that was altered after saving; take the original file or "
                "train anew"
            )
        try:
            preprocessing = Preprocessing.from_dict(plain["preprocessing"])
        except (WhyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{file}: found an entry that cannot be ({error})") from error
        if not old and WEIGHTS_FILE not in plain["files"]:
            raise ModelFileError(f"{file}: found no checksum of {WEIGHTS_FILE}; train anew")
        described = cls(
            plain["network"],
            preprocessing,
            tuple(plain["classes"]),
            plain["latent_statistics"],
            plain["metrics"],
            plain["card"],
            plain["fingerprint"],
            plain["weights_sha256"] if old else plain["files"][WEIGHTS_FILE],
            plain.get("second_network"),
            (UNCHECKED,) if old else tuple(plain["notes"]),
            version,
            plain.get("former_fingerprint", ""),
            "" if old else plain["files"].get(GENERATOR_FILE, ""),
        )
        described._check_agreement(file)
        return described

    def to_dict(self) -> dict[str, Any]:
        """Return the entries by which a classifier is known; see :func:`~.storage.fingerprints`."""
        return {
            "network": self.network,
            "preprocessing": self.preprocessing.to_dict(),
            "classes": list(self.classes),
            "latent_statistics": self.latent_statistics,
            "second_network": self.second_network,
            "metrics": self.metrics,
            "card": self.card,
        }

    def _check_agreement(self, file: str) -> None:
        """Compare what is said in several places: sizes, channels, classes, counts."""
        size, channels = self.preprocessing.size, self.preprocessing.channels
        counts = (len(channels), len(self.classes))
        networks = [item for item in (self.network, self.second_network) if item is not None]
        checks = {
            "another image size in a network than in the preprocessing": all(
                size is None or sides_of(item) <= {size} for item in networks
            ),
            "another number of channels or classes in a network than named": all(
                (item["input_channels"], item["classes"]) == counts for item in networks
            ),
            "other classes in the latent statistics": self.latent_statistics is None
            or self.latent_statistics["classes"] == list(self.classes),
            "a card without images": not self.card or "images" in self.card,
            "a group of the training with more or fewer names than columns": _groups_fit(
                self.card.get("seen_groups")
            ),
        }
        for problem, fine in checks.items():
            if not fine:
                raise ModelFileError(f"{file}: found {problem}; take the original file")
        if self.card:
            _check_facts(self.card["images"], channels, file)
        for split in SPLITS:
            found = self.metrics.get(split) or {}
            for part, unit in (("images", "images"), ("groups", "groups")):
                _check_scores(found.get(part), unit, counts[1], f"{file}: metrics.{split}.{part}")
            _check_by_group(
                found.get("by_group"), self.classes, f"{file}: metrics.{split}.by_group"
            )


def sides_of(network: Mapping[str, Any]) -> set[int]:
    """Return the image sides that a network's configuration names."""
    given = network.get("size", [])
    return set(given if isinstance(given, list) else [given])


def _groups_fit(seen: Mapping[str, Any] | None) -> bool:
    return not seen or all(len(name) == len(seen["columns"]) for name in seen["names"])


def _check_facts(plain: Mapping[str, Any], channels: Sequence[str], file: str) -> None:
    try:
        facts = ImageFacts.from_dict(plain)
    except (LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"{file}: card.images: found what cannot be ({error})") from error
    alike, quality = facts.likeness, facts.quality
    if (
        set(facts.means) != set(channels)
        or (alike and alike.channels != tuple(channels))
        or (quality and tuple(quality.channels) != tuple(channels))
    ):
        raise ModelFileError(
            f"{file}: found measured images of other channels; take the original file"
        )
    if any(low > high for low, high in facts.means.values()):
        raise ModelFileError(f"{file}: card.images.means: found a lowest above a highest mean")


def _check_scores(scores: Mapping[str, Any] | None, unit: str, classes: int, where: str) -> None:
    """Compare a confusion matrix with what was counted from it."""
    matrix = (scores or {}).get("confusion_matrix")
    if scores is None or matrix is None:
        return
    if [len(row) for row in matrix] != [classes] * classes:
        raise ModelFileError(f"{where}: found a confusion matrix of other classes")
    total, right = sum(map(sum, matrix)), sum(row[index] for index, row in enumerate(matrix))
    accuracy = scores.get("accuracy")
    if scores.get(unit, total) != total or (
        # as it was rounded when it was saved
        accuracy is not None and total and abs(accuracy - right / total) > ROUNDING
    ):
        raise ModelFileError(
            f"{where}: found a number of {unit} or an accuracy that contradicts the confusion matrix; "
            "take the original file"
        )


def _check_by_group(rows: Any, classes: Sequence[str], where: str) -> None:
    names = probability_columns(classes)
    for index, row in enumerate(rows or ()):
        shares = [row.get(name) for name in names]
        numbers = [
            share for share in shares if type(share) in (int, float) and 0 <= share <= 1 + ROUNDING
        ]
        if row["label"] not in classes or len(numbers) < len(names):
            raise ModelFileError(
                f"{where}[{index}]: found another class, or no probability from 0 to 1 of each class"
            )


def checksum_of(plain: Mapping[str, Any]) -> str:
    """Return the checksum of a description: of every entry but the checksum itself."""
    return checksum(canonical({key: value for key, value in plain.items() if key != "checksum"}))
