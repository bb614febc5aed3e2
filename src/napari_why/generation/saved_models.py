"""Networks that make images, saved: one folder of safetensors and JSON, never pickle, checked entry by entry.

As for classifiers (:mod:`napari_why.model.storage`), whose pieces do the work: a schema, checksums
of both files, and shapes compared before anything is built.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.foreign_files import (
    LARGEST_JSON,
    LARGEST_TENSORS,
    checksum,
    read_regular,
    read_tensors,
)
from napari_why.core.schema import (
    Fields,
    ListOf,
    MapOf,
    Number,
    Open,
    Schema,
    Text,
    Whole,
    parse_json,
)
from napari_why.core.whole_files import replace_own_files, saved_file
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.images.image import UNITS
from napari_why.model.description import WEIGHTS_FILE, checksum_of
from napari_why.model.schema import DIGEST, MOST_CLASSES, PREPROCESSING
from napari_why.model.storage import DESCRIPTION_FILE as CLASSIFIER_FILE
from napari_why.model.storage import MISFITS, check_place, check_shapes
from napari_why.networks.network import fingerprint_of

MODEL_FILE = "generative_model.json"
FORMAT, VERSION = "napari-why generative model", 1

Built = TypeVar("Built", bound="nn.Module")


@dataclass(frozen=True)
class SavedModel:
    """What is saved of a network that makes images.

    Parameters
    ----------
    kind : str
        What it makes images of: ``codes`` or ``channels``.
    network : mapping
        Its configuration, JSON types.
    weights : mapping of str to Tensor
    preprocessing : Preprocessing
    names : mapping of str to sequence of str
        What the preprocessing does not tell: classes, or channels that are given and made.
    card : mapping
        How it was made; JSON types.
    """

    kind: str
    network: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    preprocessing: Preprocessing
    names: Mapping[str, tuple[str, ...]]
    card: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides about what it makes."""
        return fingerprint_of(self.weights, self._deciding())

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save it as a folder, which is there as a whole or not at all.

        Parameters
        ----------
        path : str or Path
            The folder to make.
        overwrite : bool
            Replace a saved one that is there; anything else stays.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        WhyError
            There is something at ``path`` already, or it cannot be written.
        """
        target = Path(path)
        check_place(target, overwrite=overwrite, kind=(MODEL_FILE, FORMAT))
        weights = bytes_of(dict(self.weights))
        whole = {
            "format": FORMAT,
            "version": VERSION,
            **self._deciding(),
            "card": dict(self.card),
            "fingerprint": self.fingerprint,
            "files": {WEIGHTS_FILE: checksum(weights)},
        }
        text = json.dumps(whole | {"checksum": checksum_of(whole)}, indent=2, allow_nan=False)
        # the description last: by it a folder is known
        contents = {WEIGHTS_FILE: weights, MODEL_FILE: text.encode()}
        try:
            replace_own_files(target, contents, replace=overwrite)
        except OSError as error:
            raise WhyError(
                f"{target}: could not be saved ({error.strerror or error}); nothing was written; free "
                "some space or choose another folder"
            ) from error
        return target

    @classmethod
    def load(cls, path: str | Path, kind: str, network: Schema, names: Schema) -> "SavedModel":
        """Read a folder and check it entry by entry.

        Parameters
        ----------
        path : str or Path
        kind : str
            That is expected.
        network, names : Schema
            Of these entries.

        Returns
        -------
        SavedModel

        Raises
        ------
        ModelFileError
            A file is missing, altered, of a newer format, of another kind, or holds what cannot be.
        """
        folder = Path(path)
        folder = folder.parent if folder.name == MODEL_FILE else folder
        file = str(folder / MODEL_FILE)
        try:
            description = read_regular(saved_file(folder, MODEL_FILE), LARGEST_JSON)
            weights = read_regular(saved_file(folder, WEIGHTS_FILE), LARGEST_TENSORS)
        except OSError as error:
            raise ModelFileError(
                f"{folder}: found no {MODEL_FILE} with its {WEIGHTS_FILE}; expected the folder of a saved "
                f"generative model ({error.strerror or error})"
            ) from error
        plain = parse_json(description, file)
        _check_format(plain, file, kind)
        _description_schema(network, names).check(plain, f"{file}:")
        if checksum_of(plain) != plain["checksum"] or (
            checksum(weights) != plain["files"].get(WEIGHTS_FILE)
        ):
            raise ModelFileError(
                f"{folder}: found content that was altered or cut off after saving; take the original "
                "folder or train anew"
            )
        try:
            preprocessing = Preprocessing.from_dict(plain["preprocessing"])
        except MISFITS as error:
            raise ModelFileError(f"{file}: found an entry that cannot be ({error})") from error
        saved = cls(
            kind,
            plain["network"],
            read_tensors(weights, str(folder / WEIGHTS_FILE), lambda _shapes: None),
            preprocessing,
            {name: tuple(entries) for name, entries in plain["names"].items()},
            plain["card"],
        )
        if saved.fingerprint != plain["fingerprint"]:
            raise ModelFileError(f"{folder}: found another model than was saved; train anew")
        return saved

    def build(self, builder: Callable[[Mapping[str, Any]], Built], where: str | Path) -> Built:
        """Build the network and give it the weights, once they fit one without memory.

        Parameters
        ----------
        builder : callable
            Makes the network from its configuration.
        where : str or Path
            For errors.

        Returns
        -------
        Module
            In evaluation mode, without gradients.

        Raises
        ------
        ModelFileError
            They do not fit, or the network cannot be built.
        """
        try:
            with torch.device("meta"):
                skeleton = builder(self.network)
            check_shapes(str(where), skeleton, self.weights)
            # its own random numbers: whoever loads finds torch's generator as it was
            with torch.random.fork_rng(devices=[]):
                built = builder(self.network)
            built.load_state_dict(self.weights)
        except ModelFileError:
            raise
        except MISFITS as error:
            raise ModelFileError(
                f"{where}: found a network that cannot be built ({error})"
            ) from error
        return built.eval().requires_grad_(False)

    def require(self, fine: bool, problem: str, where: str | Path) -> None:
        """Raise ModelFileError where two entries do not agree.

        Parameters
        ----------
        fine : bool
            Whether they agree.
        problem : str
            What was found where not.
        where : str or Path
            For the error.

        Raises
        ------
        ModelFileError
            ``fine`` is False.
        """
        if not fine:
            raise ModelFileError(f"{where}: found {problem}; take the original folder")

    def _deciding(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "network": dict(self.network),
            "preprocessing": self.preprocessing.to_dict(),
            "names": {name: list(entries) for name, entries in self.names.items()},
        }


def portable_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state as it is saved: on the CPU, no two tensors sharing memory."""
    return {
        name: value.detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
    }


