"""Command lines of the documentation against the real commands: none is run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import click

from humanst.cli import humanst
from stamp_train.cli import stamp_train

# Types of values that say nothing of files.
PLAIN = (click.Choice, type(click.INT), type(click.FLOAT), type(click.BOOL))
PROGRAMS: dict[str, click.Group] = {"humanst": humanst, "stamp-train": stamp_train}


@dataclass
class Line:
    """A shell line: settings, program, arguments, and the file its output goes to."""

    settings: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    output: str | None = None

    @property
    def program(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def is_ours(self) -> bool:
        return self.program in PROGRAMS


def split_line(line: str) -> Line:
    """Take a line apart as a shell does; of what a shell can, only settings and ``> FILE``."""
    words, found = shlex.split(line, comments=True), Line()
    while words and "=" in words[0] and words[0].split("=")[0].isidentifier():
        name, _, value = words.pop(0).partition("=")
        found.settings[name] = value
    if len(words) > 2 and words[-2] == ">":
        found.output = words[-1]
        words = words[:-2]
    if words[:1] == ["python"] and words[1:3] == ["-m", "stamp_train"]:
        words = ["stamp-train", *words[3:]]
    if words[:1] == ["torchrun"] and "stamp_train" in words:
        words = ["stamp-train", *words[words.index("stamp_train") + 1 :]]
    found.words = words
    return found


def resolve(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """The command that the words name, and its arguments.

    Raises
    ------
    click.UsageError
        When there is no such command, or an option of a group is unknown.
    """
    command: click.Command = PROGRAMS[words[0]]
    context = click.Context(command, info_name=words[0])
    rest = words[1:]
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(args=rest)
        _, child, rest = command.resolve_command(context, rest)
        assert child is not None
        context = click.Context(child, info_name=child.name, parent=context)
        command = child
    return command, context, rest


def parse(words: list[str]) -> None:
    """Parse words as click would, but for what is said of files: they are not there.

    Raises
    ------
    click.UsageError
        For an unknown command or option, a value of the wrong kind, an argument too few or too many.
    """
    if words[1:] in (["--help"], ["--version"]):
        return
    command, context, rest = resolve(words)
    values, left, order = command.make_parser(context).parse_args(args=list(rest))
    for parameter in click.core.iter_params_for_processing(order, command.get_params(context)):
        value = values.get(parameter.name or "")
        missing = value is None or value == () or type(value).__name__ == "Sentinel" or str(value) == "Sentinel.UNSET"
        if missing:
            needs = parameter.required and parameter.resolve_envvar_value(context) is None
            if needs:
                raise click.MissingParameter(ctx=context, param=parameter)
            continue
        if isinstance(parameter.type, PLAIN):
            parameter.type_cast_value(context, value)
    if left and not context.allow_extra_args:
        raise click.UsageError(f"one argument too many: {' '.join(left)}")


def options_of(words: list[str]) -> set[str]:
    """Names of all options of a command, and of those above it."""
    _, context, _ = resolve([word for word in words if not word.startswith("-")])
    above: click.Context | None = context
    found: set[str] = set()
    while above is not None:
        for parameter in above.command.get_params(above):
            found |= {*parameter.opts, *parameter.secondary_opts}
        above = above.parent
    return found
