"""Read damaged files by the thousand and count what becomes of them.

Mutants of the real specimens (the folder that NAPARI_WHY_DATA names; without it of the made ones
alone) are read in a process of their own that may take 5 s and 1 GiB for each. Ends with 1 where a
mutant is read wrongly, breaks the reader or exceeds a limit.

    python benchmarks/fuzz_readers.py --mutants 100000 --seed 0
"""

import argparse
import os
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
EVERY = 1000


def specimens() -> list[Any]:
    """Return the made specimens, and the real ones where they are."""
    found = list(import_module("fuzzing.made_specimens").made_specimens())
    real = Path(os.environ.get("NAPARI_WHY_DATA", PROJECT.parent / "shared" / "data"))
    if (real / "format-specimens").is_dir():
        found += import_module("fuzzing.real_specimens").real_specimens(real / "format-specimens")
    return found


def table(counts: Counter[tuple[str, str]]) -> list[str]:
    """Return lines with the outcomes of each family or kind of mutation."""
    outcomes = sorted({outcome for _, outcome in counts})
    rows = sorted({name for name, _ in counts})
    lines = [f"{'':28}" + "".join(f"{outcome:>21}" for outcome in outcomes)]
    for name in rows:
        numbers = (counts[name, outcome] for outcome in outcomes)
        lines.append(f"{name:28}" + "".join(f"{number:21}" for number in numbers))
    return lines


def words(report: Any, seconds: float) -> list[str]:
    """Return the whole report."""
    families: Counter[tuple[str, str]] = Counter()
    kinds: Counter[tuple[str, str]] = Counter()
    totals: Counter[str] = Counter()
    for (family, kind, outcome), count in report.outcomes.items():
        families[family, outcome] += count
        kinds[kind, outcome] += count
        totals[outcome] += count
    return [
        *table(families),
        *table(kinds),
        *(f"another valid file: {why}: {count}" for why, count in report.others.most_common()),
        f"slowest: {report.slowest[0]:.2f} s, {report.slowest[1]}",
        f"most memory: {report.largest[0] / 1e6:.0f} MB, {report.largest[1]}",
        f"{report.total} mutants in {seconds:.0f} s: "
        + ", ".join(f"{count} {outcome}" for outcome, count in totals.most_common()),
        f"{len(report.violations)} violations",
    ]


def main() -> None:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="specimens whose name holds this")
    arguments = parser.parse_args()
    sys.path.insert(0, str(PROJECT / "tests" / "images"))
    chosen = [specimen for specimen in specimens() if arguments.only in specimen.name]
    make = import_module("fuzzing.mutants").mutants(chosen, arguments.mutants, arguments.seed)
    start = time.perf_counter()

    told = 0

    def tell(report: Any) -> None:
        nonlocal told
        for violation in report.violations[told:]:
            print(violation, flush=True)
        told = len(report.violations)
        if report.total % EVERY == 0:
            print("\n".join(words(report, time.perf_counter() - start)), flush=True)

    report = import_module("fuzzing.campaign").run(make, tell)
    print("\n".join(words(report, time.perf_counter() - start)))
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
