"""Mutants of a saved classifier: what accidents, and people, do to a folder."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from napari_why.model.description import WEIGHTS_FILE, checksum_of
from napari_why.model.storage import SavedFiles, fingerprints

# What a field may be made: other types, ends of ranges, what opens files elsewhere or goes online.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 10**9, 10**400, 0.0, 0.5, -0.5, 1e308, 50.0, "", "0", "imagenet",
    "random", "/etc/passwd", "../../elsewhere.pth", "https://example.org/weights.pth", "\u0000", "a" * 10**5,
    [], {}, [0], [[]], [None], {"a": 1}, [10**9, 10**9], "64," * 99 + "64",
)  # fmt: skip
# Networks and parameters that ask for something else than what was saved.
NETWORKS = ("resnext50", "cam_net", "small_cnn", "vae", "lenet", "../iresnet")
TEXTS = ('{"', "NaN", "Infinity", "[" * 5000, '{"a": 1, "a": 2}', "1" * 5000, "", "null")


@dataclass(frozen=True)
class Mutant:
    """A folder's files after one mutation; ``sealed`` where all checksums were computed anew."""

    files: SavedFiles
    kind: str
    sealed: bool


def mutants(original: SavedFiles, count: int, seed: int) -> Iterator[Mutant]:
    """Yield one mutant of every field and every kind of damage, then ``count`` others at random.

    Of the former all are sealed again, as a plausible forger would do, of the latter every second.
    """
    yield from damages_of_every_field(original)
    for index in range(count):
        draw = random.Random(f"{seed} {index}")
        kind = draw.choice(list(KINDS))
        made = KINDS[kind](original, draw)
        sealed = index % 2 == 1
        yield Mutant(seal(made) if sealed else made, kind, sealed)


# What may happen to any field, whatever it holds; None takes it away.
DAMAGES: dict[str, Callable[[Any], Any]] = {
    "another type": lambda value: 3 if isinstance(value, str) else "/etc/passwd",
    "out of range": lambda value: -1 if isinstance(value, bool | int | float) else [value] * 3,
    "NaN": lambda value: float("nan"),
    "huge": lambda value: 10**400 if isinstance(value, int | float) else "a" * 10**5,
    "nested": lambda value: {"a": [value]},
    "null": lambda value: None,
    "path": lambda value: "/etc/passwd" if isinstance(value, str) else {},
}
# What sealing computes anew; these are damaged and left so.
OF_SEALING = ("fingerprint", "former_fingerprint", "files", "checksum")


def fields_of(plain: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every field; of a list to its first item, for which the others stand."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain[:1])
    for key, value in items:
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *rest) for rest in fields_of(value))


def damages_of_every_field(original: SavedFiles) -> Iterator[Mutant]:
    """Yield each field damaged in each way, taken away, and with another beside it."""
    plain = json.loads(original.description)
    for way in fields_of(plain):
        for kind in (*DAMAGES, "missing", "extra"):
            copied = json.loads(original.description)
            holder = copied
            for key in way[:-1]:
                holder = holder[key]
            if kind == "missing":
                del holder[way[-1]]
            elif kind == "extra" and isinstance(holder, dict):
                holder[f"{way[-1]} too"] = holder[way[-1]]
            elif kind == "extra":
                holder.append(holder[0])
            else:
                holder[way[-1]] = DAMAGES[kind](holder[way[-1]])
            made = replace(original, description=json.dumps(copied).encode())
            sealed = way[0] not in OF_SEALING
            name = f"{kind} of {'.'.join(map(str, way))}"
            yield Mutant(seal(made) if sealed else made, name, sealed)


