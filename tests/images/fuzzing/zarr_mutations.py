"""Mutations of OME-Zarr folders: their metadata, and the chunks as far as they are structure."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from random import Random
from typing import Any

from fuzzing.mutant import Mutant
from fuzzing.numbers import flipped
from fuzzing.specimen import Specimen

METADATA = (".zarray", ".zattrs", ".zgroup", "zarr.json")
Change = tuple[str, str, dict[str, bytes | None]]
# What stands in one place of metadata is plausible in others.
WORDS = (
    "<u2", ">u2", "<i2", "<u1", "<u4", "<f4", "|O", "uint8", "uint16", "uint32", "int16", "float32",
    "blosc", "zlib", "gzip", "zstd", "lz4", "bytes", "transpose", "crc32c", "sharding_indexed",
    "big", "little", "F", "C", ".", "/", "0", "1", "../0", "", "x", "group", "array", "regular",
)  # fmt: skip


def zarr_mutant(specimen: Specimen, random: Random) -> Mutant:
    """Make a mutant of an OME-Zarr folder; the kind of mutation is chosen first."""
    while True:
        kind = random.choice(list(MUTATIONS))
        made = MUTATIONS[kind](random, specimen)
        if made and any(specimen.files[name] != content for name, content in made[2].items()):
            target, change, files = made
            return Mutant(specimen, kind, target, change, files)


def _some_metadata(random: Random, specimen: Specimen) -> str:
    return random.choice([name for name in specimen.files if name.endswith(METADATA)])


def _some_chunk(random: Random, specimen: Specimen) -> str:
    return random.choice([name for name in specimen.files if not name.endswith(METADATA)])


@lru_cache(maxsize=256)
def _parsed(content: bytes) -> str:
    return json.dumps(json.loads(content))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in nested metadata."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*path, key))


def _edited(
    random: Random, specimen: Specimen, edit: Callable[[Any, Any], str | None]
) -> Change | None:
    name = _some_metadata(random, specimen)
    metadata = json.loads(_parsed(specimen.files[name]))
    places = list(_places(metadata))
    if not places:
        return None
    *way, last = random.choice(places)
    holder = metadata
    for key in way:
        holder = holder[key]
    change = edit(holder, last)
    place = ".".join(map(str, (*way, last)))
    return change and (f"{name} {place}", change, {name: json.dumps(metadata).encode()})


def change_value(random: Random, specimen: Specimen) -> Change | None:
    """Give a number or word another value of its kind."""

    def edit(holder: Any, key: Any) -> str | None:
        value = holder[key]
        if isinstance(value, dict | list):
            return None
        wrong: Any = random.choice(WORDS)
        if isinstance(value, int | float):
            numbers = (0, -1, 1, value + 1, value - 1, 2 * value, value // 2, 10**6, 10**12, 2**63)
            wrong = random.choice(numbers)
        holder[key] = wrong
        return f"{value!r} to {wrong!r}"

    return _edited(random, specimen, edit)


def change_kind(random: Random, specimen: Specimen) -> Change | None:
    """Put a value of another kind where a number, word, list or mapping stands."""

    def edit(holder: Any, key: Any) -> str:
        value, wrong = holder[key], random.choice((None, [], {}, "x", 7, [7], [None], True, 1.5))
        holder[key] = wrong
        return f"{str(value)[:40]} to {wrong!r}"

    return _edited(random, specimen, edit)


def lose_value(random: Random, specimen: Specimen) -> Change | None:
    """Take away a value of a list or mapping."""

    def edit(holder: Any, key: Any) -> str:
        value = holder.pop(key)
        return f"{str(value)[:40]} lost"

    return _edited(random, specimen, edit)


def repeat_or_swap(random: Random, specimen: Specimen) -> Change | None:
    """Repeat an element of a list, or exchange it with its neighbour."""

    def edit(holder: Any, key: Any) -> str | None:
        if not isinstance(holder, list):
            return None
        if random.random() < 0.5 or len(holder) < 2:
            holder.insert(key, holder[key])
            return "repeated"
        other = key - 1
        holder[key], holder[other] = holder[other], holder[key]
        return "exchanged"

    return _edited(random, specimen, edit)


def claim_many_pixels(random: Random, specimen: Specimen) -> Change | None:
    """Claim 10^12 pixels in one axis or in all."""
    name = random.choice([n for n in specimen.files if n in ("0/.zarray", "0/zarr.json")])
    metadata = json.loads(_parsed(specimen.files[name]))
    shape = random.choice(([1, 10**6, 10**6], [10**12, 44, 38], [10**4, 10**4, 10**4]))
    metadata["shape"] = shape
    if random.random() < 0.5:
        if "chunks" in metadata:
            metadata["chunks"] = shape
        else:
            metadata["chunk_grid"]["configuration"]["chunk_shape"] = shape
    return f"{name} shape", str(shape), {name: json.dumps(metadata).encode()}


def cut_metadata(random: Random, specimen: Specimen) -> Change:
    """Cut metadata short."""
    name = _some_metadata(random, specimen)
    length = random.randrange(len(specimen.files[name]))
    return name, f"cut to {length}", {name: specimen.files[name][:length]}


def flip_metadata(random: Random, specimen: Specimen) -> Change:
    """Flip bits of metadata."""
    name = _some_metadata(random, specimen)
    data = specimen.files[name]
    return name, "bits flipped", {name: flipped(random, data, 0, len(data))}


def lose_metadata(random: Random, specimen: Specimen) -> Change:
    """Delete a file of metadata."""
    name = _some_metadata(random, specimen)
    return name, "deleted", {name: None}


def cut_chunk(random: Random, specimen: Specimen) -> Change:
    """Cut a chunk at the boundaries of its structures, or lengthen it."""
    name = _some_chunk(random, specimen)
    data = specimen.files[name]
    length = random.choice((0, 1, 4, 8, 15, 16, 17, 20, len(data) // 2, len(data) - 8))
    length = random.choice((length, random.randrange(len(data)), len(data) - 1, len(data) + 7))
    cut = data[: max(0, length)].ljust(length, b"\7")
    return name, f"{len(data)} bytes to {length}", {name: cut}


def lose_chunk(random: Random, specimen: Specimen) -> Change:
    """Delete a chunk."""
    name = _some_chunk(random, specimen)
    return name, "deleted", {name: None}


def flip_chunk_header(random: Random, specimen: Specimen) -> Change | None:
    """Flip bits where a chunk, or the index of a shard, says how it is stored."""
    name = _some_chunk(random, specimen)
    data = specimen.files[name]
    ranges = _structure_of_chunk(specimen, name, len(data))
    if not ranges:
        return None
    start, stop = random.choice(ranges)
    return (
        name,
        f"bits of bytes {start} to {stop} flipped",
        {name: flipped(random, data, start, stop)},
    )


def _structure_of_chunk(specimen: Specimen, name: str, size: int) -> list[tuple[int, int]]:
    """Return where headers, trailers and the index lie; raw and compressed pixels are left alone."""
    data = specimen.files[name]
    described = specimen.files.get(f"{name[0]}/zarr.json", b"") + specimen.files.get(
        f"{name[0]}/.zarray", b""
    )
    if b"sharding_indexed" in described:
        array = json.loads(described)
        shard = array["chunk_grid"]["configuration"]["chunk_shape"]
        inner = array["codecs"][0]["configuration"]["chunk_shape"]
        chunks = 1
        for whole, part in zip(shard, inner, strict=True):
            chunks *= whole // part
        return [(size - 16 * chunks - 4, size)]
    if b'"blosc"' in described:
        return [(0, 16)]
    if data[:2] == b"\x1f\x8b":
        return [(0, 4), (size - 8, size)]
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return [(0, 6)]
    if b'"zlib"' in described:
        return [(0, 2), (size - 4, size)]
    return [(0, 4)] if b'"lz4"' in described else []


MUTATIONS: dict[str, Callable[[Random, Specimen], Change | None]] = {
    "metadata value": change_value,
    "metadata kind": change_kind,
    "metadata lost": lose_value,
    "metadata order": repeat_or_swap,
    "metadata cut": cut_metadata,
    "metadata flipped bits": flip_metadata,
    "metadata file lost": lose_metadata,
    "absurd shape": claim_many_pixels,
    "chunk cut": cut_chunk,
    "chunk lost": lose_chunk,
    "chunk header": flip_chunk_header,
}
