"""Open folders, names and plate maps by the ten thousand and count what becomes of their labels.

Each case is a table of plates, wells, fields and channels, written as a folder in the names of one
of 23 microscopes and programs, mostly after something was done to it that people do. Ends with 1 where
a case is silently wrong: another label, well or plate than the truth, files of different fields in one
image, an image counted as several, one left out without a word, or an error that is none of ours.

    python benchmarks/fuzz_labels.py --cases 50000 --seed 0
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
# Cases of one piece of work: seconds, so that both processes end at about the same time.
PIECE = 250
MOST_PROCESSES = 2


def prepare() -> None:
    """Let a process find the generator, which belongs to the tests."""
    sys.path.insert(0, str(PROJECT / "tests" / "datasets"))


def work(start: int, stop: int, seed: int) -> Any:
    """Judge some cases."""
    return import_module("label_fuzzing.campaign").run(range(start, stop), seed)


def table(counts: Counter[tuple[str, str]]) -> list[str]:
    """Return lines with the outcomes of each style or distortion."""
    outcomes = import_module("label_fuzzing.oracle").OUTCOMES
    lines = [f"{'':32}" + "".join(f"{outcome:>16}" for outcome in outcomes)]
    names = sorted({name for name, _ in counts})
    return lines + [
        f"{name:32}" + "".join(f"{counts[name, one]:16}" for one in outcomes) for name in names
    ]


def words(report: Any, seconds: float) -> list[str]:
    """Return the whole report."""
    outcomes = import_module("label_fuzzing.oracle").OUTCOMES
    styles = sorted({style for style, _ in report.plain})
    shares = (f"{style} {report.plain_share(style):.0%}" for style in styles)
    return [
        *table(report.by_style),
        *table(report.by_distortion),
        f"right without distortion: {', '.join(shares)}",
        f"{report.total} cases in {seconds:.0f} s: "
        + ", ".join(f"{report.count(outcome)} {outcome}" for outcome in outcomes),
    ]


def kinds(report: Any, seed: int, most: int) -> list[str]:
    """Return the wrong cases by the fewest distortions that make them wrong, with numbers."""
    reduce = import_module("label_fuzzing.campaign").reduce
    found: dict[tuple[str, str], list[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, _ in report.wrong[:most]:
            number = int(name.split()[1])
            distortions, verdict, style = reduce(number, seed, Path(place) / "case")
            kind = (", ".join(distortions) or "undistorted", style)
            found.setdefault(kind, []).append(f"{number}: {verdict.why[:200]}")
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [f"{len(of)} x {kind[0]} [{kind[1]}], such as {of[0]}" for kind, of in ordered]


def main() -> None:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=MOST_PROCESSES)
    parser.add_argument("--reduce", type=int, default=0, help="wrong cases to look into")
    arguments = parser.parse_args()
    prepare()
    start = time.perf_counter()
    report = import_module("label_fuzzing.campaign").Report()
    stop = arguments.first + arguments.cases
    starts = range(arguments.first, stop, PIECE)
    with ProcessPoolExecutor(
        max(1, min(MOST_PROCESSES, arguments.processes)), initializer=prepare
    ) as pool:
        pieces = [
            pool.submit(work, first, min(first + PIECE, stop), arguments.seed) for first in starts
        ]
        for piece in pieces:
            part = piece.result()
            for name, why in part.wrong:
                print(f"{name} | {why[:400]}", flush=True)
            report.merge(part)
    print("\n".join(words(report, time.perf_counter() - start)))
    print("\n".join(kinds(report, arguments.seed, arguments.reduce)))
    sys.exit(bool(report.count("silently wrong")))


if __name__ == "__main__":
    main()
