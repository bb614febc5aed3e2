"""Count how the source reads, and how many files one has to open to follow a call.

    python benchmarks/structure.py [--no-walks] [--json] [--source src/napari_why]

Prints Markdown tables; ``--json`` prints one object instead, with the names behind the numbers. Run
it in the development environment (``--group dev``), which holds grimp. The first part reads the
source only and takes a second. The second runs five calls on small simulated images and notes which
files of the package work meanwhile; ``--no-walks`` leaves it out.

A *room* is a sub-package or a module at the top. *Code lines* are the lines that are neither blank,
nor in a docstring, nor a comment alone; imports and comments are counted against them.
"""

import argparse
import ast
import contextlib
import importlib
import io
import json
import os
import re
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import grimp

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src" / "napari_why"
Function = ast.FunctionDef | ast.AsyncFunctionDef
Result = TypeVar("Result")

EXTENDING = PROJECT / "docs" / "extending.md"

# The two functions with the longest way from a user's wish to the network's training.
COUNTED_FUNCTIONS = ("fit", "train_network")
# Rooms that decode by trade: the networks themselves, and the pictures of generative networks.
DECODING_ROOMS = ("networks", "generation")
# What makes tensors without any other tensor, and torch's names for float64.
NEW_TENSORS = ("torch.zeros", "torch.ones", "torch.arange", "torch.linspace", "torch.eye")
FLOAT64 = ("torch.float64", "torch.double", "torch.DoubleTensor")
# Names that are one word and a past participle: by their endings, or irregular. The verbs and nouns
# before them merely end like one.
NO_PARTICIPLE = r"_*(?:embed|exceed|feed|need|proceed|seed|shed|speed|own|down)_*"
PARTICIPLE = (
    r"_*(?:[a-z]+(?:ed|wn|ught|oken|osen|itten|iven|aken)"
    r"|bound|built|cut|done|found|gone|held|hidden|kept|laid|left|lost|made|meant|met|paid|put|said"
    r"|seen|sent|set|spread|told|torn|won|worn)_*"
)
# Networks and images of the walks are the smallest that work: which files run does not depend on it.
IMAGES, IMAGE_SIZE, STEPS = 24, 32, 3
NETWORK_PARAMETERS = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}


@dataclass(frozen=True)
class Module:
    """A source file.

    Parameters
    ----------
    name : str
        Dotted; that of a package for its ``__init__.py``.
    is_door : bool
        Whether it is an ``__init__.py``, which passes on what stands in other files.
    text : str
    tree : ast.Module
    """

    name: str
    is_door: bool
    text: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """The dotted name of the package that holds it."""
        return self.name.rpartition(".")[0]

    @property
    def room(self) -> str:
        """Its sub-package, or itself where it stands at the top."""
        return ".".join(self.name.split(".")[1:2])


def read_package(source: Path) -> dict[str, Module]:
    """Read and parse every module of a package, by dotted name.

    Raises
    ------
    FileNotFoundError
        The folder is no package.
    """
    if not (source / "__init__.py").is_file():
        raise FileNotFoundError(f"{source}: found no __init__.py; give the folder of a package")
    modules = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        is_door = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_door else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, is_door, text, ast.parse(text))
    return modules


def spanned(node: ast.stmt) -> range:
    """Return the numbers of the lines of a statement."""
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def find_float64_casts(tree: ast.Module) -> list[int]:
    """Return the numbers of the lines that may cast a tensor of a device to float64.

    That is ``.double()``, and torch's float64 anywhere but in a comparison or as the dtype of a new
    tensor, which lies on the processor where no device is named.
    """
    allowed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            allowed |= {id(part) for part in (node.left, *node.comparators)}
        if isinstance(node, ast.Call) and ast.unparse(node.func) in NEW_TENSORS:
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if "device" not in keywords and "dtype" in keywords:
                allowed.add(id(keywords["dtype"]))
    return sorted(
        {
            node.lineno
            for node in ast.walk(tree)
            if (isinstance(node, ast.Attribute) and id(node) not in allowed)
            and (ast.unparse(node) in FLOAT64 or node.attr == "double")
        }
    )


