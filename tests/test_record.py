"""A record tells how a result was made, and survives being written and read."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_why.core.record import Record, package_versions

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
facts = st.dictionaries(st.text(), json_values, max_size=4)


@given(kind=st.text(), parameters=facts, seed=st.none() | st.integers(), details=facts)
def test_a_record_survives_json(
    kind: str, parameters: dict[str, object], seed: int | None, details: dict[str, object]
) -> None:
    record = Record(kind, "occlusion", parameters=parameters, seed=seed, details=details)
    assert Record.from_dict(json.loads(record.to_json())) == record
    assert Record.from_dict(record.to_dict()) == record


def test_a_record_names_the_versions_and_the_time() -> None:
    record = Record("attribution", "occlusion")
    assert {"napari-why", "torch", "numpy"} <= set(record.versions)
    assert datetime.fromisoformat(record.created).utcoffset() is not None


def test_tuples_become_lists_in_plain_form() -> None:
    plain = Record("attribution", "occlusion", parameters={"shape": (2, 3)}).to_dict()
    assert plain["parameters"] == {"shape": [2, 3]}


def test_not_a_number_is_refused_because_json_has_none() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Record("attribution", "occlusion", details={"gap": float("nan")}).to_json()


def test_packages_that_are_not_installed_are_left_out() -> None:
    assert set(package_versions(("numpy", "no-such-package"))) == {"numpy"}
