"""The schema of ``classifier.json``: every entry and what it may be, declared once."""

from typing import Any

from napari_why.core.errors import ModelFileError
from napari_why.core.schema import (
    Fields,
    Flag,
    ListOf,
    MapOf,
    Maybe,
    Number,
    OneOf,
    Open,
    Row,
    Schema,
    Text,
    Whole,
)
from napari_why.model.image_facts import FACTS
from napari_why.model.latent_statistics import STATISTICS

FORMAT = "napari-why classifier"
# 2: one checksum over the whole, and a fingerprint that covers statistics and second network. 1 had
# checksums of the weights, the network, the preprocessing and the classes alone.
VERSION, FIRST_VERSION = 2, 1
# What no classifier of the first version holds: entries that came with or after the checksum. One that
# does had a checksum, and lost it to somebody who changed what is under it.
LATER_ENTRIES = {
    "preprocessing": ("pixel_size",),
    "card": ("seen_groups", "confounding", "duplicates_left_out", "data_notes"),
    "card.images": ("likeness", "measured"),
    "metrics.validation.images": ("balanced_accuracy", "majority_accuracy", "z_prime_log_odds"),
    "metrics.validation.groups": ("balanced_accuracy", "majority_accuracy", "z_prime_log_odds"),
    "metrics.test.images": ("balanced_accuracy", "majority_accuracy", "z_prime_log_odds"),
    "metrics.test.groups": ("balanced_accuracy", "majority_accuracy", "z_prime_log_odds"),
}
# Far above every camera and plate; beyond them a damaged number would ask for absurd memory.
LARGEST_SIZE = 16384
MOST_CHANNELS = 256  # likewise
MOST_CLASSES = 10_000  # likewise
# Of a network's parameter, "2,2,2,2" say: each part of it may build layers.
LONGEST_PARAMETER = 200
# 64 hexadecimal digits.
DIGEST = Text(longest=64)

NAMES = ListOf(Text(), fewest=1, most=MOST_CHANNELS, unique=True)
CLASSES = ListOf(Text(), fewest=2, most=MOST_CLASSES, unique=True)
SIZE = Whole(1, LARGEST_SIZE)
PER_CHANNEL = ListOf(Number(), fewest=1, most=MOST_CHANNELS)
ABOVE_ZERO = Number(0, above=True)
POSITIVE_PER_CHANNEL = ListOf(ABOVE_ZERO, fewest=1, most=MOST_CHANNELS)
COUNTS = ListOf(Whole(), fewest=2, most=MOST_CLASSES)

# The arguments of build_network; those of the network itself are checked by its own declaration.
NETWORK = Fields(
    {
        "name": Text(),
        "input_channels": Whole(1, MOST_CHANNELS),
        "classes": Whole(2, MOST_CLASSES),
        "frozen": Flag(only=True),
    },
    {"size": OneOf((SIZE, ListOf(SIZE, fewest=2, most=2)))},
    others=Maybe(OneOf((Flag(), Number(), Text(longest=LONGEST_PARAMETER)))),
)
PREPROCESSING = Fields(
    {
        "channels": NAMES,
        "size": Maybe(SIZE),
        "fit": Text(),  # the choices are those that Preprocessing itself knows
        "intensity": Text(),
        "mean": PER_CHANNEL,
        "std": POSITIVE_PER_CHANNEL,
        "cofactor": POSITIVE_PER_CHANNEL,
    },
    {
        "notes": ListOf(Text()),
        "pixel_size": Fields({"y": ABOVE_ZERO, "x": ABOVE_ZERO, "unit": Text(("um",))}),
    },
)
# Of metrics only what notes and verdicts are made of is typed: the rest is for people.
SCORES = Fields(
    optional={
        "images": Whole(),
        "groups": Whole(),
        "accuracy": Maybe(Number(0, 1)),
        "confusion_matrix": ListOf(ListOf(Whole(), most=MOST_CLASSES), most=MOST_CLASSES),
    },
    others=Open(),
)
SPLIT_METRICS = Maybe(
    Fields(
        optional={
            "images": Maybe(SCORES),
            "groups": Maybe(SCORES),
            # the probabilities in it are looked at where the classes are known
            "by_group": Maybe(ListOf(Fields({"label": Text()}, others=Open()))),
        },
        others=Open(),
    )
)
METRICS = Fields(optional={"validation": SPLIT_METRICS, "test": SPLIT_METRICS}, others=Open())
CONFOUNDING = Fields(
    optional={
        "sentences": ListOf(Text()),
        "apart": ListOf(
            Fields({"things": Text(), "pairs": ListOf(Row((Text(), Text())))}, others=Open())
        ),
        "near": ListOf(
            Fields(
                {"things": Text(), "pairs": ListOf(Row((Text(), Text(), Number(0, 1))))},
                others=Open(),
            )
        ),
        "factors": ListOf(Fields(optional={"level": Text()}, others=Open())),
    },
    others=Open(),
)
# All may be missing in what earlier versions saved.
CARD = Fields(
    optional={
        "images": FACTS,
        "seen_images": ListOf(Text()),
        "seen_groups": Maybe(Fields({"columns": ListOf(Text()), "names": ListOf(ListOf(Text()))})),
        "splits": MapOf(ListOf(Text())),
        "confounding": Maybe(CONFOUNDING),
        "duplicates_left_out": ListOf(Text()),
        "data_notes": ListOf(Text()),
        "left_out": ListOf(Text()),
        "notes": ListOf(Text()),
        "lock_test": Maybe(Fields({"sentence": Text()}, others=Open())),
        "second_network": Maybe(
            Fields(optional={"validation_accuracy": Maybe(Number(0, 1))}, others=Open())
        ),
    },
    others=Open(),
)


