"""A classifier as an ONNX file gives the same probabilities from raw grey levels, or is not written."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import napari_why as why
from napari_why.core.errors import ParameterError, UnsupportedNetworkError, WhyError
from napari_why.datasets import Preprocessing
from napari_why.exchange import onnx_file
from napari_why.exchange.onnx_file import TOLERANCE, make_onnx
from napari_why.model import Classifier
from napari_why.networks import wrap

from .conftest import SIZE, make_classifier, probabilities


def run(content: bytes, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": pixels.astype(np.float32)})[0]


def raw(scenes, classifier: Classifier) -> np.ndarray:
    images = [scenes.image(index).sel(c=list(classifier.channels)) for index in range(len(scenes))]
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("intensity", ["linear", "log1p", "asinh"])
def test_raw_grey_levels_give_the_classifiers_own_probabilities(scenes, intensity) -> None:
    own = make_classifier(scenes, intensity=intensity)
    written = make_onnx(own, scenes.image(0))
    assert written.difference <= TOLERANCE
    found = run(written.content, raw(scenes, own))
    np.testing.assert_allclose(found, probabilities(own, scenes), rtol=0, atol=TOLERANCE)
    # and they tell images apart, so that equal answers are no accident
    assert np.ptp(found[:, 0]) > 10 * TOLERANCE


def test_an_invertible_network_is_written_too(scenes) -> None:
    options = {"blocks": "1", "widths": "4", "downscaling": "2"}
    own = make_classifier(scenes, "iresnet", **options)
    found = run(make_onnx(own).content, raw(scenes, own))
    np.testing.assert_allclose(found, probabilities(own, scenes), rtol=0, atol=TOLERANCE)


def test_an_invertible_network_is_followed_whatever_the_number_of_images(scenes) -> None:
    """Else the exporter begins anew in another way, and takes as long again."""
    own = make_classifier(scenes, "iresnet", blocks="1", widths="4", downscaling="2")
    two = own.prepare(scenes.image(0)).repeat(2, 1, 1, 1)
    free = ({0: torch.export.Dim.DYNAMIC},)
    with torch.no_grad():
        program = torch.export.export(own.network, (two,), dynamic_shapes=free, strict=False)
        found = program.module()(torch.cat([two, two]))
    torch.testing.assert_close(found, own.logits(torch.cat([two, two])))


def test_of_any_size_where_it_is_asked_for(scenes, classifier) -> None:
    assert make_onnx(classifier).size == (SIZE, SIZE)
    written = make_onnx(classifier, any_size=True)
    assert written.size is None
    wide = np.concatenate([raw(scenes, classifier)] * 2, axis=3)
    prepared = torch.stack(
        [
            torch.from_numpy(
                (
                    (image - np.array(classifier.preprocessing.mean)[:, None, None])
                    / np.array(classifier.preprocessing.std)[:, None, None]
                ).astype(np.float32)
            )
            for image in wide
        ]
    )
    expected = classifier.logits(prepared).softmax(1).numpy()
    np.testing.assert_allclose(run(written.content, wide), expected, rtol=0, atol=TOLERANCE)


def test_a_classifier_of_each_images_own_size_takes_any(scenes, classifier) -> None:
    own = Classifier(
        classifier.network,
        Preprocessing.from_dataset(scenes, size=None, fit="none"),
        classifier.classes,
    )
    assert make_onnx(own).size is None


def test_a_network_whose_layers_hang_on_the_size_takes_that_alone(scenes) -> None:
    encoder = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(8))
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * (SIZE // 8) ** 2, 2))
    network = wrap(encoder, head, input_channels=2, classes=2, size=SIZE)
    own = Classifier(network, Preprocessing.from_dataset(scenes, size=SIZE), scenes.classes)
    assert make_onnx(own, any_size=True).size == (SIZE, SIZE)


def test_nothing_of_this_computer_is_in_the_file(classifier, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    why.export_model(classifier, path, on_event=why.quiet)
    content = path.read_bytes()
    for word in (b"site-packages", b".py", b"/home", b"/root", b'File "'):
        assert word not in content
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model)
    assert [item.key for item in model.metadata_props] == ["napari_why"]
    told = json.loads(model.metadata_props[0].value)
    assert told["classes"] == list(classifier.classes)
    assert told["fingerprint"] == classifier.fingerprint


def test_a_graph_that_gives_something_else_is_not_written(
    classifier, tmp_path, monkeypatch
) -> None:
    original = onnx_file._run
    monkeypatch.setattr(onnx_file, "_run", lambda *given: original(*given) + 2 * TOLERANCE)
    with pytest.raises(UnsupportedNetworkError, match="differ by"):
        why.export_model(classifier, tmp_path / "model.onnx", on_event=why.quiet)
    assert list(tmp_path.iterdir()) == []


def test_what_the_exporter_does_not_know_is_refused_in_words(scenes, tmp_path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.lgamma(x.abs() + 1)  # ONNX has no such operation

    encoder = nn.Sequential(nn.Conv2d(2, 4, 3), Odd())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network = wrap(encoder, head, input_channels=2, classes=2)
    own = Classifier(network, Preprocessing.from_dataset(scenes, size=SIZE), scenes.classes)
    with pytest.raises(UnsupportedNetworkError, match="cannot be exported"):
        why.export_model(own, tmp_path / "model.onnx", on_event=why.quiet)
    assert list(tmp_path.iterdir()) == []


def test_the_network_is_left_as_it_was(classifier) -> None:
    before = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    make_onnx(classifier)
    after = classifier.network.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_places_are_checked_before_the_work(classifier, tmp_path, monkeypatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("napari_why.exchange.export.make_onnx", never)
    with pytest.raises(WhyError, match=r"ends in \.onnx"):
        why.export_model(classifier, tmp_path / "model.zip", on_event=why.quiet)
    foreign = tmp_path / "theirs.onnx"
    foreign.write_bytes(b"not ours")
    for overwrite in (False, True):
        with pytest.raises(WhyError, match=r"theirs\.onnx"):
            why.export_model(classifier, foreign, overwrite=overwrite, on_event=why.quiet)
    assert foreign.read_bytes() == b"not ours"
    with pytest.raises(ParameterError, match="expected one of onnx, bioimageio, huggingface"):
        why.export_model(classifier, tmp_path / "model", "keras", on_event=why.quiet)
    with pytest.raises(ParameterError, match="huggingface"):
        why.export_model(classifier, tmp_path / "a.onnx", push_to="a/b", on_event=why.quiet)


def test_an_own_file_is_replaced_where_that_is_asked_for(classifier, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    why.export_model(classifier, path, on_event=why.quiet)
    with pytest.raises(WhyError, match="exists"):
        why.export_model(classifier, path, on_event=why.quiet)
    why.export_model(classifier, path, overwrite=True, on_event=why.quiet)


def test_a_package_that_is_missing_is_asked_for(classifier, tmp_path, monkeypatch) -> None:
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "napari_why.core.optional_packages.find_spec",
        lambda name: None if name == "onnxscript" else found(name),
    )
    with pytest.raises(
        WhyError, match=r"onnxscript; install it with pip install 'napari-why\[exchange\]'"
    ):
        why.export_model(classifier, tmp_path / "model.onnx", on_event=why.quiet)
