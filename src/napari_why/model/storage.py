"""A saved classifier: one folder of safetensors and JSON, never pickle, checked entry by entry.

``classifier.json`` names the SHA-256 of the weights and bears one of itself, so that one checksum
stands for the whole. It finds what was damaged or altered by hand. It is no signature: who alters a
folder can compute it anew, and then the schema and the comparison of all parts are what is left.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.foreign_files import (
    LARGEST_JSON,
    LARGEST_TENSORS,
    Shapes,
    checksum,
    read_regular,
    read_tensors,
)
from napari_why.core.schema import parse_json
from napari_why.core.whole_files import find_former, replace_own_files, saved_file
from napari_why.model.description import (
    GENERATOR_FILE,
    GENERATOR_WEIGHTS_FILE,
    WEIGHTS_FILE,
    ModelDescription,
    checksum_of,
    sides_of,
)
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.schema import FIRST_VERSION, FORMAT, VERSION
from napari_why.networks import Network, build_skeleton, find_network
from napari_why.networks.network import fingerprint_of

DESCRIPTION_FILE = "classifier.json"
NETWORK, LATENT, SECOND = "network/", "latent/", "second/"


def save_folder(
    path: str | Path,
    description: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    overwrite: bool = False,
    generator: tuple[Mapping[str, Any], Mapping[str, Tensor]] | None = None,
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
    generator : (mapping, mapping), optional
        The same two of the classifier whose network makes the images of its counterfactuals.

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
    contents: dict[str, bytes] = {}
    names = {}
    if generator is not None:
        text, weights = _pack(*generator)
        contents = {GENERATOR_WEIGHTS_FILE: weights, GENERATOR_FILE: text}
        names = {GENERATOR_FILE: checksum(text)}
    text, weights = _pack(description, tensors, names)
    # the description last: by it a folder is known
    contents |= {WEIGHTS_FILE: weights, DESCRIPTION_FILE: text}
    try:
        replace_own_files(target, contents, replace=overwrite)
    except OSError as error:
        raise WhyError(
            f"{target}: the classifier could not be saved ({error.strerror or error}); nothing "
            "was written; free some space or choose another folder"
        ) from error
    return target


def _pack(
    description: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    further: Mapping[str, str] | None = None,
) -> tuple[bytes, bytes]:
    """Return description and weights as they are written; ``further`` files with their checksums."""
    weights = bytes_of(dict(tensors))
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "notes": [],
        **description,
        "files": {WEIGHTS_FILE: checksum(weights), **(further or {})},
    }
    text = json.dumps(whole | {"checksum": checksum_of(whole)}, indent=2, allow_nan=False)
    return text.encode(), weights


def check_place(
    target: Path, *, overwrite: bool, kind: tuple[str, str] = (DESCRIPTION_FILE, FORMAT)
) -> None:
    """Check that a classifier may be saved there.

    Parameters
    ----------
    target : Path
        Folder to make.
    overwrite : bool
        Whether a saved one may be replaced.
    kind : (str, str)
        By which a folder is known: the file of its description, and the format that this names.

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
    if any(target.iterdir()) and not _is_own(target, *kind):
        raise WhyError(
            f"{target}: found a folder that is not a saved {kind[1].removeprefix('napari-why ')}; it is "
            "not overwritten; choose another name"
        )


def _is_own(folder: Path, name: str, of_format: str) -> bool:
    # an own one that is damaged may be replaced: that is how it is mended
    try:
        content = read_regular(saved_file(folder, name), LARGEST_JSON)
    except (OSError, ModelFileError):
        return False
    return of_format.encode() in content


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
    def read(
        cls, path: str | Path, names: tuple[str, str] = (DESCRIPTION_FILE, WEIGHTS_FILE)
    ) -> "SavedFiles":
        """Read the two files of a folder, and nothing else; links among them are not followed.

        Parameters
        ----------
        path : str or Path
        names : (str, str)
            Of the description and of the weights.

        Returns
        -------
        SavedFiles

        Raises
        ------
        ModelFileError
            One is missing, no plain file, or too large.
        """
        folder = _find_folder(Path(path))
        try:
            description = read_regular(saved_file(folder, names[0]), LARGEST_JSON)
        except OSError as error:
            raise ModelFileError(
                f"{folder}: found no {names[0]}; expected the folder of a saved classifier"
                f"{_way_on(folder)}"
            ) from error
        file = saved_file(folder, names[1])
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