def latent_schema() -> Fields:
    """Return the schema of the latent statistics: each kind of them declares its own part.

    Put together when it is needed, since other packages add kinds.
    """
    parts: dict[str, Schema] = {kind.saved_key: kind.schema for kind in STATISTICS.values()}
    return Fields(
        {
            "classes": CLASSES,
            "true_counts": COUNTS,
            "predicted_counts": COUNTS,
            "never_predicted": ListOf(Text(), unique=True),
            "complete": Flag(),
        },
        parts,
        others=Open(),  # of a package that is not installed here
    )


def description_schema(version: int) -> Fields:
    """Return the schema of a whole description of that version."""
    common: dict[str, Schema] = {
        "format": Text((FORMAT,)),
        "version": Whole(version, version),
        "network": NETWORK,
        "preprocessing": PREPROCESSING,
        "classes": CLASSES,
        "latent_statistics": Maybe(latent_schema()),
        "metrics": METRICS,
        "card": CARD,
        "fingerprint": DIGEST,
    }
    if version == FIRST_VERSION:
        # classifiers of 0.1.0 have no second network
        return Fields({**common, "weights_sha256": DIGEST}, {"second_network": Maybe(NETWORK)})
    later: dict[str, Schema] = {
        "second_network": Maybe(NETWORK),
        "former_fingerprint": DIGEST,
        "notes": ListOf(Text()),
        "files": MapOf(DIGEST),
        "checksum": DIGEST,
    }
    return Fields({**common, **later})


def find_later_entries(plain: dict[str, Any]) -> list[str]:
    """Return what a description holds that the first version never wrote, as ``card.seen_groups``."""
    found = []
    for path, names in LATER_ENTRIES.items():
        part: Any = plain
        for key in path.split("."):
            part = (part or {}).get(key)
        found += [f"{path}.{name}" for name in names if name in (part or {})]
    return found


def check_format(plain: Any, file: str) -> int:
    """Return the format version of parsed JSON.

    Parameters
    ----------
    plain : object
        Any JSON value.
    file : str
        What messages call it.

    Returns
    -------
    int

    Raises
    ------
    ModelFileError
        It is another kind of JSON, or of a version that is not known here.
    """
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{file}: found another kind of JSON; expected a {FORMAT}")
    version = plain.get("version")
    if type(version) is int and FIRST_VERSION <= version <= VERSION:
        return version
    newer = type(version) is int and version > VERSION
    raise ModelFileError(
        f"{file}: found format version {version}; expected {FIRST_VERSION} to {VERSION}; "
        f"{'update napari-why' if newer else 'train anew'}"
    )