def is_generative_model(path: str | Path) -> bool:
    """Tell whether a folder holds a saved generative model, and not a classifier say."""
    folder = Path(path)
    return folder.name == MODEL_FILE or (folder / MODEL_FILE).is_file()


def read_kind(path: str | Path) -> str:
    """Return what a saved generative model makes images of: ``codes``, ``channels``, or what is new.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``generative_model.json`` in it.

    Raises
    ------
    ModelFileError
        There is no such model; says what there is.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == MODEL_FILE else folder
    file = saved_file(folder, MODEL_FILE)
    try:
        plain = parse_json(read_regular(file, LARGEST_JSON), str(file))
    except OSError as error:
        raise ModelFileError(
            f"{folder}: found {_describe_folder(folder)}; expected the folder of a saved generator or "
            f"channel predictor, with {MODEL_FILE} in it"
        ) from error
    _check_header(plain, str(file))
    return str(plain.get("kind"))


# Of a folder of something else: three show what it is.
MOST_NAMED = 3


def _describe_folder(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder" if not folder.exists() else "a file"
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    if CLASSIFIER_FILE in names:
        return "a classifier (load it as the classifier in use)"
    if not names:
        return "an empty folder"
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


NAMES: Schema = ListOf(Text(), most=MOST_CLASSES, unique=True)


def _check_header(plain: Any, file: str) -> None:
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{file}: found another kind of JSON; expected a {FORMAT}")
    if plain.get("version") != VERSION:
        raise ModelFileError(
            f"{file}: found format version {plain.get('version')}; expected {VERSION}; update napari-why"
        )


def _check_format(plain: Any, file: str, kind: str) -> None:
    _check_header(plain, file)
    if plain.get("kind") != kind:
        raise ModelFileError(
            f"{file}: found a model that makes images of {plain.get('kind')!r:.60}; expected one of {kind}"
        )


# Of the images that are made, in the card; not there in what earlier versions saved.
_LENGTH = Number(0, above=True)
PIXEL_SIZE: Schema = Fields({"y": _LENGTH, "x": _LENGTH, "unit": Text(UNITS)})


def _description_schema(network: Schema, names: Schema) -> Schema:
    return Fields(
        {
            "format": Text((FORMAT,)),
            "version": Whole(VERSION, VERSION),
            "kind": Text(longest=200),
            "network": network,
            "preprocessing": PREPROCESSING,
            "names": names,
            "card": Fields({}, {"pixel_size": PIXEL_SIZE}, others=Open()),
            "fingerprint": DIGEST,
            "files": MapOf(DIGEST),
            "checksum": DIGEST,
        }
    )