def commented_lines(text: str) -> set[int]:
    """Return the numbers of the lines with a comment; a ``#`` in a string is none."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the numbers of all lines that belong to docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        number
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for number in spanned(node.body[0])
    }


@dataclass(frozen=True)
class Lines:
    """How many lines of each kind there are."""

    files: int
    lines: int
    longest_file: int
    code: int
    imports: int
    comments: int

    @property
    def mean_file(self) -> float:
        """Lines of a file, blank ones and docstrings included."""
        return self.lines / self.files


def count_lines(modules: dict[str, Module]) -> Lines:
    """Count the lines of a package by kind; an import counts all lines that it spans."""
    lengths, code, imports, commented = [], 0, 0, 0
    for module in modules.values():
        lines = module.text.splitlines()
        documented = docstring_lines(module.tree)
        lengths.append(len(lines))
        code += sum(
            bool(line.strip()) and number not in documented and not line.strip().startswith("#")
            for number, line in enumerate(lines, start=1)
        )
        statements = (
            node for node in ast.walk(module.tree) if isinstance(node, ast.Import | ast.ImportFrom)
        )
        imports += len({number for node in statements for number in spanned(node)})
        commented += len(commented_lines(module.text))
    return Lines(len(lengths), sum(lengths), max(lengths), code, imports, commented)


def imported_names(module: Module) -> Iterator[tuple[str, str, str]]:
    """Yield every name that a module imports, as (module, name there, name here)."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.module, alias.name, alias.asname or alias.name


def find_importers(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Return which modules import each module, doors aside.

    A name that comes through a door counts for the module behind the door.
    """
    behind = {
        (door.name, here): origin
        for door in modules.values()
        if door.is_door
        for origin, _, here in imported_names(door)
    }
    importers: dict[str, set[str]] = {name: set() for name in modules}
    for module in modules.values():
        if module.is_door:
            continue
        for origin, name, _ in imported_names(module):
            as_module = f"{origin}.{name}"
            used = as_module if as_module in modules else behind.get((origin, name), origin)
            if used in modules and used != module.name:
                importers[used].add(module.name)
    return importers


def continued_modules(modules: dict[str, Module]) -> list[str]:
    """Name the modules that a single module imports, of the same folder: its continuation."""
    return [
        name
        for name, users in find_importers(modules).items()
        if not modules[name].is_door
        and [modules[user].folder for user in users] == [modules[name].folder]
    ]


def find_circles(package: str, *, rooms: bool, types: bool) -> list[list[str]]:
    """Find sets of modules, or of rooms, each of which needs all others of its set.

    Imports inside functions count; those of the package's own ``__init__.py`` do not, since its
    names are looked up when they are first used.

    Parameters
    ----------
    package : str
        Can be imported, and is not: grimp reads its source.
    rooms : bool
        Look at whole sub-packages.
    types : bool
        Count what is imported for type checkers alone, which never runs.
    """
    graph = grimp.build_graph(package, exclude_type_checking_imports=not types, cache_dir=None)
    if rooms:
        for room in graph.find_children(package):
            graph.squash_module(room)
    for imported in graph.find_modules_directly_imported_by(package):
        graph.remove_import(importer=package, imported=imported)
    circles = {
        frozenset({module} | together)
        for module in graph.modules
        if (together := graph.find_upstream_modules(module) & graph.find_downstream_modules(module))
    }
    return sorted(sorted(circle) for circle in circles)


def count_parameters(modules: dict[str, Module], name: str) -> int:
    """Count the parameters of a function as :func:`inspect.signature` does, without importing it.

    Raises
    ------
    LookupError
        Not exactly one module has such a function.
    """
    found = {
        module.name: node.args
        for module in modules.values()
        for node in module.tree.body
        if isinstance(node, Function) and node.name == name
    }
    if len(found) != 1:
        where = ", ".join(found) or "no module"
        raise LookupError(f"function {name}: found in {where}; expected in one module")
    (arguments,) = found.values()
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return len(named) + sum(one is not None for one in (arguments.vararg, arguments.kwarg))


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted expression: ``_path`` of ``self._path``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def decodes_path(call: ast.Call) -> bool:
    """Tell whether a call turns latents on a path into images.

    That is ``path.images(network, alphas)``, or ``network.decode(latents, stage)`` at a named stage.
    Decoding ``path.start`` is none: it reconstructs the unchanged image.
    """
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr == "images":
        return last_name(call.func.value).endswith("path")
    # decode() of bytes has an encoding and keywords; that of a whole latent has no stage
    takes_stage = len(call.args) == 2 and last_name(call.func.value).endswith("network")
    return call.func.attr == "decode" and takes_stage and last_name(call.args[0]) != "start"


def find_engines(modules: dict[str, Module]) -> list[str]:
    """Name the modules that decode paths, beside that of the path itself: each is an engine."""
    return [
        module.name
        for module in modules.values()
        if module.room not in DECODING_ROOMS
        and not any(
            isinstance(n, ast.ClassDef) and n.name == "LatentPath" for n in module.tree.body
        )
        and any(isinstance(n, ast.Call) and decodes_path(n) for n in ast.walk(module.tree))
    ]


def is_number(node: ast.expr) -> bool:
    """Tell whether an expression is a number, arithmetic with one, or a collection of some."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float | complex) and not isinstance(value, bool)
        case ast.UnaryOp(operand=operand):
            return is_number(operand)
        case ast.BinOp(left=left, right=right):
            return is_number(left) or is_number(right)
        case ast.Tuple(elts=values) | ast.List(elts=values) | ast.Set(elts=values):
            return any(is_number(value) for value in values)
        case ast.Dict(values=values):
            return any(is_number(value) for value in values)
    return False


def find_constants(modules: dict[str, Module]) -> dict[str, bool]:
    """Find the numeric constants at module level, and whether each has its reason.

    A reason is a comment on a line of the constant, or alone on the line above it.
    """
    reasoned = {}
    for module in modules.values():
        lines, commented = module.text.splitlines(), commented_lines(module.text)
        for node in module.tree.body:
            if isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                target, value = node.target, node.value
            else:
                continue
            if is_number(value):
                above = node.lineno - 1
                alone = above in commented and lines[above - 1].startswith("#")
                beside = not commented.isdisjoint(spanned(node))
                reasoned[f"{module.name}.{ast.unparse(target)}"] = alone or beside
    return reasoned


def find_participles(modules: dict[str, Module]) -> list[str]:
    """Name the functions and methods that are called by a past participle alone, properties aside."""
    return [
        f"{module.name}.{node.name}"
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, Function)
        and is_participle(node.name)
        and not any("property" in ast.unparse(one) for one in node.decorator_list)
    ]


