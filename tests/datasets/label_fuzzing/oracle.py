"""Compare what was opened with the truth: right, told, asked, refused, or silently wrong."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_fuzzing.case import Case, Picture
from label_fuzzing.opening import Opened, is_refusal, mentions_of

RIGHT, TOLD, ASKED, REFUSED, WRONG = "right", "told, left out", "asked", "refused", "silently wrong"
OUTCOMES = (RIGHT, TOLD, ASKED, REFUSED, WRONG)
# Options that answer the question what names, cells or axes mean.
OPTIONS = ("pattern", "well_pattern", "channels", "axes", "sheet", "label", "classes", "plate")
OPTIONS += ("group",)  # of splits, with the well that is in several
_QUESTION = re.compile(
    r"\b(say|choose|tell|name)\b.*\b(pattern|channels|sheet|axes|column)|=", re.I
)
# A note with an example of what is in order is no word about what is not there.
_AMISS = re.compile(
    r"left out|\b(not|no|none|without|cannot|unreadable|missing|lacks?|lost|unknown|unlike|empty|"
    r"error|dates?|contradict|differ|passed over|skipped|alone|links?)\b",
    re.I,
)
_IN_ORDER = re.compile(r"^Groups were taken|files were taken as \d+ images")
# Of which nothing can be guessed, whatever is said about it.
NEVER = ("an error in its cell", "its cell is empty", "its plate is not in the map")
NEVER += ("not in the map", "a link without a target")


@dataclass(frozen=True)
class Verdict:
    """An outcome, and for those that are silently wrong what is."""

    outcome: str
    why: str = ""


def judge(case: Case, opened: Opened) -> Verdict:
    """Judge what was opened of a case."""
    if opened.error is not None:
        return _judge_error(case, opened.error)
    return _Comparison(case, opened).verdict()


def _judge_error(case: Case, error: BaseException) -> Verdict:
    text = str(error)
    if not is_refusal(error):
        return Verdict(WRONG, f"{type(error).__name__}: {text}")
    if not any(word in text for word in (*mentions_of(case), *OPTIONS)):
        return Verdict(WRONG, f"an error that names no file, cell or option: {text}")
    return Verdict(ASKED if _QUESTION.search(text) else REFUSED)


def same_label(text: Any) -> str:
    """Return a label without what people do not see: case, spaces at the ends, kinds of spaces."""
    return " ".join(str(text).split()).casefold()


class _Comparison:
    """The rows of one opening beside the pictures of one case."""

    def __init__(self, case: Case, opened: Opened) -> None:
        self.case, self.opened = case, opened
        self.by_path = {str(path): p for p in case.pictures for path in p.files}
        if case.plan.linked_folders:
            self.by_path |= {os.path.realpath(path): p for path, p in self.by_path.items()}
        self.by_number = {number: p for p in case.pictures for number in p.numbers}
        self.rows: dict[int, list[int]] = defaultdict(list)
        self.wrong: list[str] = []
        self.left_out: set[int] = set()
        self.told = False
        self.named_one_by_one = {id(self._of(path)) for path in opened.left_out}

    def verdict(self) -> Verdict:
        self._find_rows()
        self.notes = self._notes_on_labels()
        self.on_others = self._notes_on_others()
        for indices in self.rows.values():
            for index in indices:
                self._check_row(index, self._picture(index))
        self._check_pixels()
        self._check_spellings()
        self._check_left_out()
        if self.wrong:
            return Verdict(WRONG, "; ".join(dict.fromkeys(self.wrong)))
        return Verdict(TOLD if self.told else RIGHT)

    def _of(self, path: str) -> "Picture | None":
        return self.by_path.get(path) or self.by_path.get(os.path.realpath(path))

    def _picture(self, index: int) -> Picture:
        picture = self._of(str(self.opened.rows[index]["path"]))
        assert picture is not None
        return picture

    def _find_rows(self) -> None:
        for index, row in enumerate(self.opened.rows):
            picture = self._of(str(row["path"]))
            if picture is None:
                self.wrong.append(f"what is no image is one: {self._short(row['path'])}")
            else:
                self.rows[id(picture)].append(index)

    def _notes_on_labels(self) -> list[str]:
        """Return the notes on what is amiss, without those on channels and groups that all images have."""
        amiss = [
            note for note in self.opened.notes if _AMISS.search(note) and not _IN_ORDER.search(note)
        ]
        if not amiss:  # mostly, and a pattern of all names takes long to compile
            return []
        names = "|".join(
            re.escape(path.name) for picture in self.case.pictures for path in picture.files
        )
        channel = re.compile(rf"^(\S+ ){{1,3}}is ({names})\.")
        return [note for note in amiss if not channel.search(note)]

    def _notes_on_others(self) -> list[str]:
        """Return the notes that name no image of the result, as those on what was left out."""
        inside = [str(row["path"]) for row in self.opened.rows]
        return [note for note in self.notes if not any(path in note for path in inside)]

    def _check_row(self, index: int, picture: Picture) -> None:
        row, well = self.opened.rows[index], picture.well
        at = f"{self._short(row['path'])} ({well.plate} {well.name} {well.label})"
        if picture.lost:
            told = self._is_told([picture], self.notes) or self._are_plates_told(picture.lost)
            if picture.lost in NEVER or not told:
                self.wrong.append(f"{at}: is {row['label']!r}, although {picture.lost}")
            else:
                self.told = True
            return
        if same_label(row["label"]) != same_label(well.label):
            self.wrong.append(f"{at}: label {row['label']!r}")
        spelled = _text(row.get("well"))
        # A number of a well has to be counted by whoever knows the plate.
        if spelled and not re.fullmatch(r"W\d+", spelled) and _well(spelled) != well.name:
            if self._is_plate_like_a_well(spelled):
                self.told = True
            else:
                self.wrong.append(f"{at}: well {spelled}")
        self._check_plate(at, _text(row.get("plate")), well.plate)
        split = _text(row.get("split"))
        if split and self.case.plan.layout == "split folders" and split != well.split:
            self.wrong.append(f"{at}: split {split}")
        if "dose" in row and not _equal(row["dose"], well.dose):
            self.wrong.append(f"{at}: dose {row['dose']!r} for {well.dose}")

    def _are_plates_told(self, lost: str) -> bool:
        """Whether it is said under which names the same wells stand, all taken for one plate."""
        plates = [plate.casefold() for plate in self.case.plan.plates]
        return lost == "the map names no plates" and any(
            note.startswith("The same wells stand under")
            and all(_holds(note.casefold(), plate) for plate in plates)
            for note in self.opened.notes
        )

    def _is_plate_like_a_well(self, spelled: str) -> bool:
        """Whether a plate is called so, no name holds a well, and it is told what was taken for one.

        Nobody can know it, and no group is torn: those of plates are larger than those of wells.
        """
        plan = self.case.plan
        called = {_well(plate) for plate in plan.plates}
        nameless = not plan.style.well and not plan.well_folders
        said = any(note.startswith("Groups were taken") for note in self.opened.notes)
        return nameless and said and _well(spelled) in called

    def _check_plate(self, at: str, found: str, right: str) -> None:
        names = {right.casefold(), (self.case.plan.plate_prefix + right).casefold()}
        if self.case.plan.layout in ("table", "plate map"):
            if found and found != right:
                self.wrong.append(f"{at}: plate {found}")
        # Read from names, it may hold the words before it, but no other plate's name.
        elif found and len(self.case.plan.plates) > 1:
            others = {plate.casefold() for plate in self.case.plan.plates} - names
            if found.casefold() in others:
                self.wrong.append(f"{at}: plate {found}")

    def _check_pixels(self) -> None:
        """Check that each image has the files of its field, and channels their own names."""
        several = [picture for picture in self.case.pictures if len(self.rows[id(picture)]) > 1]
        if several and not self._is_told(several, self.notes):
            self.wrong.append(f"one image counted as several: {self._name(several[0])}")
        elif several:
            self.told = True
        if self.opened.numbers is None:
            return
        order: set[tuple[str, ...]] = set()
        for index, numbers in enumerate(self.opened.numbers):
            picture = self._of(str(self.opened.rows[index]["path"]))
            if picture is None:
                continue
            of = {id(self.by_number[n]) for n in numbers if n in self.by_number}
            if of != {id(picture)} or len(numbers) > len(picture.numbers):
                self.wrong.append(f"files of several images are joined: {self._name(picture)}")
                continue
            stains = tuple(picture.numbers[number] for number in numbers)
            order.add(stains)
            if len(numbers) < len(picture.numbers) and len(self.rows[id(picture)]) == 1:
                if not self._is_told([picture], self.notes):
                    self.wrong.append(f"channels are missing: {self._name(picture)}")
                self.told = True
            self._check_names(picture, stains)
        if len(order) > 1 and not several:
            self.wrong.append(f"channels in different order: {sorted(order)}")

    def _check_names(self, picture: Picture, stains: tuple[str, ...]) -> None:
        every = [stain.casefold() for stain in self.case.plan.stains]
        for name, stain in zip(self.opened.channels, stains, strict=False):
            named = [other for other in every if other in name.casefold()]
            if len(named) == 1 and named[0] != stain.casefold():
                self.wrong.append(f"channel {name} holds {stain}: {self._name(picture)}")
            said = re.fullmatch(r"[A-Za-z]{2,}[0-9]*", name)
            # A stain that is none of the case's comes from another word of the name.
            if said and not named and name.casefold() not in ("channel", "mono") and name.isupper():
                self.wrong.append(f"channel {name} for {stain}: {self._name(picture)}")

    def _check_spellings(self) -> None:
        """One label in several spellings is one class, or several, and either way it is said."""
        classes: dict[str, set[str]] = defaultdict(set)
        for row in self.opened.rows:
            classes[same_label(row["label"])].add(str(row["label"]))
        for found in classes.values():
            if len(found) > 1:
                if not any(
                    sum(repr(one) in note for one in found) > 1 for note in self.opened.notes
                ):
                    self.wrong.append(f"one label is several classes: {sorted(found)}")
                self.told = True
        written: dict[str, set[str]] = defaultdict(set)
        for picture in self.case.pictures:
            if self.rows[id(picture)] and not picture.lost:
                cell = picture.well.label if picture.well.cell is None else picture.well.cell
                # Blanks at the ends nobody sees; capitals may be meant.
                written[same_label(cell)].add(" ".join(str(cell).split()))
        for label, spellings in written.items():
            others = spellings - {" ".join(one.split()) for one in classes[label]}
            if others and not any(
                _holds(note, one) for note in self.opened.notes for one in others
            ):
                self.wrong.append(f"spellings are one class without a word: {sorted(spellings)}")

    def _check_left_out(self) -> None:
        """Whatever is in no row has to be told, by its own name or by an example of its kind."""
        kinds: dict[str, list[Picture]] = defaultdict(list)
        for picture in self.case.pictures:
            if self.rows[id(picture)]:
                continue
            if not picture.lost:
                self.told = True
            if not self._is_named(picture):
                kinds[picture.lost or self._short(picture.files[0].parent)].append(picture)
        for kind, pictures in kinds.items():
            if not self._is_told(pictures, self.on_others):
                self.wrong.append(
                    f"{len(pictures)} images left out without a word ({kind}): "
                    f"{self._name(pictures[0])}"
                )

    def _is_named(self, picture: Picture) -> bool:
        if id(picture) in self.named_one_by_one:
            return True
        well = picture.well
        return bool({well.name, f"{well.plate} {well.name}"} & set(self.opened.unlabelled))

    def _is_told(self, pictures: list[Picture], notes: list[str]) -> bool:
        """Whether a note names one of these images, or a well, plate or folder that is theirs alone."""
        if any(self._is_named(picture) for picture in pictures):
            return True
        mine = {id(picture) for picture in pictures}
        words: set[str] = set()
        for picture in pictures:
            words |= {path.name for path in picture.files}
            words |= self._own(mine, picture)
        plain = [note.replace(str(self.case.folder), "") for note in notes]
        return any(_holds(note, word) for note in plain for word in words)

    def _own(self, mine: set[int], picture: Picture) -> set[str]:
        """Return names of well, plate and folder of which no image is in order."""
        well, others = picture.well, [p for p in self.case.pictures if id(p) not in mine]
        words = set()
        if not any((p.well.plate, p.well.name) == (well.plate, well.name) for p in others):
            words |= {well.name, f"{well.name[0]}{well.column + 1}"}
        if not any(p.well.plate == well.plate for p in others):
            words |= {well.plate if not well.plate.isdecimal() else f"plate {well.plate}"}
        for folder in picture.files[0].relative_to(self.case.folder).parents:
            if folder.name and not any(_is_below(self.case, p, folder) for p in others):
                words.add(folder.name)
        return words

    def _name(self, picture: Picture) -> str:
        return self._short(picture.files[0])

    def _short(self, path: Any) -> str:
        return str(path).replace(str(self.case.folder), "").lstrip("/\\")


def _is_below(case: Case, picture: Picture, folder: Path) -> bool:
    # as text: pathlib makes every parent of every path, which took a seventh of the campaign
    start = f"{case.folder / folder}{os.sep}"
    return any(str(path).startswith(start) for path in picture.files)


def _holds(note: str, word: str) -> bool:
    return bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", note))


def _well(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z])0*(\d{1,2})", text.strip())
    return f"{match[1].upper()}{int(match[2]):02d}" if match else text


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _equal(value: Any, right: float) -> bool:
    try:
        return float(value) == right
    except (TypeError, ValueError):
        return False


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Count outcomes."""
    found = dict.fromkeys(OUTCOMES, 0)
    for verdict in verdicts:
        found[verdict.outcome] += 1
    return found
