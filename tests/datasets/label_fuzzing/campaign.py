"""Open many cases and judge each; count the outcomes by style and by distortion."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from label_fuzzing.case import Case
from label_fuzzing.generator import cases, make_case
from label_fuzzing.opening import Opener, open_names, open_pixels
from label_fuzzing.oracle import RIGHT, WRONG, Verdict, judge

# Reading pixels takes ten times as long as listing names, which is where labels come from; each case
# that seems wrong is read too.
PIXELS_EVERY = 50
UNDISTORTED = "undistorted"
# Memory, where there is such a folder: making files and deleting them on a disk takes longer than the rest.
MEMORY = Path("/dev/shm")  # noqa: S108


@dataclass
class Report:
    """What became of the cases.

    ``by_style`` and ``by_distortion`` count outcomes; a case with two distortions counts for both.
    ``plain`` counts the undistorted cases of each style. ``wrong`` has the case, in words, and what
    is wrong with it.
    """

    by_style: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_distortion: Counter[tuple[str, str]] = field(default_factory=Counter)
    plain: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def add(self, case: Case, verdict: Verdict) -> None:
        """Count one case."""
        style = case.plan.style.name
        self.by_style[style, verdict.outcome] += 1
        for name in case.distortions or (UNDISTORTED,):
            self.by_distortion[name, verdict.outcome] += 1
        if not case.distortions:
            self.plain[style, verdict.outcome] += 1
        if verdict.outcome == WRONG:
            self.wrong.append((str(case), verdict.why))

    def merge(self, other: "Report") -> None:
        """Add the counts of another report."""
        for mine, others in zip(self._counters(), other._counters(), strict=True):
            mine.update(others)
        self.wrong += other.wrong

    def _counters(self) -> tuple[Counter[tuple[str, str]], ...]:
        return self.by_style, self.by_distortion, self.plain

    @property
    def total(self) -> int:
        """Return how many cases were judged."""
        return sum(self.by_style.values())

    def count(self, outcome: str) -> int:
        """Return how many cases ended so."""
        return sum(number for (_, name), number in self.by_style.items() if name == outcome)

    def plain_share(self, style: str) -> float:
        """Return the share of a style's undistorted cases that are right."""
        of_style = {name: n for (of, name), n in self.plain.items() if of == style}
        return of_style.get(RIGHT, 0) / max(1, sum(of_style.values()))


def run(
    numbers: Sequence[int],
    seed: int = 0,
    opener: Opener | None = None,
    on_case: Callable[[Report], None] | None = None,
) -> Report:
    """Make, open and judge cases.

    Without an ``opener``, names are listed, and every fiftieth case is opened with its pixels; so is
    each that seems wrong, since a question may come with the pixels only.
    """
    report = Report()
    memory = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        for number, case in zip(numbers, cases(numbers, seed, Path(place) / "case"), strict=True):
            report.add(case, judge_case(case, number, opener))
            if on_case:
                on_case(report)
    return report


def judge_case(case: Case, number: int, opener: Opener | None = None) -> Verdict:
    """Open one case and judge it."""
    if opener is not None:
        return judge(case, opener(case))
    # Without a common divisor with the number of styles, so that all of them are read.
    if number % PIXELS_EVERY:
        verdict = judge(case, open_names(case))
        if verdict.outcome != WRONG:
            return verdict
    return judge(case, open_pixels(case))


def reduce(number: int, seed: int, place: Path) -> tuple[tuple[str, ...], Verdict, str]:
    """Return the fewest of a case's distortions that make it wrong (none, one, or all), and its style."""
    whole = make_case(number, seed, place)
    for tried in ((), *((name,) for name in whole.distortions), whole.distortions):
        case = make_case(number, seed, place, tried)
        verdict = judge(case, open_pixels(case))
        if verdict.outcome == WRONG:
            break
    return case.distortions, verdict, case.plan.style.name