def _way_on(place: Path) -> str:
    """Say what to do with a file that holds a network of another kind; empty for anything else."""
    if place.suffix.lower() != ".onnx":
        return ""
    return (
        "; import the ONNX file first (napari-why import FILE --out MODEL); for methods that need "
        "gradients make a torch module of it (with a converter such as onnx2torch) and wrap that "
        "(napari_why.networks.wrap)"
    )


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
    generator : SavedParts or None
        Of the classifier whose network makes the images of this one's counterfactuals.
    """

    description: ModelDescription
    network: Network
    second_network: Network | None
    latent_statistics: LatentStatistics | None
    generator: "SavedParts | None" = None

    def fingerprints(self) -> tuple[str, str]:
        """Return :func:`fingerprints` of what was built, by which results made with it are known.

        Where an earlier version did not tell something, that is not the fingerprint in its file.
        """
        second, statistics = self.second_network, self.latent_statistics
        built = {
            "network": dict(self.network.configuration()),
            "second_network": dict(second.configuration()) if second else None,
            "latent_statistics": statistics.to_dict() if statistics else None,
        }
        tensors = name_tensors(self.network, second, statistics)
        return fingerprints(self.description.to_dict() | built, tensors)


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
    files = SavedFiles.read(path)
    parts = assemble(files)
    wanted = parts.description.generator_sha256
    if not wanted:
        return parts
    further = SavedFiles.read(files.folder, (GENERATOR_FILE, GENERATOR_WEIGHTS_FILE))
    if checksum(further.description) != wanted:
        raise ModelFileError(
            f"{files.folder / GENERATOR_FILE}: found content that was altered after saving; take the "
            "original file or train anew"
        )
    return replace(parts, generator=assemble(further))


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
    _check_skeleton(folder, description.network, parts[NETWORK])
    if second is not None:
        _check_skeleton(folder, second, parts[SECOND])
    statistics = None
    if plain is not None:
        statistics = _statistics(folder, plain, parts[LATENT])
    network = _network(folder, description.network, parts[NETWORK])
    if statistics is not None:
        _check_latents(folder, description, network, statistics)
    built = None if second is None else _network(folder, second, parts[SECOND])
    return SavedParts(description, network, built, statistics)


def _check_names(where: str) -> Any:
    def check(shapes: Shapes) -> None:
        for name in shapes:
            if not name.startswith((NETWORK, LATENT, SECOND)):
                raise ModelFileError(f"{where}: found the unknown entry {name}")

    return check


# Of a card, what results are made of: images unlike the training images, what else tells the class,
# images and wells that were trained on. All else (history, versions, dates) tells about the training.
DECIDING = ("images", "confounding", "seen_images", "seen_groups", "splits")


def fingerprints(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return the fingerprint, and that which versions before 0.2 gave to the same classifier.

    The first covers all that decides about a result: weights, preprocessing, classes, latent
    statistics with the choices of the transport, second network; the metrics, by which a verdict
    believes or not; and of the card :data:`DECIDING`, from which notes and verdicts come. The former
    one covered the network with its preprocessing and classes alone; records that were made with it
    are still recognised.

    Parameters
    ----------
    plain : mapping
        The description: ``network``, ``preprocessing``, ``classes``, ``latent_statistics``,
        ``second_network``, ``metrics``, ``card``; JSON types.
    tensors : mapping of str to Tensor
        By :func:`name_tensors`.

    Returns
    -------
    fingerprint, former : str
        SHA-256, in hexadecimal.
    """
    network = {name: plain[name] for name in ("network", "preprocessing", "classes")}
    further = {name: plain[name] for name in ("latent_statistics", "second_network", "metrics")}
    told = {name: plain["card"][name] for name in DECIDING if name in plain["card"]}
    return (
        fingerprint_of(tensors, {**network, **further, "card": told}),
        fingerprint_of(_under(NETWORK, tensors), network),
    )


def _check_fingerprint(
    folder: Path, description: ModelDescription, tensors: Mapping[str, Tensor]
) -> None:
    names = fingerprints(description.to_dict(), tensors)
    given = (description.fingerprint, description.former_fingerprint)
    if description.version == FIRST_VERSION:  # it knew one, that of the network alone
        names, given = names[1:] * 2, given[:1] * 2
    if names != given:
        raise ModelFileError(
            f"{folder / DESCRIPTION_FILE}: found a network, preprocessing, classes or statistics that "
            "were altered after saving; take the original file or train anew"
        )


