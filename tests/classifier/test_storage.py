"""Saved and loaded: bit for bit the same, or an error in words."""

import errno
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.whole_files import REPLACING
from napari_why.model import load
from napari_why.model.description import checksum_of
from napari_why.model.storage import fingerprints


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewrite(folder: Path, weights=None, **entries) -> None:
    """Change a saved classifier as somebody would who also mends fingerprint and checksums."""
    description = json.loads((folder / "classifier.json").read_text())
    description |= entries
    if weights is not None:
        (folder / "weights.safetensors").write_bytes(save(weights))
    seal(folder, description)


def seal(folder: Path, description: dict) -> None:
    content = (folder / "weights.safetensors").read_bytes()
    description["files"] = {"weights.safetensors": sha256(content).hexdigest()}
    both = fingerprints(description, load_tensors(content))
    description["fingerprint"], description["former_fingerprint"] = both
    description["checksum"] = checksum_of(description)
    (folder / "classifier.json").write_text(json.dumps(description))


@pytest.fixture
def saved(invertible, tmp_path):
    return invertible.save(tmp_path / "model")


@pytest.mark.parametrize("name", ["invertible", "plain"])
def test_there_and_back(name, request, scenes, tmp_path):
    classifier = request.getfixturevalue(name)
    folder = classifier.save(tmp_path / "deep" / "model")
    assert sorted(contents(folder)) == ["classifier.json", "weights.safetensors"]
    loaded = load(folder)
    for row in range(6):
        before, after = classifier.predict(scenes.image(row)), loaded.predict(scenes.image(row))
        assert np.array_equal(before.logits, after.logits)
        assert before.probabilities == after.probabilities
        assert before.notes == after.notes
    assert loaded.fingerprint == classifier.fingerprint
    assert loaded.preprocessing == classifier.preprocessing
    assert loaded.classes == classifier.classes
    assert loaded.metrics == classifier.metrics
    assert loaded.card == classifier.card
    assert loaded.network.frozen
    assert not any(weight.requires_grad for weight in loaded.network.parameters())
    assert load(folder / "classifier.json").fingerprint == loaded.fingerprint


def test_latent_statistics_come_back(invertible, saved):
    loaded = load(saved).latent_statistics
    kept = invertible.latent_statistics
    assert loaded is not None
    assert kept is not None
    assert loaded.to_dict() == kept.to_dict()
    for name, tensor in kept.tensors().items():
        assert torch.equal(loaded.tensors()[name], tensor)


def test_a_loaded_network_still_inverts(invertible, saved, scenes):
    loaded = load(saved)
    batch = invertible.prepare(scenes.image(0))
    again = loaded.network.decode(loaded.network.last_latent(batch))
    assert torch.allclose(again, batch, atol=1e-4)
    assert loaded.network.certified_bounds == invertible.network.certified_bounds


def test_a_loaded_classifier_can_be_saved_again(saved, tmp_path):
    again = load(saved).save(tmp_path / "again")
    assert contents(again) == contents(saved)


def test_saving_leaves_torch_and_the_classifier_alone(invertible, tmp_path):
    generator, before = torch.get_rng_state(), invertible.fingerprint
    load(invertible.save(tmp_path / "model"))
    assert torch.equal(generator, torch.get_rng_state())
    assert invertible.fingerprint == before


def test_overwriting_has_to_be_asked_for(plain, saved):
    before = contents(saved)
    with pytest.raises(WhyError, match="overwrite"):
        plain.save(saved)
    assert contents(saved) == before
    plain.save(saved, overwrite=True)
    assert load(saved).fingerprint == plain.fingerprint
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_never_overwritten(plain, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(WhyError, match="not a saved classifier"):
        plain.save(tmp_path, overwrite=True)
    with pytest.raises(WhyError, match="found a file"):
        plain.save(tmp_path / "thesis.docx", overwrite=True)
    assert contents(tmp_path) == {"thesis.docx": b"years of work"}


@pytest.mark.parametrize("written", [0, 1])
@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_nothing_half_written(
    plain, invertible, tmp_path, monkeypatch, written, there
):
    target = tmp_path / "model"
    before = contents(invertible.save(target)) if there else None

    files = []

    def full(path: Path, content) -> int:
        files.append(path)
        with path.open("wb") as file:
            if len(files) <= written:
                return file.write(content)
            file.write(b"the first half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(WhyError, match=r"No space left on device.*nothing was written"):
            plain.save(target, overwrite=there)
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if there else [])
    if there:
        assert contents(target) == before


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: flip_a_bit(f / "weights.safetensors"), "altered or cut off"),
        (
            lambda f: (f / "weights.safetensors").write_bytes(
                (f / "weights.safetensors").read_bytes()[:-100]
            ),
            "altered or cut off",
        ),
        (lambda f: (f / "weights.safetensors").unlink(), "weights are missing"),
        (lambda f: (f / "classifier.json").unlink(), "found no classifier.json"),
        (lambda f: (f / "classifier.json").write_text('{"format": "napa'), "no readable JSON"),
        (lambda f: (f / "classifier.json").write_bytes(b"\xff\xfe\x00"), "no readable JSON"),
        (lambda f: (f / "classifier.json").write_text("[1, 2]"), "another kind of JSON"),
        (lambda f: rewrite(f, version=3), "format version 3; expected 1 to 2; update napari-why"),
        (lambda f: rewrite(f, version="one"), "format version one"),
        (lambda f: rewrite(f, trusted=True), "with the unknown trusted"),
        (lambda f: rewrite(f, metrics=[1]), r"metrics: found \[1\]; expected a mapping"),
        (lambda f: rewrite(f, classes=["a", "b", "c"]), "another number of channels or classes"),
        (lambda f: rewrite(f, classes=["a", "a"]), "each value once"),
        (lambda f: rewrite(f, latent_statistics=None), "half of the latent statistics"),
        (
            lambda f: rewrite(f, card={"images": {"dtypes": 3}}),
            r"classifier.json: card.images: .* without .*means",
        ),
    ],
)
def test_damaged_files_are_refused(saved, damage, words):
    damage(saved)
    with pytest.raises(ModelFileError, match=words):
        load(saved)


