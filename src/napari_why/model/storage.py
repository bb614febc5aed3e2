"""A saved classifier: one folder of safetensors and JSON, never pickle, checked entry by entry.

``classifier.json`` names the SHA-256 of the weights and bears one of itself, so that one checksum
stands for the whole. It finds what was damaged or altered by hand. It is no signature: who alters a
folder can compute it anew, and then the schema and the comparison of all parts are what is left.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as bytes_of
from torch import Tensor

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.foreign_files import (
    LARGEST_JSON,
    LARGEST_TENSORS,
    Shapes,
    checksum,
    read_regular,
    read_tensors,
)
from napari_why.core.schema import canonical, parse_json
from napari_why.core.whole_files import find_former, replace_own_files, saved_file
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.schema import (
    FIRST_VERSION,
    FORMAT,
    VERSION,
    check_format,
    description_schema,
)
from napari_why.networks import Network, build_skeleton
from napari_why.networks.network import fingerprint_of

DESCRIPTION_FILE, WEIGHTS_FILE = "classifier.json", "weights.safetensors"
NETWORK, LATENT, SECOND = "network/", "latent/", "second/"
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

    @classmethod
    def check(cls, plain: Any, file: str) -> "ModelDescription":
        """Make a description of parsed JSON.

        Raises
        ------
        ModelFileError
            Another or a newer format, an entry that is missing, unknown or of another type,
            numbers that cannot be, parts that do not agree, or content that was altered.
        """
        version = check_format(plain, file)
        description_schema(version).check(plain, f"{file}:")
        old = version == FIRST_VERSION
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
        )
        described._check_agreement(file)
        return described

    @property
    def configuration(self) -> dict[str, Any]:
        """The entries that decide about predictions beside the weights."""
        return {
            "network": self.network,
            "preprocessing": self.preprocessing.to_dict(),
            "classes": list(self.classes),
        }

    def _check_agreement(self, file: str) -> None:
        """Compare what is said in several places: sizes, channels and classes."""
        size, channels = self.preprocessing.size, self.preprocessing.channels
        counts = (len(channels), len(self.classes))
        networks = [item for item in (self.network, self.second_network) if item is not None]
        checks = {
            "another image size in a network than in the preprocessing": all(
                size is None or _sides(item) <= {size} for item in networks
            ),
            "another number of channels or classes in a network than named": all(
                (item["input_channels"], item["classes"]) == counts for item in networks
            ),
            "other classes in the latent statistics": self.latent_statistics is None
            or self.latent_statistics["classes"] == list(self.classes),
            "measured images of other channels": not self.card
            or set(self.card.get("images", {}).get("means", [None])) == set(channels),
            "a confusion matrix of other classes": all(
                [len(row) for row in matrix] == [counts[1]] * counts[1]
                for matrix in _confusion_matrices(self.metrics)
            ),
        }
        for problem, fine in checks.items():
            if not fine:
                raise ModelFileError(f"{file}: found {problem}; take the original file")


def _sides(network: Mapping[str, Any]) -> set[int]:
    given = network.get("size", [])
    return set(given if isinstance(given, list) else [given])


def _confusion_matrices(metrics: Mapping[str, Any]) -> list[Any]:
    scores = [(metrics.get(split) or {}).get("images") or {} for split in ("validation", "test")]
    return [item["confusion_matrix"] for item in scores if "confusion_matrix" in item]


def checksum_of(plain: Mapping[str, Any]) -> str:
    """Return the checksum of a description: of every entry but the checksum itself."""
    return checksum(canonical({key: value for key, value in plain.items() if key != "checksum"}))


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
        All entries of ``classifier.json`` but format, version and checksums; JSON types.
    tensors : mapping of str to Tensor
        By :func:`name_tensors`.
    overwrite : bool
        Take the place of a classifier saved there before, whose other files stay; what is no saved
        classifier is never replaced.

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
    check_place(target, overwrite=overwrite)
    content = bytes_of(dict(tensors))
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "notes": [],
        **description,
        "files": {WEIGHTS_FILE: checksum(content)},
    }
    text = json.dumps(whole | {"checksum": checksum_of(whole)}, indent=2, allow_nan=False)
    try:
        replace_own_files(
            target, {WEIGHTS_FILE: content, DESCRIPTION_FILE: text.encode()}, replace=overwrite
        )
    except OSError as error:
        raise WhyError(
            f"{target}: the classifier could not be saved ({error.strerror or error}); nothing "
            "was written; free some space or choose another folder"
        ) from error
    return target


def check_place(target: Path, *, overwrite: bool) -> None:
    """Check that a classifier may be saved there.

    Raises
    ------
    WhyError
        There is a file, a folder that must not be overwritten, or one of something else.
    """
    if not target.exists():
        if target.is_symlink():
            raise WhyError(f"{target}: found a link to nothing; remove it or choose another name")
        return
    if not target.is_dir():
        raise WhyError(f"{target}: found a file; expected the name of a folder to make")
    if not overwrite:
        raise WhyError(f"{target}: found a folder; choose another name, or overwrite it")
    if any(target.iterdir()) and not _is_own(target):
        raise WhyError(
            f"{target}: found a folder that is not a saved classifier; it is not overwritten; "
            "choose another name"
        )


def _is_own(folder: Path) -> bool:
    # an own one that is damaged may be replaced: that is how it is mended
    try:
        content = read_regular(saved_file(folder, DESCRIPTION_FILE), LARGEST_JSON)
    except (OSError, ModelFileError):
        return False
    return FORMAT.encode() in content


@dataclass(frozen=True)
class SavedFiles:
    """The files of a folder, not yet understood.

    Parameters
    ----------
    folder : Path
        For messages.
    description, weights : bytes
    """

    folder: Path
    description: bytes
    weights: bytes

    @classmethod
    def read(cls, path: str | Path) -> "SavedFiles":
        """Read the two files of a folder, and nothing else; links among them are not followed.

        Raises
        ------
        ModelFileError
            One is missing, no plain file, or too large.
        """
        folder = _find_folder(Path(path))
        try:
            description = read_regular(saved_file(folder, DESCRIPTION_FILE), LARGEST_JSON)
        except OSError as error:
            raise ModelFileError(
                f"{folder}: found no {DESCRIPTION_FILE}; expected the folder of a saved classifier"
            ) from error
        file = saved_file(folder, WEIGHTS_FILE)
        try:
            return cls(folder, description, read_regular(file, LARGEST_TENSORS))
        except OSError as error:
            raise ModelFileError(
                f"{file}: found no readable file; the weights are missing"
            ) from error

    def describe(self) -> ModelDescription:
        """Return the description, checked; the weights are not looked at.

        Raises
        ------
        ModelFileError
            See :meth:`ModelDescription.check`.
        """
        file = str(self.folder / DESCRIPTION_FILE)
        return ModelDescription.check(parse_json(self.description, file), file)


def _find_folder(path: Path) -> Path:
    """Return the folder of a classifier; one that a killed program had set aside where it is gone."""
    folder = path.parent if path.name == DESCRIPTION_FILE else path
    if folder.exists():
        return folder
    former = find_former(folder)
    if former is None:
        return folder
    warnings.warn(
        f"{folder}: found nothing there but {former.name} beside it, which a program that was "
        "stopped had set aside; that is loaded: rename it",
        stacklevel=4,
    )
    return former


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
    return assemble(SavedFiles.read(path))


def assemble(files: SavedFiles) -> SavedParts:
    """Check the files of a folder against their schema and each other, and build what they hold.

    Nothing is opened and nothing is fetched: where a network's parameter names weights to start
    from, those that were saved take their place.

    Raises
    ------
    ModelFileError
        See :func:`load_folder`.
    """
    folder, description = files.folder, files.describe()
    where = str(folder / WEIGHTS_FILE)
    if checksum(files.weights) != description.weights_sha256:
        raise ModelFileError(
            f"{where}: found content that was altered or cut off after saving; "
            "copy the folder anew or train anew"
        )
    tensors = read_tensors(files.weights, where, _check_names(where))
    parts = {prefix: _under(prefix, tensors) for prefix in (NETWORK, LATENT, SECOND)}
    plain, second = description.latent_statistics, description.second_network
    for what, entry, prefix in (
        ("latent statistics", plain, LATENT),
        ("second network", second, SECOND),
    ):
        if (entry is None) != (not parts[prefix]):
            raise ModelFileError(f"{folder}: found half of the {what}; train anew")
    _check_fingerprint(folder, description, tensors)
    # all is compared on skeletons, which take no memory, before anything is built
    skeleton = _skeleton(folder, description.network, parts[NETWORK])
    if second is not None:
        _skeleton(folder, second, parts[SECOND])
    statistics = None
    if plain is not None:
        statistics = _statistics(folder, plain, parts[LATENT])
        _check_latents(folder, description, skeleton, statistics)
    network = _network(folder, description.network, parts[NETWORK])
    built = None if second is None else _network(folder, second, parts[SECOND])
    return SavedParts(description, network, built, statistics)


def _check_names(where: str) -> Any:
    def check(shapes: Shapes) -> None:
        for name in shapes:
            if not name.startswith((NETWORK, LATENT, SECOND)):
                raise ModelFileError(f"{where}: found the unknown entry {name}")

    return check


def fingerprints(
    configuration: Mapping[str, Any],
    second_network: Mapping[str, Any] | None,
    latent_statistics: Mapping[str, Any] | None,
    tensors: Mapping[str, Tensor],
) -> tuple[str, str]:
    """Return the fingerprint, and that which versions before 0.2 gave to the same classifier.

    The first covers all that decides about a result: weights, preprocessing, classes, latent
    statistics with the choices of the transport, second network. The former one covered the network
    with its preprocessing and classes alone; records that were made with it are still recognised.

    Parameters
    ----------
    configuration : mapping
        Network, preprocessing, classes; JSON types.
    second_network, latent_statistics : mapping or None
        Their JSON parts.
    tensors : mapping of str to Tensor
        By :func:`name_tensors`.
    """
    whole = {
        **configuration,
        "second_network": second_network,
        "latent_statistics": latent_statistics,
    }
    return fingerprint_of(tensors, whole), fingerprint_of(_under(NETWORK, tensors), configuration)


def _check_fingerprint(
    folder: Path, description: ModelDescription, tensors: Mapping[str, Tensor]
) -> None:
    found = fingerprints(
        description.configuration,
        description.second_network,
        description.latent_statistics,
        tensors,
    )
    if found[description.version == FIRST_VERSION] != description.fingerprint:
        raise ModelFileError(
            f"{folder / DESCRIPTION_FILE}: found a network, preprocessing or classes that were "
            "altered after saving; take the original file or train anew"
        )


def find_saved(folders: Iterable[Path], fingerprint: str) -> Path | None:
    """Return the folder of the classifier with a record's fingerprint; None where there is none.

    A classifier that is called so today comes before one that was in version 0.1.0. Folders that
    cannot be loaded are passed over.
    """
    former = None
    for folder in folders:
        try:
            parts = load_folder(folder)
        except (ModelFileError, OSError):
            continue
        statistics, second = parts.latent_statistics, parts.second_network
        names = fingerprints(
            parts.description.configuration,
            parts.description.second_network,
            parts.description.latent_statistics,
            name_tensors(parts.network, second, statistics),
        )
        if fingerprint == names[0]:
            return folder
        if fingerprint == names[1] and former is None:
            former = folder
    return former


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


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


# What builders and statistics raise where numbers do not fit; anything else is a fault of the program.
MISFITS = (
    WhyError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _skeleton(folder: Path, configuration: dict[str, Any], weights: dict[str, Tensor]) -> Network:
    """Return the network without memory, whose shapes are those of the weights."""
    with _told(folder), torch.device("meta"):
        skeleton = build_skeleton(configuration)
    _check_shapes(folder, skeleton, weights)
    return skeleton


def _network(folder: Path, configuration: dict[str, Any], weights: dict[str, Tensor]) -> Network:
    with _told(folder):
        network = build_skeleton(configuration)
        network.load_state_dict(weights)
    return network


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except MISFITS as error:
        raise ModelFileError(
            f"{folder / DESCRIPTION_FILE}: found a network that cannot be built ({error})"
        ) from error


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


def _statistics(
    folder: Path, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> LatentStatistics:
    try:
        return LatentStatistics.from_parts(tensors, plain)
    except ModelFileError:
        raise
    except MISFITS as error:
        raise ModelFileError(
            f"{folder}: found latent statistics whose parts do not fit ({error}); train anew"
        ) from error


def _check_latents(
    folder: Path, description: ModelDescription, skeleton: Network, statistics: LatentStatistics
) -> None:
    """Compare the statistics with the latents that the network makes of an image without memory."""
    given = description.preprocessing.size
    size = given or max(_sides(description.network), default=1)
    try:
        with torch.device("meta"):
            image = torch.zeros(1, len(description.preprocessing.channels), size, size)
            maps = {
                name: tuple(item.shape[1:]) for name, item in skeleton.feature_maps(image).items()
            }
    except (NotImplementedError, *MISFITS):
        return  # a network whose shapes hang on values tells none without computing
    # without a size of its own every image has latents of another height and width
    axes = slice(None if given is not None else 1)
    last = tuple(maps[skeleton.layer_names[-1]])[axes]
    if tuple(statistics.true_means.shape[1:])[axes] != last or not statistics.of_network(
        skeleton, {name: shape[0] for name, shape in maps.items()}
    ):
        raise ModelFileError(
            f"{folder}: found latent statistics of another network; take the original file"
        )
