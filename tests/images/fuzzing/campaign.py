"""Read mutants one by one and judge each; count the outcomes."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fuzzing.made_specimens import made_specimens
from fuzzing.mutant import Mutant
from fuzzing.other_files import another_valid_file
from fuzzing.reader_process import SECONDS, ReaderProcess
from fuzzing.specimen import Specimen
from fuzzing.worker import GIBIBYTE, digest

RIGHT, REFUSED, OTHER = "right pixels", "refused", "another valid file"
MOST_BYTES = GIBIBYTE


@dataclass
class Report:
    """What became of the mutants.

    ``outcomes`` counts by family, kind of mutation and outcome; ``violations`` are sentences;
    ``slowest`` and ``largest`` hold a measure and the mutant it belongs to; ``others`` counts the
    reasons for which other pixels are another valid file.
    """

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def count(self, outcome: str) -> int:
        """Return how many mutants ended so."""
        return sum(number for (_, _, name), number in self.outcomes.items() if name == outcome)

    @property
    def total(self) -> int:
        """Return how many mutants were read."""
        return sum(self.outcomes.values())


def run(mutants: Iterable[Mutant], on_mutant: Callable[[Report], None] | None = None) -> Report:
    """Read every mutant in a worker process and judge what comes out."""
    report = Report()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "answers").mkdir()
        with ReaderProcess(folder / "answers", _warm_up(folder / "warm")) as reader:
            origin: _Origin | None = None
            for mutant in mutants:
                if origin is None or origin.specimen is not mutant.specimen:
                    origin = _Origin(mutant.specimen, folder / "files")
                _judge(mutant, origin, reader, report)
                if on_mutant:
                    on_mutant(report)
    return report


def _warm_up(folder: Path) -> list[dict[str, Any]]:
    specimens = made_specimens()
    return [_request(specimen.write(folder), None, "") for specimen in specimens]


def _request(path: Path, axes: str | None, sha256: str) -> dict[str, Any]:
    return {"path": str(path), "axes": axes, "sha256": sha256}


class _Origin:
    """A specimen on the disk, where one mutant after another takes its place."""

    def __init__(self, specimen: Specimen, folder: Path) -> None:
        self.specimen = specimen
        self.image: xr.DataArray = specimen.pixels(folder)
        self.path = specimen.write(folder)
        self.sha256 = digest(self.image)

    def put(self, files: dict[str, bytes | None]) -> None:
        """Write or delete files of the specimen."""
        for name, content in files.items():
            file = self.path / name if name else self.path
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(content)

    def restore(self, names: Iterable[str]) -> None:
        """Write the right content of files again."""
        self.put({name: self.specimen.files[name] for name in names})


def _judge(mutant: Mutant, origin: _Origin, reader: ReaderProcess, report: Report) -> None:
    origin.put(dict(mutant.files))
    request = _request(origin.path, mutant.specimen.axes, origin.sha256)
    answer = reader.ask(request)
    if answer["seconds"] > SECONDS:
        # Other processes may have been the reason: once more.
        answer = reader.ask(request)
    outcome, why = _outcome(mutant, origin, answer, reader.folder)
    origin.restore(mutant.files)
    report.outcomes[mutant.specimen.family, mutant.kind, outcome] += 1
    if outcome == OTHER:
        report.others[why] += 1
    elif why:
        report.violations.append(f"{mutant}: {outcome}: {why}")
    report.slowest = max(report.slowest, (answer["seconds"], str(mutant)))
    report.largest = max(report.largest, (answer["bytes"], str(mutant)))


def _outcome(
    mutant: Mutant, origin: _Origin, answer: dict[str, Any], folder: Path
) -> tuple[str, str]:
    """Return the outcome in a word or two, and what is wrong with it or else worth counting."""
    if answer["outcome"] != "hangs" and answer["seconds"] > SECONDS:
        return "too slow", f"{answer['seconds']:.1f} s"
    if answer["bytes"] > MOST_BYTES:
        return "too much memory", f"{answer['bytes'] / 1e6:.0f} MB"
    if answer["outcome"] == "refused":
        if answer["no_memory"]:
            return "too much memory", answer["text"]
        named = str(origin.path) in answer["text"] and answer["found"].strip()
        return (REFUSED, "") if named else ("names no file or reason", answer["text"])
    if answer["outcome"] != "image":
        return answer["outcome"], answer["text"]
    if answer["sha256"] == origin.sha256:
        return RIGHT, ""
    found = xr.DataArray(np.load(folder / "other.npy"), dims=answer["dims"])
    reason = another_valid_file(mutant, origin.image, found, tuple(answer["notes"]))
    return (OTHER, reason) if reason else ("wrong picture", answer["text"])
