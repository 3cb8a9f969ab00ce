"""`refold command`: let a store decide and remember, from any language."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from itertools import starmap
from textwrap import fill
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from refold.domain.errors import BadInput, Conflict, Refused, Unavailable
from refold.infrastructure import commands
from refold.infrastructure.codec import canonical, parse
from refold.infrastructure.requests.catalog import REQUESTS
from refold.infrastructure.store import Store
from refold.scripts import options, output, stdin


def _fields(name: str, model: type[BaseModel]) -> str:
    """Return a line about a command, or more where it has many fields."""
    listed = ", ".join(model.model_fields)
    return fill(f"{name:<23}{listed}", width=76, subsequent_indent=" " * 23)


HELP = """Carry out a command; its fields are a JSON object on stdin.

With the same --command-id a command is done once, however often it is asked for. With --expected
it is done only if its stream is at that version. With --lines, stdin is one {"name", "data",
"command_id"?, "expected"?, "actor"?} a line, and stdout one outcome a line, refusals included.

\b
{commands}

Example: echo '{"sha256": "2cf24dba…", "code": 3}' | refold command file.ban
""".replace(
    "{commands}",
    "\n".join(starmap(_fields, REQUESTS.items())),
)


def command(
    name: Annotated[str | None, typer.Argument(help="Which command.", show_default=False)] = None,
    command_id: Annotated[
        str | None, typer.Option(help="The command's id [default: a new one].")
    ] = None,
    expected: Annotated[
        int | None, typer.Option(help="The version that the stream must be at.")
    ] = None,
    actor: Annotated[str, typer.Option(help="Who asks; kept with the events.")] = "refold",
    lines: Annotated[bool, typer.Option("--lines", help="JSON lines in and out.")] = False,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    if lines == bool(name):
        raise typer.BadParameter("give either NAME or --lines")
    if lines and not (command_id is None and expected is None):
        option = "--expected" if command_id is None else "--command-id"
        raise typer.BadParameter(f"{option} is for one command; a line has its own")
    with options.opened(store, config) as opened:
        try:
            if lines:
                _run_lines(opened, actor)
            else:
                data = _object(stdin.whole(), "stdin")
                _run_one(opened, name or "", data, command_id, expected, actor, json=json)
        finally:
            opened.folder.catch_up()


command.__doc__ = HELP


def _run_one(
    store: Store,
    name: str,
    data: Mapping[str, Any],
    command_id: str | None,
    expected: int | None,
    actor: str,
    *,
    json: bool,
) -> None:
    command_id = _or_new(command_id)
    done = commands.run(store, name, data, command_id=command_id, actor=actor, expected=expected)
    if json:
        output.document(asdict(done))
    else:
        print(f"{done.outcome}: {done.stream} at version {done.version}, position {done.position}")


def _run_lines(store: Store, actor: str) -> None:
    for number, line in enumerate(stdin.lines(), 1):
        if line.strip():
            answer = _answer(store, line, number, actor)
            sys.stdout.buffer.write(canonical(answer) + b"\n")
            sys.stdout.buffer.flush()
            if answer["outcome"] == "unavailable":
                raise Unavailable(answer["message"])


_FAILURES = {Refused: "refused", Conflict: "conflict", Unavailable: "unavailable"}


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    data: dict[str, Any] = {}
    command_id: str | None = None
    expected: int | None = None
    actor: str | None = None


def _answer(store: Store, text: bytes, number: int, actor: str) -> dict[str, Any]:
    """Return the outcome of one line; a refusal is an answer like others."""
    command_id = None
    try:
        line = _line(_object(text, f"line {number}"), number)
        command_id = _or_new(line.command_id)
        done = commands.run(
            store,
            line.name,
            line.data,
            command_id=command_id,
            actor=actor if line.actor is None else line.actor,
            expected=line.expected,
        )
    except (Refused, Conflict, Unavailable) as failure:
        outcome = next(word for kind, word in _FAILURES.items() if isinstance(failure, kind))
        error = {"error": type(failure).__name__, "message": str(failure)}
        return {"command_id": command_id, "outcome": outcome, **error}
    return {"command_id": command_id, **asdict(done)}


def _or_new(command_id: str | None) -> str:
    """Return the id that was given, be it empty, or a new one when none was."""
    return uuid4().hex if command_id is None else command_id


def _line(fields: Mapping[str, Any], number: int) -> _Line:
    try:
        return _Line.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInput(f"line {number}: {first['loc'][0]}: {first['msg']}") from None


def _object(text: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = parse(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{what} is not a JSON object")
    return value
