"""A BioImage.IO package passes the format's own test, and comes back as the same classifier."""

import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import xarray as xr
import yaml
from bioimageio.core import test_description as run_their_test
from PIL import Image

import napari_why as why
from napari_why.core.errors import ModelFileError, ParameterError, WhyError
from napari_why.core.foreign_files import checksum
from napari_why.exchange import bioimageio_package, foreign_package, package_files
from napari_why.exchange.model_card import write_card
from napari_why.exchange.options import ExportOptions
from napari_why.images import NO_LENGTH, PixelSize, make_image
from napari_why.model import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.networks import build_network

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
        package_files.ZippedFiles(path).read("rdf.yaml", foreign_package.LARGEST_DESCRIPTION)


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


def put_graph(plain: dict, content: bytes) -> None:
    """Make a description one of another graph without a test."""
    plain["weights"]["onnx"]["sha256"] = checksum(content)
    for tensor in (plain["inputs"][0], plain["outputs"][0]):
        tensor.pop("test_tensor", None)


def put_test(folder: Path, image: np.ndarray, promised: np.ndarray) -> None:
    """Give a package a test of its own."""
    plain = yaml.safe_load((folder / "rdf.yaml").read_text())
    for name, values, tensor in (
        ("test_input.npy", image, plain["inputs"][0]),
        ("test_output.npy", promised, plain["outputs"][0]),
    ):
        np.save(folder / name, values.astype(np.float32))
        content = (folder / name).read_bytes()
        tensor["test_tensor"] = {"source": name, "sha256": checksum(content)}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(plain))


@pytest.mark.parametrize("after", ["", "softmax"])
def test_what_is_promised_is_compared_and_nothing_else(make_graph, changed, scenes, after) -> None:
    """Logits that are promised are logits, and probabilities probabilities."""
    content = make_graph(last="")

    def edit(plain: dict) -> None:
        put_graph(plain, content)
        plain["outputs"][0]["postprocessing"] = [{"id": after}] if after else []

    folder = changed(edit)
    (folder / "weights.onnx").write_bytes(content)
    image = np.asarray(scenes.image(0), dtype=np.float32)[None]
    back = why.import_model(folder)
    logits = back.network.answer(back.preprocessing.of_pixels(image[0])[None])
    powers = np.exp(logits)
    promised = {"": logits, "softmax": powers / powers.sum(axis=1, keepdims=True)}
    put_test(folder, image, promised[after])
    assert why.import_model(folder).network.outputs == "logits"
    put_test(folder, image, promised["softmax" if after == "" else ""])
    with pytest.raises(ModelFileError, match="its own test gives outputs that differ"):
        why.import_model(folder)


def test_a_sigmoid_after_one_output_is_that_of_the_second_class(
    make_graph, changed, scenes
) -> None:
    content = make_graph(last="", classes=1)

    def edit(plain: dict) -> None:
        put_graph(plain, content)
        plain["outputs"][0]["axes"][1]["channel_names"] = ["treated"]
        plain["outputs"][0]["postprocessing"] = [{"id": "sigmoid"}]

    folder = changed(edit)
    (folder / "weights.onnx").write_bytes(content)
    with pytest.raises(ParameterError, match="of a single output two"):
        why.import_model(folder)
    back = why.import_model(folder, classes="diseased,treated")
    image = np.asarray(scenes.image(0), dtype=np.float32)[None]
    logit = back.network.answer(back.preprocessing.of_pixels(image[0])[None])
    put_test(folder, image, 1 / (1 + np.exp(-logit)))
    back = why.import_model(folder, classes="diseased,treated")
    found = back.predict(scenes.image(0)).probabilities["treated"]
    assert found == pytest.approx(1 / (1 + np.exp(-logit.item())), abs=1e-6)


def space(plain: dict) -> list[dict]:
    return [axis for axis in plain["inputs"][0]["axes"] if axis["type"] == "space"]


@pytest.mark.parametrize("names", [("x", "y"), ("z", "x")])
def test_axes_of_space_in_another_order_are_refused(changed, names) -> None:
    def edit(plain: dict) -> None:
        for axis, name in zip(space(plain), names, strict=True):
            axis["id"] = name

    with pytest.raises(ModelFileError, match=f"axes batch, channel, {names[0]}, {names[1]}"):
        why.import_model(changed(edit))


