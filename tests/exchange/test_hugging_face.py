"""A folder for the Hugging Face Hub is a classifier with a card; it is uploaded only when that is asked for."""

import json
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from safetensors import safe_open

import napari_why as why
from napari_why.core.errors import OfflineError, ParameterError, WhyError
from napari_why.exchange import ExportOptions
from napari_why.exchange.hugging_face import write_metadata

from .conftest import SIZE, probabilities

SAID = {"authors": "Ada Lovelace", "licence": "CC-BY-4.0", "title": "My classifier: first"}


def test_the_folder_is_the_classifier(classifier, scenes, tmp_path) -> None:
    home = classifier.folder
    written = why.export_model(classifier, tmp_path / "hf", "huggingface", SAID, on_event=why.quiet)
    assert classifier.folder == home
    assert written.address == ""
    back = why.load(tmp_path / "hf")
    assert back.fingerprint == classifier.fingerprint
    assert (probabilities(back, scenes) == probabilities(classifier, scenes)).all()
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == {"0": "diseased", "1": "treated"}
    assert config["fingerprint"] == classifier.fingerprint
    with safe_open(tmp_path / "hf" / "weights.safetensors", "pt") as tensors:
        assert list(tensors.keys())


def test_the_hub_reads_the_card(classifier, tmp_path) -> None:
    why.export_model(classifier, tmp_path / "hf", "huggingface", SAID, on_event=why.quiet)
    card = ModelCard.load(tmp_path / "hf" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "napari-why"
    assert card.data.pipeline_tag == "image-classification"
    assert card.text.lstrip().startswith("# My classifier: first")
    assert "not known: no held-out images were measured" in card.text


def test_the_card_has_the_accuracy_that_was_measured() -> None:
    trained = why.fit(
        why.simulate(24, size=SIZE, wells=12),
        "small_cnn",
        size=SIZE,
        epochs=1,
        second_network=False,
        on_event=why.quiet,
    )
    card = ModelCard(write_metadata(trained, ExportOptions()) + "# A model\n")
    (result,) = card.data.eval_results
    assert result.metric_type == "accuracy"
    assert result.metric_value == trained.metrics["test"]["images"]["accuracy"]
    assert card.data.license is None


def test_a_saved_folder_is_replaced_and_a_foreign_one_is_not(classifier, tmp_path) -> None:
    place = tmp_path / "hf"
    why.export_model(classifier, place, "huggingface", on_event=why.quiet)
    with pytest.raises(WhyError, match="overwrite it"):
        why.export_model(classifier, place, "huggingface", on_event=why.quiet)
    why.export_model(classifier, place, "huggingface", overwrite=True, on_event=why.quiet)
    foreign = tmp_path / "notes"
    foreign.mkdir()
    (foreign / "a.txt").write_text("mine")
    with pytest.raises(WhyError, match="not overwritten"):
        why.export_model(classifier, foreign, "huggingface", overwrite=True, on_event=why.quiet)


@pytest.mark.parametrize("name", ["mine", "a/b/c", "/b", "a/"])
def test_a_name_that_is_none_is_refused_before_the_work(
    classifier, tmp_path, monkeypatch, name
) -> None:
    monkeypatch.setenv("HF_TOKEN", "token")
    with pytest.raises(ParameterError, match="OWNER/NAME"):
        why.export_model(
            classifier, tmp_path / "hf", "huggingface", push_to=name, on_event=why.quiet
        )
    assert list(tmp_path.iterdir()) == []


def test_without_a_token_nothing_is_uploaded(classifier, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ParameterError, match="HF_TOKEN"):
        why.export_model(
            classifier, tmp_path / "hf", "huggingface", push_to="a/b", on_event=why.quiet
        )


class Hub:
    """Stands for the Hub; notes what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def __call__(self, token: str) -> "Hub":
        self.token = token
        return self

    def create_repo(self, name: str, **options: Any) -> None:
        self.asked.append((name, options))
        if self.error is not None:
            raise self.error

    def upload_folder(self, *, repo_id: str, folder_path: Any) -> Any:
        self.asked.append((repo_id, {"files": sorted(path.name for path in folder_path.iterdir())}))
        return type("Commit", (), {"commit_url": f"hub/{repo_id}/commit/1"})


@pytest.mark.parametrize("public", [False, True])
def test_with_a_token_the_folder_is_uploaded(classifier, tmp_path, monkeypatch, public) -> None:
    hub = Hub()
    monkeypatch.setenv("HF_TOKEN", "secret token")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    written = why.export_model(
        classifier,
        tmp_path / "hf",
        "huggingface",
        push_to="a/b",
        public=public,
        on_event=why.quiet,
    )
    assert hub.token == "secret token"  # noqa: S105 - no token
    assert hub.asked[0] == ("a/b", {"private": not public, "exist_ok": True})
    assert {"README.md", "classifier.json", "config.json", "weights.safetensors"} == set(
        hub.asked[1][1]["files"]
    )
    assert written.address == "hub/a/b/commit/1"
    assert "uploaded to" in written.sentence
    for file in (tmp_path / "hf").iterdir():
        assert b"secret token" not in file.read_bytes()


def test_offline_the_folder_is_there_and_the_way_on_is_said(
    classifier, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "token")
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub(ConnectionError("no route")))
    with pytest.raises(OfflineError, match=r"hf upload a/b"):
        why.export_model(
            classifier, tmp_path / "hf", "huggingface", push_to="a/b", on_event=why.quiet
        )
    assert why.load(tmp_path / "hf").fingerprint == classifier.fingerprint


def test_other_errors_are_not_taken_for_a_missing_network(
    classifier, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "token")
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub(KeyError("a fault")))
    with pytest.raises(KeyError):
        why.export_model(
            classifier, tmp_path / "hf", "huggingface", push_to="a/b", on_event=why.quiet
        )