def seal(files: SavedFiles) -> SavedFiles:
    """Return the files with fingerprint and checksums that fit, where they can be computed."""
    try:
        plain = json.loads(files.description)
        tensors, weights_sha256 = _read(files.weights)
        plain["files"] = {WEIGHTS_FILE: weights_sha256}
        both = fingerprints(plain, tensors)
        plain["fingerprint"], plain["former_fingerprint"] = both
        plain["checksum"] = checksum_of(plain)
        return replace(files, description=json.dumps(plain).encode())
    # what cannot be understood cannot be sealed either
    except (SafetensorError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return files


@lru_cache(maxsize=2)  # most mutants have the weights of the original
def _read(weights: bytes) -> tuple[dict[str, torch.Tensor], str]:
    return load(weights), sha256(weights).hexdigest()


def _places(plain: Any) -> list[tuple[Any, Any]]:
    found = []
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for key, value in items:
        found.append((plain, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found


def _of_json(change: Callable[[Any, Any, random.Random], None]) -> Any:
    def mutate(files: SavedFiles, draw: random.Random) -> SavedFiles:
        plain = json.loads(files.description)
        # an entry first, so that the many numbers of the card do not take all mutations
        entry = draw.choice(list(plain))
        inner = _places({entry: plain[entry]})
        holder, key = draw.choice(inner)
        holder = plain if key == entry and holder is inner[0][0] else holder
        change(holder, key, draw)
        return replace(files, description=json.dumps(plain).encode())

    return mutate


def _set(holder: Any, key: Any, draw: random.Random) -> None:
    holder[key] = copy.deepcopy(draw.choice(VALUES))


def _nudge(holder: Any, key: Any, draw: random.Random) -> None:
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = draw.choice([value + 1, -value, value * 10, value / 3, float(value)])
    elif isinstance(value, str):
        holder[key] = draw.choice([value + "x", value[:-1], value.upper(), value[::-1]])
    elif isinstance(value, list):
        holder[key] = draw.choice([value[::-1], value[1:], value * 2, [value]])
    else:
        holder[key] = [value]


def _delete(holder: Any, key: Any, draw: random.Random) -> None:
    del draw
    del holder[key]


def _add(holder: Any, key: Any, draw: random.Random) -> None:
    value = copy.deepcopy(draw.choice(VALUES))
    if isinstance(holder, dict):
        holder[draw.choice(["weights", "surprise", "../x", f"{key} "])] = value
    else:
        holder.insert(0, value)


def _nest(holder: Any, key: Any, draw: random.Random) -> None:
    for _ in range(draw.choice([1, 2, 40, 400])):
        holder[key] = {"a": holder[key]} if draw.random() < 0.5 else [holder[key]]


def _rename(holder: Any, key: Any, draw: random.Random) -> None:
    if isinstance(holder, dict):
        holder[draw.choice([str(key).upper(), f"{key}s", ""])] = holder.pop(key)
    else:
        holder.append(holder.pop(0))


def _network(files: SavedFiles, draw: random.Random) -> SavedFiles:
    plain = json.loads(files.description)
    network = plain[draw.choice(["network", "second_network"])]
    change = {
        "name": draw.choice(NETWORKS),
        "weights": draw.choice(["/etc/passwd", "imagenet", "random", 3]),
        "size": draw.choice([10**9, [10**9, 10**9], [16, 16], 16, 32, [8]]),
        "widths": draw.choice(["4096,4096", "1", "4,4,4", "x", ""]),
        "blocks": draw.choice(["64,64", "64," * 60 + "64", "0", "2"]),
    }
    for name in draw.sample(list(change), draw.choice([1, 2])):
        network[name] = change[name]
    return replace(files, description=json.dumps(plain).encode())


def _text(files: SavedFiles, draw: random.Random) -> SavedFiles:
    text = files.description
    place = draw.randrange(len(text))
    flipped = text[:place] + bytes([text[place] ^ 1 << draw.randrange(8)]) + text[place + 1 :]
    written = text.replace(b"0.0", draw.choice(TEXTS).encode(), 1)
    spaced = json.dumps(json.loads(text), indent=3, sort_keys=True).encode()
    return replace(
        files,
        description=draw.choice(
            [text[:place], flipped, written, draw.choice(TEXTS).encode(), text + b"\xff", spaced]
        ),
    )


def _weights(files: SavedFiles, draw: random.Random) -> SavedFiles:
    content = files.weights
    place = draw.choice([draw.randrange(16), draw.randrange(len(content))])
    flipped = (
        content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
    )
    length = draw.choice([0, 2**63, 2**20]).to_bytes(8, "little") + content[8:]
    shaped = content.replace(b'"shape":[', b'"shape":[9', 1)
    return replace(
        files,
        weights=draw.choice([content[:place], flipped, length, shaped, content + b"\0", b""]),
    )


def _tensor(files: SavedFiles, draw: random.Random) -> SavedFiles:
    tensors = dict(load(files.weights))
    name = draw.choice(list(tensors))
    tensor = tensors[name]
    some = tensor.double() if tensor.dtype == torch.float32 else tensor.float()
    broken = tensor.clone().float()
    if broken.numel():
        broken.view(-1)[draw.randrange(broken.numel())] = draw.choice(
            [float("nan"), float("inf"), 1e30, -1.0, 0.0]
        )
    action = draw.randrange(8)
    if action == 0:
        del tensors[name]
    elif action == 1:
        tensors[draw.choice([f"{name}x", f"latent/other.{name}", "elsewhere", "network/"])] = (
            tensor.clone()
        )
    elif action == 2:
        other = draw.choice(list(tensors))
        tensors[name], tensors[other] = tensors[other].clone(), tensor.clone()
    else:
        tensors[name] = (
            some, broken.to(tensor.dtype), tensor[None].clone(), tensor.flatten().clone(),
            torch.zeros(0), torch.zeros_like(tensor),
        )[draw.randrange(6)]  # fmt: skip
    return replace(files, weights=save(tensors))


KINDS: dict[str, Callable[[SavedFiles, random.Random], SavedFiles]] = {
    "set a value": _of_json(_set),
    "nudge a value": _of_json(_nudge),
    "delete": _of_json(_delete),
    "add": _of_json(_add),
    "nest": _of_json(_nest),
    "rename": _of_json(_rename),
    "another network": _network,
    "change the text": _text,
    "change the weights' bytes": _weights,
    "change a tensor": _tensor,
}


def read_original(folder: Path) -> SavedFiles:
    """Return the files of a saved classifier."""
    return SavedFiles.read(folder)