def test_where_channels_stand_is_taken_from_the_package(make_graph, changed, scenes) -> None:
    """Of a graph whose input states no lengths nothing else tells it."""
    model = onnx.load_model_from_string(make_graph(last="", channels_last=True))
    for number, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        dim.dim_param = f"d{number}"
    content = model.SerializeToString()

    def edit(plain: dict) -> None:
        put_graph(plain, content)
        axes = plain["inputs"][0]["axes"]
        plain["inputs"][0]["axes"] = [axes[0], axes[2], axes[3], axes[1]]
        for axis in space(plain):
            axis["size"] = {"min": 8, "step": 1}

    folder = changed(edit)
    (folder / "weights.onnx").write_bytes(content)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).astype(float)
    wanted = np.asarray(scenes.image(0)).mean(axis=(1, 2), dtype=float) @ weights
    back = why.import_model(folder)
    logits = back.logits(back.prepare(scenes.image(0)))[0].numpy()
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "unit"), [(250, "nanometer"), (0.25, "micrometer")])
def test_images_of_another_scale_than_it_was_made_for_are_remarked_on(
    changed, scenes, tmp_path, scale, unit
) -> None:
    def edit(plain: dict) -> None:
        for axis in space(plain):
            axis.update(scale=scale, unit=unit)

    back = why.import_model(changed(edit))
    assert any(f"pixels of {scale} {unit} x {scale} {unit}" in note for note in back.notes)
    assert back.pixel_size == PixelSize(0.25, 0.25, "um")
    back.save(tmp_path / "kept")
    with pytest.warns(UserWarning, match="pixels of"):
        kept = why.load(tmp_path / "kept")
    assert (kept.pixel_size, kept.fingerprint) == (back.pixel_size, back.fingerprint)

    def of_pixels(side: float) -> xr.DataArray:
        return make_image(
            np.asarray(scenes.image(0)),
            "cyx",
            scenes.channels,
            pixel_size={"y": side, "x": side},
            unit="um",
        )

    (other, unknown) = kept.check(of_pixels(0.5))
    assert "a pixel is 0.5 um as the network gets it; it was made for 0.25 um" in other
    assert "no card" in unknown
    for image in (of_pixels(0.26), make_image(np.asarray(scenes.image(0)), "cyx", scenes.channels)):
        assert kept.check(image) == (unknown,)
    # twice as many pixels of half the size are the same once they are brought to the network's
    finer = np.kron(np.asarray(scenes.image(0)), np.ones((1, 2, 2), np.uint16))
    same = make_image(finer, "cyx", scenes.channels, pixel_size={"y": 0.125, "x": 0.125}, unit="um")
    assert kept.check(same) == (unknown,)


def test_a_scale_whose_unit_images_have_not_is_told_and_no_more(changed, scenes) -> None:
    def edit(plain: dict) -> None:
        for axis in space(plain):
            axis.update(scale=2.0, unit="parsec")

    back = why.import_model(changed(edit))
    assert back.pixel_size == NO_LENGTH
    assert any("parsec, with which images are not compared" in note for note in back.notes)
    assert len(back.check(scenes.image(0))) == 1


def test_the_scale_of_the_training_images_comes_back(named, scenes, tmp_path) -> None:
    facts = ImageFacts.measure(scenes, named.preprocessing)
    halved = replace(named.preprocessing, size=SIZE // 2)
    small = build_network("small_cnn", input_channels=2, classes=2, size=SIZE // 2, seed=3)
    trained = Classifier(small, halved, named.classes, card={"images": facts.to_dict()})
    path = tmp_path / "model.zip"
    why.export_model(trained, path, "bioimageio", SAID, on_event=why.quiet)
    back = why.import_model(path)
    wanted = PixelSize.of(scenes.image(0))
    assert back.pixel_size == PixelSize(2 * wanted.y, 2 * wanted.x, "um") == trained.pixel_size
    assert not any("as the network gets it" in note for note in back.check(scenes.image(0)))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([{"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}}], [], "dtype=uint8"),
        ([{"id": "clip", "kwargs": {"min": 0, "max": 9}}], [], "is no scaling"),
        ([], [{"id": "ensure_dtype", "kwargs": {"dtype": "int32"}}], "dtype=int32"),
        ([], [{"id": "sigmoid"}], "do not exclude each other"),
        ([], [{"id": "softmax", "kwargs": {"axis": "batch"}}], "over the axis channel"),
        ([], [{"id": "softmax"}], "a graph that gives probabilities itself"),
    ],
)
def test_steps_that_would_make_other_numbers_are_refused(changed, before, after, said) -> None:
    def edit(plain: dict) -> None:
        plain["inputs"][0]["preprocessing"] = before
        plain["outputs"][0]["postprocessing"] = after

    with pytest.raises(ModelFileError, match=said):
        why.import_model(changed(edit))


def test_a_folder_that_is_a_link_is_not_followed(package, tmp_path) -> None:
    folder = unpacked(package, tmp_path / "linked")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder / "weights.onnx", tmp_path / "elsewhere" / "weights.onnx")
    (folder / "inner").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    plain = yaml.safe_load((folder / "rdf.yaml").read_text())
    plain["weights"]["onnx"]["source"] = "inner/weights.onnx"
    (folder / "rdf.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(ModelFileError, match="found a link"):
        why.import_model(folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_told_in_words(tmp_path, method) -> None:
    path = tmp_path / "damaged.zip"
    noise = np.random.default_rng(0).integers(0, 255, 4000, np.uint8).tobytes()
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("rdf.yaml", noise * 2)
    content = bytearray(path.read_bytes())
    content[60:900] = bytes(255 - value for value in content[60:900])
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"no readable zip file \(rdf\.yaml"):
        why.import_model(path)


def test_why_a_description_cannot_be_read_is_told(package, tmp_path) -> None:
    folder = unpacked(package, tmp_path / "linked")
    shutil.move(folder / "rdf.yaml", tmp_path / "elsewhere.yaml")
    (folder / "rdf.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(ModelFileError, match="found a link"):
        why.import_model(folder)


def test_an_image_that_is_not_square_is_not_stretched_on_a_cover() -> None:
    pixels = np.zeros((1, 8, 32), np.float32)
    pixels[:, :, 8:24] = np.linspace(500, 1000, 16)
    cover = np.asarray(bioimageio_package.draw_cover(pixels, ("DAPI",))).max(axis=2)
    rows, columns = np.flatnonzero(cover.max(axis=1)), np.flatnonzero(cover.max(axis=0))
    assert len(columns) / len(rows) == pytest.approx(2, abs=0.3)
