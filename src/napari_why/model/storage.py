"""A saved classifier: one folder of safetensors and JSON, never pickle, checked entry by entry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.whole_files import atomic_folder
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.model.image_facts import ImageFacts
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import Network, build_network
from napari_why.networks.network import fingerprint_of

FORMAT = "napari-why classifier"
VERSION = 1  # raised when older programs could misread what is written
# Far above every camera and plate; beyond them a damaged number would ask for absurd memory.
LARGEST_SIZE = 16384
MOST_CHANNELS = 256  # likewise
MOST_CLASSES = 10_000  # likewise
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
# Entries that classifiers of version 0.1.0 do not have.
LATER_ENTRIES = {"second_network": dict | None}


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
    def check(cls, plain: Any, file: str) -> "ModelDescription":
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


DESCRIPTION_FILE, WEIGHTS_FILE = "classifier.json", "weights.safetensors"
NETWORK, LATENT, SECOND = "network/", "latent/", "second/"


def save_folder(
    path: str | Path,
    description: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    overwrite: bool = False,
) -> Path:
    """Save a classifier's parts as a folder; it is there as a whole or not at all.

    Parameters
    ----------
    path : str or Path
        Folder to make.
    description : mapping
        All entries of ``classifier.json`` but format, version and checksum; JSON types.
    tensors : mapping of str to Tensor
        By :func:`name_tensors`.
    overwrite : bool
        Take the place of a classifier saved there before; no other folder is ever replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    WhyError
        There is something at ``path`` already, or it cannot be written (the disk is full, say);
        what was there before is still there.
    """
    target = Path(path)
    check_target(target, overwrite=overwrite)
    content = bytes_of(dict(tensors))
    checksum = {"weights_sha256": sha256(content).hexdigest()}
    whole = {"format": FORMAT, "version": VERSION, **description, **checksum}
    text = json.dumps(whole, indent=2, allow_nan=False)
    try:
        with atomic_folder(target, replace=overwrite) as folder:
            (folder / WEIGHTS_FILE).write_bytes(content)
            (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise WhyError(
            f"{target}: the classifier could not be saved ({error.strerror or error}); nothing "
            "was written; free some space or choose another folder"
        ) from error
    return target


@dataclass(frozen=True)
class SavedParts:
    """What a folder of a saved classifier holds, checked and built.

    Parameters
    ----------
    description : ModelDescription
    network : Network
    second_network : Network or None
    latent_statistics : LatentStatistics or None
    """

    description: ModelDescription
    network: Network
    second_network: Network | None
    latent_statistics: LatentStatistics | None


def load_folder(path: str | Path) -> SavedParts:
    """Load the parts of a saved classifier.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``classifier.json`` in it.

    Raises
    ------
    ModelFileError
        A file is missing, truncated, altered, of a newer format, or holds what cannot be.
    """
    folder = Path(path)
    if folder.name == DESCRIPTION_FILE:
        folder = folder.parent
    description = _description(folder)
    tensors = _checked_tensors(folder / WEIGHTS_FILE, description)
    weights = _under(NETWORK, tensors)
    if fingerprint_of(weights, description.configuration) != description.fingerprint:
        raise ModelFileError(
            f"{folder / DESCRIPTION_FILE}: found a network, preprocessing or classes that were "
            "altered after saving; take the original file or train anew"
        )
    network = _network(folder, description.network, weights)
    second = _second_network(folder, description, _under(SECOND, tensors))
    latent = _under(LATENT, tensors)
    plain = description.latent_statistics
    if (plain is None) != (not latent):
        raise ModelFileError(f"{folder}: found half of the latent statistics; train anew")
    statistics = None if plain is None else LatentStatistics.from_parts(latent, plain)
    return SavedParts(description, network, second, statistics)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise WhyError where a classifier must not be saved: before the training, and when it is."""
    if not target.exists():
        return
    if not target.is_dir():
        raise WhyError(f"{target}: found a file; expected the name of a folder to make")
    if not overwrite:
        raise WhyError(f"{target}: found a folder; choose another name, or overwrite it")
    if any(target.iterdir()) and not (target / DESCRIPTION_FILE).is_file():
        raise WhyError(
            f"{target}: found a folder that is not a saved classifier; it is not overwritten; "
            "choose another name"
        )


def name_tensors(
    network: Network, second: Network | None, statistics: LatentStatistics | None
) -> dict[str, Tensor]:
    """Return all tensors of a classifier by the names under which they are saved."""
    parts = {
        NETWORK: network.state_dict(),
        LATENT: {} if statistics is None else statistics.tensors(),
        SECOND: {} if second is None else second.state_dict(),
    }
    # clones: tensors that share memory are refused by the format
    return {
        prefix + name: value.detach().cpu().contiguous().clone()
        for prefix, tensors in parts.items()
        for name, value in tensors.items()
    }


def _description(folder: Path) -> ModelDescription:
    file = folder / DESCRIPTION_FILE
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{folder}: found no {DESCRIPTION_FILE}; expected the folder of a saved classifier"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{file}: found no readable JSON ({error}); train anew") from error
    return ModelDescription.check(plain, str(file))


def _checked_tensors(file: Path, description: ModelDescription) -> dict[str, Tensor]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file}: found no readable file; the weights are missing") from error
    if sha256(content).hexdigest() != description.weights_sha256:
        raise ModelFileError(
            f"{file}: found content that was altered or cut off after saving; "
            "copy the folder anew or train anew"
        )
    try:
        tensors = tensors_of(content)
    except SafetensorError as error:
        raise ModelFileError(f"{file}: found no safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if not name.startswith((NETWORK, LATENT, SECOND)):
            raise ModelFileError(f"{file}: found the unknown entry {name}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelFileError(f"{file}: found NaN or infinite values in {name}; train anew")
    return tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _second_network(
    folder: Path, description: ModelDescription, weights: dict[str, Tensor]
) -> Network | None:
    configuration = description.second_network
    if (configuration is None) != (not weights):
        raise ModelFileError(f"{folder}: found half of the second network; train anew")
    return None if configuration is None else _network(folder, configuration, weights)


def _network(folder: Path, configuration: dict[str, Any], weights: dict[str, Tensor]) -> Network:
    try:
        # a skeleton without memory first: absurd sizes must not fill the memory
        with torch.device("meta"):
            skeleton = build_network(**configuration)
        _check_shapes(folder, skeleton, weights)
        network = build_network(**configuration)
    except ModelFileError:
        raise
    except (WhyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelFileError(
            f"{folder / DESCRIPTION_FILE}: found a network that cannot be built ({error})"
        ) from error
    network.load_state_dict(weights)
    return network


def _check_shapes(folder: Path, skeleton: Network, weights: Mapping[str, Tensor]) -> None:
    wanted: dict[str, Any] = {
        name: (tuple(value.shape), value.dtype) for name, value in skeleton.state_dict().items()
    }
    found = {name: (tuple(value.shape), value.dtype) for name, value in weights.items()}
    differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise ModelFileError(
            f"{folder / WEIGHTS_FILE}: found {found.get(name, 'nothing')} for {name}; expected "
            f"{wanted.get(name, 'nothing')}; {len(differing)} entries do not fit the network"
        )