def altered(folder: Path, entry: str, **values) -> dict:
    return json.loads((folder / "classifier.json").read_text())[entry] | values


@pytest.mark.parametrize(
    ("entry", "values", "words"),
    [
        ("network", {"size": [10**9, 10**9]}, r"network.size\[0\]: found 1000000000; expected"),
        ("network", {"size": [64, 64]}, "another image size"),
        ("network", {"widths": "4096,4096"}, "entries do not fit"),
        ("network", {"blocks": "2,3"}, "entries do not fit"),
        ("network", {"coefficient": 7.0}, "cannot be built"),
        ("network", {"name": "lenet"}, "cannot be built"),
        ("network", {"surprise": 1}, "cannot be built"),
        ("network", {"frozen": False}, "found False; expected True"),
        ("network", {"input_channels": 3}, "another number of channels"),
        ("preprocessing", {"std": [0.0, 1.0]}, "expected a finite number above 0"),
        ("preprocessing", {"size": -4}, "found -4; expected a whole number"),
        ("preprocessing", {"surprise": 1}, "with the unknown surprise"),
        ("preprocessing", {"fit": "stretch"}, "cannot be"),
    ],
)
def test_descriptions_that_cannot_be_are_refused(saved, entry, values, words):
    rewrite(saved, **{entry: altered(saved, entry, **values)})
    with pytest.raises(ModelFileError, match=words):
        load(saved)


def test_a_description_altered_by_hand_is_noticed(saved):
    file = saved / "classifier.json"
    file.write_text(file.read_text().replace('"treated"', '"healthy"', 1))
    with pytest.raises(ModelFileError, match="altered after saving"):
        load(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t | {"network/classifier.linear.bias": torch.tensor([np.nan, 0.0])}, "NaN"),
        (lambda t: t | {"network/classifier.linear.bias": torch.zeros(3)}, "1 entries do not fit"),
        (
            lambda t: t | {"network/classifier.linear.bias": torch.zeros(2, dtype=torch.float64)},
            "entries do not fit",
        ),
        (lambda t: t | {"network/extra": torch.zeros(3)}, r"found .* for extra"),
        (lambda t: t | {"elsewhere": torch.zeros(3)}, "unknown entry elsewhere"),
        (
            lambda t: {name: tensor for name, tensor in t.items() if "linear.bias" not in name},
            "found nothing for classifier.linear.bias",
        ),
        (
            lambda t: {name: tensor for name, tensor in t.items() if "true_means" not in name},
            "true_means",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused(saved, change, words):
    rewrite(saved, weights=change(load_file(saved / "weights.safetensors")))
    with pytest.raises(ModelFileError, match=words):
        load(saved)


def test_a_model_that_a_killed_program_had_set_aside_is_loaded_and_named(plain, tmp_path):
    saved = plain.save(tmp_path / "model")
    for name in (".model.0123abcd.former", ".model.abcd-1f-0123abcd.former"):
        saved = saved.rename(tmp_path / name)
        for path in (tmp_path / "model", tmp_path / "model" / "classifier.json"):
            with pytest.warns(UserWarning, match=rf"{name}.*rename it"):
                assert load(path).fingerprint == plain.fingerprint


def test_a_model_that_is_replaced_is_whole_at_every_step(plain, invertible, tmp_path, monkeypatch):
    """As a program finds it that looks, or goes on, where the one that saves was killed."""
    saved, seen = invertible.save(tmp_path / "model"), []
    (saved / "mine.txt").write_text("mine")

    def look(function):
        def watched(*arguments, **options):
            seen.append(load(saved).fingerprint)
            result = function(*arguments, **options)
            seen.append(load(saved).fingerprint)
            return result

        return watched

    for name in ("rename", "replace", "rmdir"):
        monkeypatch.setattr(Path, name, look(getattr(Path, name)))
    plain.save(saved, overwrite=True)
    assert REPLACING not in {path.name for path in saved.iterdir()}
    turn = seen.index(plain.fingerprint)
    assert set(seen[:turn]) == {invertible.fingerprint}
    assert set(seen[turn:]) == {plain.fingerprint}
    assert (saved / "mine.txt").read_text() == "mine"


def test_what_is_not_there(tmp_path):
    with pytest.raises(ModelFileError, match="expected the folder of a saved classifier"):
        load(tmp_path / "nowhere")
