"""Every public function of two or more arguments says what goes in, what comes out and what it refuses.

``python tests/test_docstrings.py attribution networks`` tells what is missing in these rooms.
"""

import ast
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import dedent

import pytest
from numpydoc.docscrape import NumpyDocString

SOURCE = Path(__file__).parents[1] / "src" / "napari_why"
# modules that lie in no room
TOP = "napari_why"
ROOMS = sorted({path.parent.name for path in SOURCE.glob("*/__init__.py")} | {TOP})
# what an annotation may hold that tells the user of an argument: of the shell, and of the forms
SHELL_HELP = ("typer.Option", "typer.Argument")
HELP = ("Help", *SHELL_HELP)
# what comes back from these is nothing to be told of
NOTHING = {
    "None",
    "NoReturn",
    "Never",
    "Iterator[None]",
    "Generator[None]",
    "Generator[None, None, None]",
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Sections:
    """What a docstring names: parameters in their order, whether a result, and errors."""

    parameters: tuple[str, ...] = ()
    returns: bool = False
    raises: tuple[str, ...] = ()
    # why the docstring could not be read
    fault: str = ""

    @classmethod
    def of(cls, node: ast.AST) -> "Sections":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of sections that numpydoc does not know
                parsed = NumpyDocString(ast.get_docstring(node) or "")
        except (UserWarning, ValueError) as error:
            return cls(fault=str(error).splitlines()[0])
        listed = [*parsed["Parameters"], *parsed["Other Parameters"]]
        names = [name for item in listed for name in _split(item.name)]
        errors = [name for item in parsed["Raises"] for name in _split(item.type or item.name)]
        return cls(
            tuple(name.replace("\\", "").lstrip("*") for name in names),
            bool(parsed["Returns"] or parsed["Yields"]),
            tuple(name.rpartition(".")[2] for name in errors),
        )


@dataclass(frozen=True)
class Function:
    """A public function or method, where it stands, and the names of its class's bases."""

    room: str
    path: Path
    name: str
    node: Definition
    owner: str = ""
    bases: tuple[str, ...] = ()

    @cached_property
    def arguments(self) -> dict[str, str]:
        """Names to annotations, without those that are only there for the caller's sake."""
        spec = self.node.args
        positional = [*spec.posonlyargs, *spec.args]
        if self.owner and "staticmethod" not in self.decorators:
            positional = positional[1:]
        further = [item for item in (spec.vararg, spec.kwarg) if item is not None]
        every = [*positional, *spec.kwonlyargs, *further]
        return {
            item.arg: ast.unparse(item.annotation) if item.annotation else ""
            for item in every
            if not item.arg.startswith("_")
        }

    @cached_property
    def decorators(self) -> list[str]:
        return [ast.unparse(item).rpartition(".")[2] for item in self.node.decorator_list]

    @cached_property
    def sections(self) -> Sections:
        return Sections.of(self.node)

    @property
    def result(self) -> str:
        return ast.unparse(self.node.returns).strip("'\"") if self.node.returns else "None"


@dataclass
class Package:
    """The functions of the modules below a folder, and what is known of their surroundings."""

    functions: list[Function] = field(default_factory=list)
    # names of annotations that bring a help with them: ``Seed = Annotated[int, Help(...)]``
    helped: set[str] = field(default_factory=set)
    # names of the functions that are verbs of the shell, whose docstrings are printed as their help
    verbs: set[str] = field(default_factory=set)
    bases: dict[str, set[str]] = field(default_factory=dict)
    methods: dict[tuple[str, str], list[Function]] = field(default_factory=dict)

    def read(self, room: str, path: Path, text: str) -> None:
        tree = ast.parse(text)
        for node in tree.body:
            if isinstance(node, ast.Assign) and _brings_help(ast.unparse(node.value)):
                self.helped.update(ast.unparse(target) for target in node.targets)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Verb":
                self.verbs.add(ast.unparse(call.args[1]))
        for function in _list_functions(room, path, tree.body):
            self.functions.append(function)
            if function.owner:
                self.bases.setdefault(function.owner, set()).update(function.bases)
                key = function.owner, function.name.rpartition(".")[2]
                self.methods.setdefault(key, []).append(function)
        # classes without a method of their own lie between others too
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self.bases.setdefault(node.name, set()).update(_name_bases(node))

    def inherited(self, function: Function) -> list[Function]:
        """The same method of every base in the package, the nearest first."""
        found: list[Function] = []
        seen: set[str] = set()
        waiting = list(function.bases)
        while waiting:
            base = waiting.pop(0)
            if base not in seen:
                seen.add(base)
                found += self.methods.get((base, function.name.rpartition(".")[2]), [])
                waiting += sorted(self.bases.get(base, ()))
        return found

    def is_helped(self, annotation: str) -> bool:
        return _brings_help(annotation) or annotation in self.helped

    def is_verb(self, function: Function) -> bool:
        """Whether typer makes a command of it, by the annotations or by its name."""
        shell = any(name in text for text in function.arguments.values() for name in SHELL_HELP)
        return shell or (function.room == "cli" and function.name in self.verbs)

    def find_faults(self, function: Function) -> list[str]:
        """Say what is missing; nothing where another place documents the function.

        An override may leave out what the docstring of the method it overrides tells, and a parameter
        may be left out where its annotation carries the help.
        """
        if "overload" in function.decorators or self.is_verb(function):
            return []
        if len(function.arguments) < 2:
            return []
        own = function.sections
        if own.fault:
            return [f"unreadable: {own.fault}"]
        above = [item.sections for item in self.inherited(function)]
        return [
            *self._find_parameters(function, own, above),
            *_find_result(function, [own, *above]),
            *_find_errors(function, [own, *above]),
        ]

    def _find_parameters(
        self, function: Function, own: Sections, above: list[Sections]
    ) -> Iterator[str]:
        documented = own
        if not own.parameters:  # else they are told anew
            documented = next((item for item in above if item.parameters), own)
        told = documented.parameters
        silent = {name for name, text in function.arguments.items() if self.is_helped(text)}
        lacking = [name for name in function.arguments if name not in {*told, *silent}]
        if lacking and not told:
            yield "Parameters"
        elif lacking:
            yield f"Parameters: {', '.join(lacking)}"
        # an argument that is not used is no fault to name
        taken = {item.arg for item in ast.walk(function.node.args) if isinstance(item, ast.arg)}
        surplus = [name for name in told if name not in taken]
        if surplus and documented is own:
            yield f"no argument: {', '.join(surplus)}"
        if len(told) > len(set(told)):
            yield "Parameters: one is named twice"


def _find_result(function: Function, known: list[Sections]) -> Iterator[str]:
    if function.result not in NOTHING and not any(item.returns for item in known):
        yield "Returns"


def _find_errors(function: Function, known: list[Sections]) -> Iterator[str]:
    told = {name for item in known for name in item.raises}
    lacking = sorted(set(_list_errors(function.node.body, caught=())) - told)
    if lacking:
        yield f"Raises: {', '.join(lacking)}"


def _list_errors(body: list[ast.stmt], caught: Collection[str]) -> Iterator[str]:
    """Names of the exceptions raised by the statements themselves, and not caught among them."""
    for node in body:
        if isinstance(node, Definition | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise):
            name = _name_error(node)
            if name and name != "NotImplementedError" and not {name, "Exception"} & {*caught}:
                yield name
        if isinstance(node, ast.Try):
            handled = [
                ast.unparse(item.type) if item.type else "Exception" for item in node.handlers
            ]
            names = [name for text in handled for name in _split(text.strip("()"))]
            yield from _list_errors(
                node.body, {*caught, *(name.rpartition(".")[2] for name in names)}
            )
            parts = [*node.orelse, *node.finalbody]
            yield from _list_errors(parts, caught)
            for handler in node.handlers:
                yield from _list_errors(handler.body, caught)
            continue
        for block in ("body", "orelse"):
            yield from _list_errors(getattr(node, block, []), caught)
        for case in getattr(node, "cases", []):
            yield from _list_errors(case.body, caught)


def _name_error(node: ast.Raise) -> str:
    """The public class of a raised error; empty where a function makes it or it is only passed on."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    parts = ast.unparse(raised).split(".") if raised is not None else []
    # the last: a class of a module, or one of the ways to make an error of a class
    return next((part for part in reversed(parts) if part[:1].isupper()), "")


def _list_functions(
    room: str, path: Path, body: list[ast.stmt], owner: str = "", bases: tuple[str, ...] = ()
) -> Iterator[Function]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            name = f"{owner}.{node.name}" if owner else node.name
            yield Function(room, path, name, node, owner, bases)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _list_functions(room, path, node.body, node.name, _name_bases(node))
        elif isinstance(node, ast.If):
            yield from _list_functions(room, path, [*node.body, *node.orelse], owner, bases)


def _name_bases(node: ast.ClassDef) -> tuple[str, ...]:
    named = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return tuple(ast.unparse(base).rpartition(".")[2] for base in named)


def _brings_help(annotation: str) -> bool:
    return "Annotated[" in annotation and any(f"{name}(" in annotation for name in HELP)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def read_package(source: Path) -> Package:
    """Parse every module below a folder; a folder in it is a room."""
    package = Package()
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source)
        room = place.parts[0] if len(place.parts) > 1 else TOP
        package.read(room, path, path.read_text(encoding="utf-8"))
    return package


def list_faults(package: Package, rooms: Collection[str]) -> list[str]:
    """One line for every function of the rooms that lacks something."""
    return [
        f"{item.path}:{item.node.lineno} {item.name}: {'; '.join(faults)}"
        for item in package.functions
        if item.room in rooms and (faults := package.find_faults(item))
    ]


@pytest.fixture(scope="module")
def napari_why() -> Package:
    return read_package(SOURCE)


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_tell_arguments_results_and_errors(napari_why: Package, room: str) -> None:
    faults = list_faults(napari_why, [room])
    assert not faults, f"{len(faults)} in {room}:\n" + "\n".join(faults)


def test_every_module_is_read(napari_why: Package) -> None:
    assert {item.room for item in napari_why.functions} == set(ROOMS)
    assert {"attribute", "Classifier.predict"} <= {item.name for item in napari_why.functions}


def find(text: str, room: str = "images") -> Mapping[str, list[str]]:
    """What is missing in a module, by the names of its functions."""
    package = Package()
    package.read(room, Path("module.py"), dedent(text))
    found = {item.name: package.find_faults(item) for item in package.functions}
    return {name: faults for name, faults in found.items() if faults}


def document(*sections: str, body: str = "", result: str = "None") -> str:
    """A function of two arguments, whose docstring has these sections."""
    lines = ['"""Do it.', "", *"\n\n".join(map(dedent, sections)).strip().splitlines(), '"""', body]
    return f"def do(x, *more) -> {result}:\n" + "\n".join(f"    {line}".rstrip() for line in lines)


PARAMETERS = """\
Parameters
----------
x : int
    Number.
*more
    Numbers."""
RETURNS = """\
Returns
-------
int
    Number."""
YIELDS = RETURNS.replace("Returns\n-------", "Yields\n------")
RAISES = """\
Raises
------
ValueError, LookupError
    It is odd."""


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (document(), ["Parameters"]),
        (document(PARAMETERS), []),
        (document(PARAMETERS.replace("x : int", "x, y : int")), ["no argument: y"]),
        (document(PARAMETERS.replace("*more", "x")), ["Parameters: more", "Parameters: one is named twice"]),
        (document(PARAMETERS.replace("x : int\n", "")), ["Parameters: x", "no argument: Number."]),
        (document(PARAMETERS, result="int"), ["Returns"]),
        (document(PARAMETERS, RETURNS, result="int"), []),
        (document(PARAMETERS, YIELDS, result="Iterator[int]"), []),
        (document(PARAMETERS, result="Iterator[None]"), []),
        (document(PARAMETERS, body="raise ValueError(x)"), ["Raises: ValueError"]),
        (document(PARAMETERS, RAISES, body="raise errors.LookupError"), []),
        (document(PARAMETERS, body="if x: raise ValueError.of(x)"), ["Raises: ValueError"]),
        (document(PARAMETERS, body="raise refusal(x)"), []),
        (document(PARAMETERS, body="raise NotImplementedError"), []),
        (document(PARAMETERS, body="def inner(): raise ValueError"), []),
        (
            document(
                PARAMETERS,
                body="try:\n        raise ValueError\n    except (KeyError, ValueError):\n        raise KeyError",
            ),
            ["Raises: KeyError"],
        ),
        (document(PARAMETERS.replace("Parameters\n----------", "Arguments\n---------")), ["unreadable: Unknown section Arguments"]),
        ("def do(x): ...", []),
        ("def _do(x, y): ...", []),
        ("def do(x, _y): ...", []),
        ("@overload\ndef do(x, y): ...", []),
        ("class _Do:\n    def do(self, x, y): ...", []),
        ("Seed = Annotated[int, Help('of noise')]\ndef do(x: Seed, y: Seed): ...", []),
        ("Seed = Annotated[int, Range(1)]\ndef do(x: Seed, y: Seed): ...", ["Parameters"]),
        ("def do(x: Annotated[int, typer.Option(help='one')], y): ...", []),
    ],
)  # fmt: skip
def test_what_is_missing_is_found(text: str, missing: list[str]) -> None:
    assert find(text) == ({"do": missing} if missing else {})


def test_methods_count_without_themselves() -> None:
    text = """
        class Doer:
            def few(self, x): ...
            def many(self, x, y): ...
            @classmethod
            def of(cls, x, y): ...
            @staticmethod
            def free(x, y): ...
    """
    assert set(find(text)) == {"Doer.many", "Doer.of", "Doer.free"}


def test_an_override_may_leave_out_what_its_base_tells() -> None:
    text = """
        class Base:
            def do(self, x, y) -> int:
                '''Do it.

                Parameters
                ----------
                x, y : int
                    Numbers.

                Returns
                -------
                int
                    Their sum.
                '''

        class Between(Base): ...

        class Same(Between[int]):
            def do(self, x, _y) -> int:
                '''Do it by hand.'''

        class More(Between):
            def do(self, x, y, z) -> int:
                '''Do it with one more.'''
                raise ValueError

        class Other:
            def do(self, x, y) -> int:
                '''Do it.'''
    """
    assert find(text) == {
        "More.do": ["Parameters: z", "Raises: ValueError"],
        "Other.do": ["Parameters", "Returns"],
    }


def test_a_verb_of_the_shell_has_its_help() -> None:
    text = "def do(x: Source, y: Source): ...\nDO = Verb('do', do)"
    assert find(text, room="cli") == {}
    assert find("def do(x: Source, y: Source): ...", room="cli") == {"do": ["Parameters"]}


if __name__ == "__main__":
    chosen = sys.argv[1:] or ROOMS
    parsed = read_package(SOURCE)
    for room in chosen:
        lines = list_faults(parsed, [room])
        sys.stdout.write("\n".join([*lines, f"{room}: {len(lines)}", ""]))