def is_participle(name: str) -> bool:
    """Tell whether a name is one word, and that a past participle."""
    return bool(re.fullmatch(PARTICIPLE, name)) and not re.fullmatch(NO_PARTICIPLE, name)


def example_lengths(document: str) -> dict[str, int]:
    """Return the lines of the longest Python example under each heading, blank lines aside."""
    lengths = {}
    for section in re.split(r"^## ", document, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            heading = section.partition("\n")[0].strip()
            lengths[heading] = max(
                sum(bool(line.strip()) for line in b.splitlines()) for b in blocks
            )
    return lengths


@dataclass(frozen=True)
class Walk:
    """What of the package works during a call."""

    files: int
    rooms: int
    lines: int


def follow(call: Callable[[], Result], source: Path) -> tuple[Result, Walk]:
    """Run a call and note which files of a package have code that runs in this thread meanwhile.

    A module that is merely imported on the way does not count, unless it defines a class: then
    code of it runs.
    """
    inside = f"{source}{os.sep}"
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(inside) and code.co_name != "<module>":
            files.add(code.co_filename)

    sys.setprofile(note)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    paths = [Path(file) for file in files]
    rooms = {path.relative_to(source).parts[0] for path in paths}
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
    return result, Walk(len(paths), len(rooms), lines)


def run_walks(source: Path) -> dict[str, Walk]:
    """Follow the calls on small simulated images.

    Attribution and counterfactual have run once before, as in a session that is under way: what
    they import when they are first used does not count.
    """
    import napari_why as why
    from napari_why.simulation import simulate_to_folder

    for name in ("attribute", "counterfactual", "to_layers"):
        getattr(why, name)  # public names are imported when they are first looked up
    walks = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate_to_folder(folder / "set", IMAGES, size=IMAGE_SIZE)
        dataset, walks["Dataset.open"] = follow(lambda: why.Dataset.open(folder / "set"), source)
        split = dataset.split(seed=0)
        options: dict[str, Any] = {"epochs": 1, "network_parameters": NETWORK_PARAMETERS}
        classifier, walks["fit"] = follow(
            lambda: why.fit(split, "iresnet", size=IMAGE_SIZE, **options), source
        )
        classifier.save(folder / "model")
        path = next((folder / "set").rglob("*.tif"))
        image = why.read(path)

        # functions, since the look-up of a public name is part of the way
        def attribute() -> Any:
            return why.attribute(classifier, image, "hires_cam")

        def counterfactual() -> Any:
            return why.counterfactual(classifier, image, method="transport", steps=STEPS)

        attribute()
        counterfactual()
        _, walks["attribute"] = follow(attribute, source)
        result, walks["counterfactual"] = follow(counterfactual, source)
        _, walks["to_layers"] = follow(lambda: why.to_layers(result), source)
        shell = importlib.import_module("napari_why.cli").main
        out = folder / "map.ome.tif"
        command = ["attribute", str(folder / "model"), str(path), "--out", str(out)]

        def attribute_in_shell() -> None:
            with contextlib.suppress(SystemExit):  # every shell command ends with one
                shell([*command, "--method", "hires_cam"])

        _, walks["attribute in the shell"] = follow(attribute_in_shell, source)
        assert out.is_file(), "the shell command failed: it says why above"
    return walks


def read_figures(source: Path) -> dict[str, Any]:
    """Return all figures that the source tells unrun, with the names behind them; JSON types."""
    modules = read_package(source)
    lines, constants = count_lines(modules), find_constants(modules)
    continued = continued_modules(modules)
    return {
        "lines": asdict(lines) | {"mean_file": round(lines.mean_file, 1)},
        "imports_per_100_code_lines": round(100 * lines.imports / lines.code, 1),
        "comments_per_100_code_lines": round(100 * lines.comments / lines.code, 1),
        "continued_modules": continued,
        "share_continued": round(len(continued) / sum(not m.is_door for m in modules.values()), 2),
        "circles_of_rooms": find_circles(source.name, rooms=True, types=True),
        "circles_of_modules": find_circles(source.name, rooms=False, types=False),
        "circles_of_types": find_circles(source.name, rooms=False, types=True),
        "parameters": {name: count_parameters(modules, name) for name in COUNTED_FUNCTIONS},
        "engines": find_engines(modules),
        "constants_with_reason": [name for name, reasoned in constants.items() if reasoned],
        "constants_without_reason": [name for name, reasoned in constants.items() if not reasoned],
        "participles": find_participles(modules),
    }


def print_table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """Print a table in Markdown, with an empty line behind it."""
    for row in (header, ("---",) * len(header), *rows):
        print(f"| {' | '.join(map(str, row))} |")
    print()


def print_figures(figures: dict[str, Any]) -> None:
    """Print the figures of the source as a table."""
    lines = figures["lines"]
    without, reasoned = figures["constants_without_reason"], figures["constants_with_reason"]
    rows: list[tuple[object, ...]] = [
        ("source files", lines["files"]),
        ("lines of a file: mean, longest", f"{lines['mean_file']:.0f}, {lines['longest_file']}"),
        ("import lines per 100 code lines", figures["imports_per_100_code_lines"]),
        ("comments per 100 code lines", figures["comments_per_100_code_lines"]),
        (
            "modules that one module of their own folder imports, and no other",
            f"{len(figures['continued_modules'])} ({figures['share_continued']:.0%})",
        ),
        ("circles of rooms", len(figures["circles_of_rooms"])),
        ("circles of modules", len(figures["circles_of_modules"])),
        ("circles of modules, imports for types included", len(figures["circles_of_types"])),
        *((f"parameters of `{name}`", count) for name, count in figures["parameters"].items()),
        ("modules that decode a path into images", len(figures["engines"])),
        (
            "numeric constants with a reason beside them",
            f"{len(reasoned)} of {len(reasoned) + len(without)}",
        ),
        ("functions called by a past participle alone", len(figures["participles"])),
    ]
    print_table(("the source", "figure"), rows)


def main() -> None:
    """Read the options, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the package")
    parser.add_argument("--no-walks", action="store_true", help="only read the source")
    parser.add_argument("--json", action="store_true", help="one object with all names")
    options = parser.parse_args()
    source = options.source.resolve()
    sys.path.insert(0, str(source.parent))  # the package beside this file, whatever is installed
    figures = read_figures(source)
    if EXTENDING.is_file():
        figures["examples"] = example_lengths(EXTENDING.read_text(encoding="utf-8"))
    if not options.no_walks:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        with contextlib.redirect_stdout(sys.stderr):  # what the shell command says is no table
            figures["walks"] = {name: asdict(walk) for name, walk in run_walks(source).items()}
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    print_figures(figures)
    if examples := figures.get("examples"):
        print_table(("example of docs/extending.md", "lines"), examples.items())
    if walks := figures.get("walks"):
        rows = ((name, *walk.values()) for name, walk in walks.items())
        print_table(("a call", "files to open", "rooms", "their lines"), rows)


if __name__ == "__main__":
    main()
