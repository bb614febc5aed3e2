"""Whatever is done to the folder of a classifier, loading refuses it in words or is not misled.

``python benchmarks/fuzz_classifiers.py`` looks at more of them.
"""

import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_mutants import Mutant, mutants

from napari_why.core.closed_doors import DOORS, MODULES
from napari_why.core.errors import ModelFileError, WhyError
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.model import Classifier, load
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.storage import SavedFiles, SavedParts, assemble, fingerprints, name_tensors
from napari_why.networks import build_network
from napari_why.transport import Choice

COUNT = 2000
# Bytes that loading 2,000 mutants of a few kilobytes may add: one image of 10^9 pixels would exceed it.
MOST_MEMORY = 5e8
OPENED: list[str] = []
WATCHING: list[bool] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHING and event == "open" and isinstance(arguments[0], str | bytes | Path):
        if not str(arguments[0]).endswith(MODULES):
            OPENED.append(str(arguments[0]))
    elif WATCHING and event in DOORS:
        OPENED.append(event)


sys.addaudithook(watch)


@contextmanager
def watched() -> Iterator[None]:
    OPENED.clear()
    WATCHING.append(True)
    try:
        yield
    finally:
        WATCHING.clear()


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    """An untrained classifier with everything that can be saved."""
    network = build_network(
        "iresnet", input_channels=2, classes=2, size=8, blocks="1", widths="2", downscaling="2",
        locked="0",
    )  # fmt: skip
    network.freeze()
    second = build_network("small_cnn", input_channels=2, classes=2, size=8, widths="2")
    preprocessing = Preprocessing(
        ("DAPI", "TMRM"), 8, "resize", "linear", (10.0, 20.0), (3.0, 4.0), (1.0, 1.0)
    )
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 2
    images = torch.randn(24, 2, 8, 8, generator=generator) + labels[:, None, None, None]
    statistics = LatentStatistics.collect(network, [(images, labels)], ("healthy", "diseased"))
    transport = statistics.transport
    assert transport is not None
    chosen = transport.with_choices({(0, 1): Choice("excess", 1.5, (), {"images": 3})})
    score = {"images": 4, "accuracy": 0.5, "confusion_matrix": [[1, 1], [1, 1]]}
    return Classifier(
        network,
        preprocessing,
        ("healthy", "diseased"),
        statistics.with_part("transport", chosen),
        {"validation": {"images": score}, "test": None},
        {
            "images": {
                "dtypes": ["uint16"], "shapes": [[8, 8]], "pixel_size": None, "unit": "pixel",
                "means": {"DAPI": [1.0, 2.0], "TMRM": [3.0, 4.0]},
            },
            "seen_images": ["0" * 64],
            "notes": [],
        },
        second_network=second,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tiny: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


def identity(parts: SavedParts) -> tuple[Any, ...]:
    """Return everything that a folder says."""
    described = parts.description
    plain = described.second_network, described.latent_statistics
    tensors = name_tensors(parts.network, parts.second_network, parts.latent_statistics)
    both = fingerprints(described.configuration, *plain, tensors)
    return (*both, described.metrics, described.card, described.notes)


def outcome_of(mutant: Mutant, original: tuple[Any, ...]) -> str:
    """Load a mutant and say what became of it; anything but words is an exception of the test."""
    with watched():
        try:
            parts = assemble(mutant.files)
        except ModelFileError as error:
            assert str(error)
            return "refused"
    if identity(parts) == original:
        return "the same"
    # only who computes all checksums anew is believed, and what is loaded then can be used
    assert mutant.sealed, f"{mutant.kind}: another classifier was believed"
    image = torch.zeros(1, len(parts.description.preprocessing.channels), 8, 8)
    with torch.no_grad(), suppress(WhyError):
        assert parts.network(image).shape == (1, len(parts.description.classes))
    return "another"


def test_mutants_are_refused_in_words_or_harmless(folder: Path) -> None:
    files = SavedFiles.read(folder)
    original = identity(assemble(files))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: Counter[tuple[bool, str]] = Counter()
    for mutant in mutants(files, COUNT, seed=0):
        counts[mutant.sealed, outcome_of(mutant, original)] += 1
        assert OPENED == [], mutant.kind
    assert sum(counts.values()) == COUNT
    # nearly all: the others differ in spaces or in what was set to what it was
    assert counts[False, "refused"] > 0.9 * COUNT / 2
    assert counts[True, "refused"] > 0.5 * COUNT / 2  # behind the checksum stands the schema
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kibibytes * 1024 < MOST_MEMORY


@pytest.mark.parametrize("name", ["classifier.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["link", "broken link", "pipe", "folder", "missing"])
def test_what_is_no_plain_file_is_not_opened(
    tiny: Classifier, tmp_path: Path, name: str, kind: str
) -> None:
    file = tiny.save(tmp_path / "model") / name
    elsewhere = file.rename(tmp_path / name)
    if kind == "link":
        file.symlink_to(elsewhere)
    elif kind == "broken link":
        file.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    with watched(), pytest.raises(ModelFileError):
        load(tmp_path / "model")
    assert not [path for path in OPENED if path.endswith(("nowhere", str(elsewhere)))]


def test_further_files_of_the_user_do_no_harm(tiny: Classifier, tmp_path: Path) -> None:
    model = tiny.save(tmp_path / "model")
    (model / "weights.pth").write_bytes(b"not to be opened")
    (model / "notes.txt").symlink_to("/etc/hostname")
    with watched():
        assert load(model).fingerprint == tiny.fingerprint
    assert {Path(path).name for path in OPENED} == {"classifier.json", "weights.safetensors"}


def test_a_copy_behind_a_link_loads(tiny: Classifier, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    assert load(tmp_path / "link").fingerprint == tiny.fingerprint


def test_the_fingerprint_covers_what_decides_about_a_result(tiny: Classifier) -> None:
    from dataclasses import replace

    statistics = tiny.latent_statistics
    assert statistics is not None
    assert statistics.transport is not None
    other = statistics.transport.with_choices({(0, 1): Choice("excess", 3.0, ())})
    changed = [
        replace(tiny, latent_statistics=statistics.with_part("transport", other)),
        replace(tiny, latent_statistics=None),
        replace(tiny, second_network=None),
        replace(tiny, classes=("diseased", "healthy")),
        replace(tiny, preprocessing=replace(tiny.preprocessing, mean=(10.0, 20.5))),
    ]
    assert len({item.fingerprint for item in (tiny, *changed)}) == len(changed) + 1
    told = replace(tiny, metrics={}, card={})
    assert told.fingerprint == tiny.fingerprint
    assert np.array_equal(
        told.logits(torch.zeros(1, 2, 8, 8)), tiny.logits(torch.zeros(1, 2, 8, 8))
    )
