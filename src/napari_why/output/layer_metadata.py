"""What a layer carries of the image or result it shows: the one place that knows the keys.

It stands in ``layer.metadata["napari_why"]`` as a plain dictionary, so that layers can be saved,
copied and read without this package, and is read and written here alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any
from unicodedata import normalize

import numpy as np

from napari_why.core.record import Record

# The key in a layer's metadata, and in what is kept of each layer in a saved file; files of
# earlier versions have it, so it stays.
KEY = "napari_why"
# Where the details of a saved record keep what the layers looked like, and the kind of the record of
# layers that no method made.
LAYERS = "layers"
# What places a layer in the world beside scale and translation; files of images have none of it.
ORIENTATION = ("rotate", "shear", "affine")

# What napari adds to a name that another layer has: "DAPI [1]".
NUMBERED = re.compile(r"\s*\[\d+\]$")
# Letters and numbers apart, so that "w1DAPI" holds DAPI; a decimal number is one: Cy3.5 is not Cy3.
WORDS = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)*")
# Words of channel names that say nothing of the stain: where a name is "Ch1", it may be any.
GENERIC = frozenset({"channel", "ch", "image", "img", "layer", "stain", "wavelength", "nm"})

# The endings of an image file, of OME-TIFF and OME-Zarr both.
ENDING = re.compile(r"(\.ome)?\.[A-Za-z]\w{0,4}$", re.IGNORECASE)
# What the names of one image's files share of the marks of their channels.
MARK_OF_CHANNEL = re.compile(r"[ _.-]+(w|c|ch|channel)?$", re.IGNORECASE)

RECORD_KEYS = frozenset(entry.name for entry in fields(Record))


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """What one layer shows. None, and what is empty, is not said and not written.

    The dictionary of a raw layer holds ``source``, ``notes``, ``read_as``, ``channel`` and
    ``channels``; that of a result's layer the fields of its :class:`~napari_why.core.record.Record`
    beside ``id``, ``role`` and ``channel``. ``further`` stands beside them in both.

    Parameters
    ----------
    channel : str or None
        The channel that is shown; None for a map of all channels together.
    source : str or None
        File that a raw layer was read from; that of a result stands in its record.
    notes : sequence of str or None
        What the reader noticed about the file.
    read_as : mapping or None
        What the user said about the file's axes and channels.
    channels : sequence of str or None
        All channels of the image, in their order.
    record : Record or None
        How the result was made; None for raw layers.
    id : str or None
        The same for all layers of one result, another for each result.
    role : str or None
        What of the result is shown: "attribution", "series", "difference", "change map",
        "regions", "spread", "uncertain sign", "draws", "reconstruction", "reconstruction error", "class map", "class image", "class difference",
        "standard error", "prototype", or the axis of generated images;
        None for raw layers.
    further : mapping
        What else is known. Of an attribution ``target``, ``unit``, ``gap``, ``gap_meaning``,
        ``explained``, ``constants`` and ``constants_meaning``, and ``explanation_score`` once it was
        measured; of a counterfactual ``target``,
        ``classes``, ``alphas``, ``probabilities``, ``special_alphas``, ``verdict``,
        ``reservations`` and ``trustworthy``; of a measurement the last three; of sample data
        ``label``, ``labels`` and
        ``scenes``.
    """

    channel: str | None = None
    source: str | None = None
    notes: "tuple[str, ...] | list[str] | None" = None
    read_as: Mapping[str, Any] | None = None
    channels: "tuple[str, ...] | list[str] | None" = None
    record: Record | None = None
    id: str | None = None
    role: str | None = None
    further: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, layer: Any) -> "LayerFacts":
        """Return what a layer of napari carries; nothing of a layer from elsewhere."""
        return cls.from_metadata(layer.metadata)

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], record: Record | None = None
    ) -> "LayerFacts":
        """Read what :meth:`to_metadata` or :meth:`to_look` wrote.

        Parameters
        ----------
        metadata : mapping
            A layer's metadata, or what is kept of a layer in a saved file.
        record : Record, optional
            The record where it is kept apart.

        Returns
        -------
        LayerFacts
            Of what anybody else put there, whatever makes sense: a viewer holds layers of other
            plugins, and none of them may stop a dock.
        """
        found = metadata.get(KEY)
        plain = dict(found) if isinstance(found, Mapping) else {}
        if record is None:
            record = _record(plain)
        if record is not None:
            plain = {name: item for name, item in plain.items() if name not in RECORD_KEYS}
        known = {name: plain.pop(name) for name in _OWN if name in plain}
        if not isinstance(known.get("channel"), str):
            known["channel"] = None
        return cls(record=record, further=plain, **known)

    def to_metadata(self) -> dict[str, Any]:
        """Return it as metadata for a layer."""
        record = {} if self.record is None else self.record.to_dict()
        return {KEY: record | self._beside_record()}

    def to_look(self) -> dict[str, Any]:
        """Return what a file keeps for each layer, JSON types; the record, kept once, is left out."""
        look: dict[str, Any] = plain_json({KEY: self._beside_record()})
        return look

    def with_further(self, **further: Any) -> "LayerFacts":
        """Return the same with more that is known."""
        return replace(self, further={**self.further, **further})

    @property
    def is_result(self) -> bool:
        """Whether the layer shows a result, and no raw image."""
        return self.role is not None

    @property
    def is_series(self) -> bool:
        """Whether it is the image series of a counterfactual, one channel of it."""
        made_by_counterfactual = self.record is not None and self.record.kind == "counterfactual"
        return made_by_counterfactual and self.role == "series"

    @property
    def is_difference(self) -> bool:
        """Whether it is the difference series of a counterfactual, one channel of it."""
        return self.role == "difference"

    @property
    def classifier(self) -> str:
        """Fingerprint of the classifier that the result was made with; empty for raw layers."""
        return "" if self.record is None else self.record.classifier

    @property
    def origin(self) -> str:
        """The file or layer that it all comes from, empty where it is not known."""
        return str(self.source or "") if self.record is None else self.record.source

    @property
    def image_name(self) -> str:
        """What people call the image that it all comes from; empty where it comes from no file."""
        return image_name(self.origin)

    @property
    def target(self) -> str:
        """The class that is explained or led to."""
        return str(self.further.get("target", ""))

    @property
    def alphas(self) -> tuple[float, ...]:
        """Positions of the images of a series."""
        return tuple(self.further.get("alphas", ()))

    @property
    def verdict(self) -> str:
        """What a counterfactual is worth, in one line."""
        return str(self.further.get("verdict", ""))

    @property
    def reservations(self) -> tuple[str, ...] | None:
        """What speaks against believing a counterfactual; None in what was saved before it was."""
        found = self.further.get("reservations")
        return None if found is None else tuple(map(str, found))

    def _beside_record(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _OWN}
        said = {name: item for name, item in own.items() if item is not None}
        # "All channels together" is a statement too, and saved layers are found by it.
        if self.is_result:
            said["channel"] = self.channel
        return {**said, **self.further}


# All fields but the record, whose own fields are spread out, and what is further known.
_OWN = tuple(f.name for f in fields(LayerFacts) if f.name not in ("record", "further"))


def _record(plain: Mapping[str, Any]) -> Record | None:
    # A record without kind or method is none of ours; its entries are kept as they are.
    if not {"kind", "method"} <= set(plain):
        return None
    return Record.from_dict({name: plain[name] for name in RECORD_KEYS if name in plain})


def image_name(source: str) -> str:
    """Return the name of the file that an image comes from, without folder and ending.

    Of the files of one image, one a channel, what their names share. Empty where it was no file.

    Examples
    --------
    >>> image_name("plates/DS_r01c23f02.tif"), image_name("A02.f1.ome.tif")
    ('DS_r01c23f02', 'A02.f1')
    >>> image_name("B01_w1.tif; B01_w2.tif"), image_name("simulated scene 3 (seed 1), healthy")
    ('B01', '')
    """
    names = [
        part.strip().replace("\\", "/").rstrip("/").rpartition("/")[2] for part in source.split(";")
    ]
    if not all(ENDING.search(name) for name in names):
        return ""
    stems = [ENDING.sub("", name) for name in names]
    alike = [len(set(letters)) == 1 for letters in zip(*stems, strict=False)]
    shared = stems[0][: [*alike, False].index(False)]
    # of several files what is left of the channel's mark goes too: "B01_w" is B01
    return (MARK_OF_CHANNEL.sub("", shared) if len(stems) > 1 else shared) or stems[0]


def match_name(name: str, channels: Sequence[str]) -> tuple[str, bool] | None:
    """Return the channel that a name means and whether both are the same, None where it is unsure.

    Parameters
    ----------
    name : str
        Of a layer, or what its metadata calls it.
    channels : sequence of str
        Those that it may mean.

    Returns
    -------
    (str, bool) or None

    Examples
    --------
    >>> match_name("A.ome: dapi [1]", ["DAPI", "TMRM"]), match_name("TMRM (561)", ["DAPI", "TMRM"])
    (('DAPI', False), ('TMRM', False))
    >>> match_name("Hoechst", ["DAPI", "TMRM"]), match_name("DAPI-TMRM", ["DAPI", "TMRM"])
    (None, None)
    """
    words = name_words(name)
    same = [channel for channel in channels if words and name_words(channel) == words]
    if name in same:
        same = [name]  # of "DAPI" and "dapi" the one that is spelled so
    if same:
        return (same[0], True) if len(same) == 1 else None
    inside = [channel for channel in channels if _holds(words, name_words(channel))]
    # "TMRM 2" says more than "TMRM", which it holds
    inside = [
        channel
        for channel in inside
        if not any(o != channel and _holds(name_words(o), name_words(channel)) for o in inside)
    ]
    around = [
        channel
        for channel in channels
        if not set(filter(_is_telling, words)) <= GENERIC and _holds(name_words(channel), words)
    ]
    found = inside or around
    return (found[0], False) if len(found) == 1 else None


def name_words(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, in one case and without napari's " [1]"."""
    # file names of macOS have letters and accents apart, those of Japanese systems wide letters
    plain = normalize("NFKC", NUMBERED.sub("", name.strip()))
    return tuple(WORDS.findall(plain.casefold()))


def _is_telling(word: str) -> bool:
    return len(word) > 1 and not word[0].isdecimal()


def _holds(words: Sequence[str], part: Sequence[str]) -> bool:
    """Tell whether words stand in others one after the other; a number or a letter alone never."""
    telling = any(map(_is_telling, part))
    starts = range(len(words) - len(part) + 1)
    return telling and any(tuple(words[i : i + len(part)]) == tuple(part) for i in starts)


def plain_json(value: Any) -> Any:
    """Return a value as JSON types; what has no such type as its text.

    Examples
    --------
    >>> plain_json({"scale": np.array([1.0, 2.0]), "axes": ("y", "x")})
    {'scale': [1.0, 2.0], 'axes': ['y', 'x']}
    """
    if isinstance(value, Mapping):
        return {str(name): plain_json(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain_json(value.tolist())
    if isinstance(value, tuple | list):
        return [plain_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
