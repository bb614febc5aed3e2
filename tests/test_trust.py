"""Every test that docs/trust.md names is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "trust.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)


def test_every_promise_names_a_test_that_is_there() -> None:
    missing = []
    for file, name in NAMED:
        path = TESTS / file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if not text or (name and f"def {name}(" not in text):
            missing.append(f"{file}::{name}")
    assert missing == []
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(rows) > 10
    assert all(".py" in row for row in rows), "a promise without a test"
