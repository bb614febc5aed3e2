"""A BioImage.IO package passes the format's own test, and comes back as the same classifier."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from bioimageio.core import test_description as run_their_test
from PIL import Image

import napari_why as why
from napari_why.core.errors import ModelFileError, ParameterError, WhyError
from napari_why.core.foreign_files import checksum
from napari_why.exchange import bioimageio_package, foreign_package
from napari_why.exchange.model_card import write_card
from napari_why.exchange.options import ExportOptions
from napari_why.model import Classifier

from .conftest import SIZE, make_classifier, probabilities

# bioimageio.spec leaves the files of a package to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SAID = {
    "authors": "Ada Lovelace (London); Carl Zeiss",
    "licence": "CC-BY-4.0",
    "citation": "Lovelace, Notes, 1843",
    "doi": "10.5281/zenodo.123456",
}


@pytest.fixture(scope="module")
def named(scenes) -> Classifier:
    """A classifier whose names are no identifiers."""
    own = make_classifier(scenes)
    return Classifier(own.network, own.preprocessing, ("wild type", "wild-type +"), card=own.card)


@pytest.fixture(scope="module")
def package(named, scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "model.zip"
    written = why.export_model(
        named, path, "bioimageio", SAID, image=scenes.image(0), on_event=why.quiet
    )
    assert written.difference <= 1e-5
    return path


def described(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return yaml.safe_load(archive.read("rdf.yaml"))


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def changed(package: Path, tmp_path: Path) -> Callable[..., Path]:
    """A package whose description was changed, as a folder."""

    def change(edit: Callable[[dict], None]) -> Path:
        folder = unpacked(package, tmp_path / "changed")
        plain = yaml.safe_load((folder / "rdf.yaml").read_text())
        edit(plain)
        (folder / "rdf.yaml").write_text(yaml.safe_dump(plain))
        return folder

    return change


def test_their_own_test_passes(package) -> None:
    summary = run_their_test(package, weight_format="onnx", expected_type="model")
    assert summary.status == "passed", summary.display()


def test_their_own_test_finds_a_package_that_promises_something_else(package, tmp_path) -> None:
    folder = unpacked(package, tmp_path / "wrong")
    output = folder / "test_output.npy"
    np.save(output, np.load(output)[:, ::-1])
    plain = yaml.safe_load((folder / "rdf.yaml").read_text())
    plain["outputs"][0]["test_tensor"]["sha256"] = checksum(output.read_bytes())
    (folder / "rdf.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(WhyError, match="finds a fault"):
        bioimageio_package.check_package(folder / "rdf.yaml")
    with pytest.raises(ModelFileError, match="its own test gives outputs that differ"):
        why.import_model(folder)


def test_it_comes_back_as_the_same_classifier(named, scenes, package, tmp_path) -> None:
    back = why.import_model(package)
    assert back.classes == named.classes
    assert back.preprocessing.mean == named.preprocessing.mean
    np.testing.assert_allclose(
        probabilities(back, scenes), probabilities(named, scenes), rtol=0, atol=1e-5
    )
    for place in (unpacked(package, tmp_path / "folder"), tmp_path / "folder" / "rdf.yaml"):
        assert why.import_model(place).fingerprint == back.fingerprint


def test_it_says_what_its_user_said_and_the_classifier_knows(named, package) -> None:
    plain = described(package)
    assert [person["name"] for person in plain["authors"]] == ["Ada Lovelace", "Carl Zeiss"]
    assert plain["authors"][0]["affiliation"] == "London"
    assert plain["license"] == "CC-BY-4.0"
    assert plain["cite"] == [{"text": SAID["citation"], "doi": SAID["doi"]}]
    (channels,) = [axis for axis in plain["inputs"][0]["axes"] if axis["type"] == "channel"]
    assert channels["channel_names"] == list(named.channels)
    assert plain["config"]["napari_why"]["classes"] == ["wild type", "wild-type +"]
    assert plain["outputs"][0]["axes"][1]["channel_names"] == ["wild_type", "wild_type__"]
    with zipfile.ZipFile(package) as archive:
        cover = Image.open(io.BytesIO(archive.read("cover.png")))
        card = archive.read("README.md").decode()
    assert cover.size == bioimageio_package.COVER
    assert len(np.unique(np.asarray(cover))) > 10
    assert named.fingerprint in card


def test_a_card_tells_how_it_was_trained_and_names_no_file() -> None:
    trained = why.fit(
        why.simulate(12, size=SIZE), "small_cnn", size=SIZE, epochs=1, on_event=why.quiet
    )
    card = write_card(trained, ExportOptions(**SAID))
    assert f"{trained.card['dataset']['images']} images" in card
    assert "Test images" in card
    assert "https://doi.org/10.5281/zenodo.123456" in card
    paths = [path for names in trained.card["splits"].values() for path in names]
    assert paths
    assert not any(path in card for path in paths)


@pytest.mark.parametrize("missing", ["authors", "licence", "citation", "doi"])
def test_what_only_the_user_can_say_is_asked_for(named, tmp_path, missing) -> None:
    said = {name: value for name, value in SAID.items() if name != missing}
    with pytest.raises(ParameterError, match=f"found no {missing}"):
        why.export_model(named, tmp_path / "a.zip", "bioimageio", said, on_event=why.quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_licence_that_is_none_is_refused(named, tmp_path) -> None:
    said = SAID | {"licence": "mine"}
    with pytest.raises(ParameterError, match="SPDX"):
        why.export_model(named, tmp_path / "a.zip", "bioimageio", said, on_event=why.quiet)
    assert list(tmp_path.iterdir()) == []


def test_linear_steps_before_the_graph_become_the_preprocessing(
    make_graph, changed, scenes
) -> None:
    content = make_graph(last="", size=(SIZE, SIZE))

    def edit(plain: dict) -> None:
        (plain["weights"]["onnx"]["sha256"]) = checksum(content)
        plain["inputs"][0]["preprocessing"] = [
            {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
            {"id": "scale_linear", "kwargs": {"gain": [0.5, 2.0], "offset": 10, "axis": "channel"}},
            {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 3.0, "std": 4.0}},
        ]
        plain["outputs"][0]["postprocessing"] = [{"id": "softmax", "kwargs": {"axis": "channel"}}]
        for tensor in (plain["inputs"][0], plain["outputs"][0]):
            del tensor["test_tensor"]

    folder = changed(edit)
    (folder / "weights.onnx").write_bytes(content)
    back = why.import_model(folder)
    grey = np.arange(2.0 * SIZE * SIZE).reshape(2, SIZE, SIZE)
    gain = np.array([0.5, 2.0])[:, None, None]
    expected = (grey * gain + 10 - 3) / 4
    np.testing.assert_allclose(back.preprocessing.of_pixels(grey).numpy(), expected, rtol=1e-6)
    assert back.network.outputs == "logits"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda p: p.update(format_version="0.4.10"), "0.4.10"),
        (lambda p: p.update(type="dataset"), "expected a model"),
        (lambda p: p.pop("weights"), "lacks something"),
        (lambda p: p.update(inputs=[]), "found 0 inputs"),
        (lambda p: p["weights"].update(pytorch_state_dict={}) or p["weights"].pop("onnx"), "data"),
        (lambda p: p["weights"]["onnx"].update(sha256="0" * 64), "altered or cut off"),
        (lambda p: p["weights"]["onnx"].update(source="../weights.onnx"), "within the package"),
        (lambda p: p["weights"]["onnx"].update(source="/etc/passwd"), "within the package"),
        (lambda p: p["weights"]["onnx"].update(source="C:\\a.onnx"), "within the package"),
        (
            lambda p: p["weights"]["onnx"].update(source="https://a.org/w.onnx"),
            "nothing is downloaded",
        ),
        (
            lambda p: p["inputs"][0].update(preprocessing=[{"id": "zero_mean_unit_variance"}]),
            "take their numbers from the image",
        ),
        (
            lambda p: p["inputs"][0].update(
                preprocessing=[{"id": "scale_linear", "kwargs": {"gain": -1.0}}]
            ),
            "expected more than 0",
        ),
        (
            lambda p: p["outputs"][0].update(postprocessing=[{"id": "binarize"}]),
            "found the steps binarize",
        ),
        (lambda p: p["inputs"][0]["axes"].pop(), "expected batch, channel, y, x"),
    ],
)
def test_what_is_no_classifier_in_a_whole_package_is_refused(changed, edit, said) -> None:
    folder = changed(edit)
    with pytest.raises(ModelFileError, match=said):
        why.import_model(folder)


def test_a_link_out_of_the_package_is_not_followed(package, tmp_path) -> None:
    folder = unpacked(package, tmp_path / "linked")
    elsewhere = tmp_path / "elsewhere.onnx"
    shutil.move(folder / "weights.onnx", elsewhere)
    (folder / "weights.onnx").symlink_to(elsewhere)
    with pytest.raises(ModelFileError, match="found a link"):
        why.import_model(folder)


def test_no_more_is_unpacked_than_there_may_be(tmp_path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rdf.yaml", b" " * (foreign_package.LARGEST_DESCRIPTION + 1))
    with pytest.raises(ModelFileError, match="found more than"):
        foreign_package.ZippedFiles(path).read("rdf.yaml", foreign_package.LARGEST_DESCRIPTION)


def test_what_is_no_package_is_refused(tmp_path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK nothing")
    with pytest.raises(ModelFileError):
        why.import_model(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"rdf\.yaml"):
        why.import_model(tmp_path / "empty")


def test_a_cover_shows_each_stain_in_its_colour() -> None:
    pixels = np.zeros((2, 8, 8), np.float32)
    pixels[0, :4], pixels[1, 4:] = 1000, 500
    cover = np.asarray(bioimageio_package.draw_cover(pixels, ("DAPI", "GFP")))
    above, below = cover[20, 256], cover[-20, 256]
    assert above.argmax() == 2
    assert below.argmax() == 1
