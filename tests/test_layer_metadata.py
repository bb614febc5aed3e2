"""What layers carry: read by name, written with the keys that saved layers have."""

import json

import pytest

from napari_why.core.record import Record
from napari_why.output.layer_metadata import LayerFacts

RECORD = Record("counterfactual", "transport", {"steps": 3}, 1, "fingerprint", "field.tif")
SERIES = {
    **RECORD.to_dict(),
    "id": "one",
    "role": "series",
    "channel": "TMRM",
    "target": "treated",
    "alphas": [0.0, 1.0],
    "verdict": "flips",
}
RAW = {"source": "field.tif", "notes": (), "channel": "DAPI", "channels": ["DAPI", "TMRM"]}


@pytest.mark.parametrize("plain", [SERIES, RAW, {"channel": "DAPI"}, {"role": "series"} | SERIES])
def test_what_is_read_is_written_again_with_the_same_keys(plain):
    metadata = {"napari_why": plain}
    assert LayerFacts.from_metadata(metadata).to_metadata() == metadata


def test_a_series_is_read_by_name():
    facts = LayerFacts.from_metadata({"napari_why": SERIES, "other plugin": 1})
    assert facts.record == RECORD
    assert (facts.is_result, facts.is_series, facts.is_difference) == (True, True, False)
    assert (facts.channel, facts.target, facts.alphas) == ("TMRM", "treated", (0.0, 1.0))
    assert (facts.classifier, facts.origin, facts.verdict) == ("fingerprint", "field.tif", "flips")


def test_the_map_of_all_channels_says_so():
    joint = LayerFacts(record=RECORD, id="one", role="attribution", channel=None)
    assert joint.to_metadata()["napari_why"]["channel"] is None


@pytest.mark.parametrize(
    "metadata", [{}, {"napari_why": 3}, {"napari_why": {"kind": "photo", "channel": 7}}]
)
def test_what_others_put_into_metadata_stops_nobody(metadata):
    facts = LayerFacts.from_metadata(metadata)
    assert (facts.record, facts.channel, facts.is_result, facts.origin) == (None, None, False, "")


def test_a_file_keeps_the_record_once_and_each_layer_the_rest():
    facts = LayerFacts.from_metadata({"napari_why": SERIES})
    look = json.loads(json.dumps(facts.to_look()))
    assert "method" not in look["napari_why"]
    assert LayerFacts.from_metadata(look, RECORD) == facts
