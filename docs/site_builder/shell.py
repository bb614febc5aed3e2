"""The reference of the shell: every verb with its arguments and options, as ``--help`` tells them."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from typer.models import ArgumentInfo

from napari_why.cli import VERBS
from napari_why.cli.application import with_options
from site_builder.api import replace_text, write_number


def write_shell(generated: Path) -> None:
    """Write ``shell.md``."""
    lines = [
        "# The shell",
        "",
        "`napari-why VERB --help` tells the same in a terminal. Options of a method or network stand under its name.",
        "",
    ]
    for verb in VERBS:
        command = with_options(verb.function, verb.further())
        lines += [f"## {verb.name}", "", command.__doc__ or "", ""]
        lines += [*_usage(verb.name, command), ""]
        for panel, rows in _panels(command).items():
            lines += [f"**{panel}**", "", *rows, ""]
    replace_text(generated / "shell.md", "\n".join(lines))


def _usage(name: str, command: Callable[..., None]) -> list[str]:
    words = [
        _info(item).metavar or item.name.upper()
        for item in inspect.signature(command).parameters.values()
        if isinstance(_info(item), ArgumentInfo)
    ]
    return ["```text", " ".join(["napari-why", name, *words, "[OPTIONS]"]), "```"]


def _info(item: inspect.Parameter) -> Any:
    """Return what typer is told of a parameter."""
    return get_args(item.annotation)[1]


def _panels(command: Callable[..., None]) -> dict[str, list[str]]:
    """Return a line for each argument and option, by the panel that the help shows it in."""
    found: dict[str, list[str]] = {}
    for item in inspect.signature(command).parameters.values():
        own = "Arguments" if isinstance(_info(item), ArgumentInfo) else "Options"
        found.setdefault(_info(item).rich_help_panel or own, []).append(_row(item))
    return found


def _row(item: inspect.Parameter) -> str:
    info, kind = _info(item), _kind(item)
    needed = item.default is inspect.Parameter.empty
    if isinstance(info, ArgumentInfo):
        spelled, facts = f"`{info.metavar or item.name.upper()}`", []
    else:
        spelled = ", ".join(f"`{name}`" for name in _spellings(item, kind))
        facts = [*_values(kind, info), *(["required"] if needed else [])]
    shown = info.show_default and not needed and item.default not in (None, False, True, "")
    default = f" Default: `{item.default}`." if shown else ""
    return f"- {spelled}{_in_brackets(facts)}: {_escape(info.help or '')}{default}"


def _kind(item: inspect.Parameter) -> Any:
    """Return the type of a parameter's values, without the None of one that may be left out."""
    kind = get_args(item.annotation)[0]
    parts = [part for part in get_args(kind) if part is not NoneType]
    return parts[0] if NoneType in get_args(kind) else kind


def _spellings(item: inspect.Parameter, kind: Any) -> list[str]:
    info, dashed = _info(item), item.name.replace("_", "-")
    # typer keeps the first one where a default would stand, were the option no annotation
    first = [info.default] if isinstance(info.default, str) else []
    declared = [part for text in (*first, *(info.param_decls or ())) for part in text.split("/")]
    on_and_off = [f"--{dashed}", f"--no-{dashed}"] if kind is bool else [f"--{dashed}"]
    return declared or on_and_off


def _values(kind: Any, info: Any) -> list[str]:
    """Return which values an option takes, in words; nothing of one that is on or off."""
    if kind is bool:
        return []
    if get_origin(kind) is Literal:
        return [" or ".join(f"`{choice}`" for choice in get_args(kind))]
    if info.metavar:
        return [f"`{info.metavar}`"]
    name = {"int": "a whole number", "float": "a number", "str": "text", "Path": "a path"}
    words = name.get(getattr(kind, "__name__", ""), "values")
    limits = [write_number(limit) for limit in (info.min, info.max) if limit is not None]
    if len(limits) == 2:
        return [f"{words} from {' to '.join(limits)}"]
    return [f"{words} from {limits[0]}" if limits and info.min is not None else words]


def _in_brackets(facts: Sequence[str]) -> str:
    return f" ({', '.join(facts)})" if facts else ""


def _escape(text: str) -> str:
    """Return a sentence as Markdown shows it: what stands in angle brackets is no tag."""
    return " ".join(text.replace("<", "&lt;").replace("*", r"\*").replace("[", r"\[").split())