def find_saved(folders: Iterable[Path], fingerprint: str) -> Path | None:
    """Return the folder of the classifier with a record's fingerprint; None where there is none.

    A classifier that is called so today comes before one that was in version 0.1.0. Folders that
    cannot be loaded are passed over.

    Parameters
    ----------
    folders : iterable of Path
        Looked through in this order until one is found.
    fingerprint : str

    Returns
    -------
    Path or None
    """
    former = None
    for folder in folders:
        try:
            parts = load_folder(folder)
        except (ModelFileError, OSError):
            continue
        names = parts.fingerprints()
        if fingerprint == names[0]:
            return folder
        if fingerprint == names[1] and former is None:
            former = folder
    return former


def name_tensors(
    network: Network, second: Network | None, statistics: LatentStatistics | None
) -> dict[str, Tensor]:
    """Return all tensors of a classifier by the names under which they are saved.

    Parameters
    ----------
    network : Network
    second : Network or None
        The second network.
    statistics : LatentStatistics or None

    Returns
    -------
    dict of str to Tensor
        On the CPU, contiguous, none sharing memory with another.
    """
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


def _check_skeleton(
    folder: Path, configuration: dict[str, Any], weights: dict[str, Tensor]
) -> None:
    """Compare the shapes of the network, built without memory, with those of the weights."""
    with _told(folder), torch.device("meta"):
        skeleton = build_skeleton(configuration)
    _check_configuration(folder, skeleton, configuration)
    check_shapes(str(folder / WEIGHTS_FILE), skeleton, weights)


def _check_configuration(folder: Path, skeleton: Network, given: Mapping[str, Any]) -> None:
    """Compare what was asked for with what the network says of itself, by which it is known."""
    built = json.loads(json.dumps(dict(skeleton.configuration())))
    # one side may stand for both; weights to start from are not looked at
    ignored = {"size", *find_network(given["name"]).initial_weights}
    differing = [name for name in given if name not in ignored and given[name] != built.get(name)]
    if differing:
        name = differing[0]
        raise ModelFileError(
            f"{folder / DESCRIPTION_FILE}: found {name} {given[name]!r:.60} of a network that has "
            f"{built.get(name)!r:.60}; take the original file"
        )


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


def check_shapes(where: str, skeleton: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Compare saved weights with those of a network without memory.

    Parameters
    ----------
    where : str
        What messages call the file.
    skeleton : Module
        The network, on torch's device ``meta`` or any other.
    weights : mapping of str to Tensor
        By the names of the network's state.

    Raises
    ------
    ModelFileError
        A name, a shape or a type differs; ``where`` names the file.
    """
    wanted: dict[str, Any] = {
        name: (tuple(value.shape), value.dtype) for name, value in skeleton.state_dict().items()
    }
    found = {name: (tuple(value.shape), value.dtype) for name, value in weights.items()}
    differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise ModelFileError(
            f"{where}: found {found.get(name, 'nothing')} for {name}; expected "
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
    folder: Path, description: ModelDescription, network: Network, statistics: LatentStatistics
) -> None:
    """Compare the statistics with the latents that the network makes of a batch of no image.

    Such a batch takes neither memory nor time; torch's device without memory, to run a network on,
    first imports torch's compiler, which takes longer than torch itself.
    """
    given = description.preprocessing.size
    size = given or max(sides_of(description.network), default=1)
    try:
        with torch.no_grad():
            nothing = torch.zeros(0, len(description.preprocessing.channels), size, size)
            maps = {
                name: tuple(item.shape[1:]) for name, item in network.feature_maps(nothing).items()
            }
    except (NotImplementedError, *MISFITS):
        return  # a network whose shapes hang on values tells none without computing
    # without a size of its own every image has latents of another height and width
    axes = slice(None if given is not None else 1)
    last = tuple(maps[network.layer_names[-1]])[axes]
    if tuple(statistics.true_means.shape[1:])[axes] != last or not statistics.of_network(
        network, {name: shape[0] for name, shape in maps.items()}
    ):
        raise ModelFileError(
            f"{folder}: found latent statistics of another network; take the original file"
        )
