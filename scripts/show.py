"""`refold show`: one thing, as the log has it now, or had it at a position or time."""

from dataclasses import asdict
from typing import Annotated

import typer

from refold.infrastructure.services import files, pushes, repos, sessions, users
from refold.scripts import as_of, options, output, stdin

app = typer.Typer(help="Show one thing, as the log has it now, or had it.", no_args_is_help=True)


@app.callback()
def things() -> None:
    """Show one thing, as the log has it now, or had it."""


@app.command()
def file(
    sha256: Annotated[str, typer.Argument(help="SHA-256 of the file.")],
    when: as_of.When = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Show a file with its tags and votes.

    Example: refold show file 2cf24dba… --store sqlite:///files.db --json
    """
    with options.opened_to_read(store, config) as opened, as_of.at(opened, when) as seen:
        shown = asdict(files.show_file(seen, sha256))
    if json:
        output.document(shown)
        return
    tags = shown.pop("tags")
    output.table(
        ("field", "value"), [*shown.items(), *((f"tag {tag}", n) for tag, n in tags.items())]
    )


@app.command()
def push(
    id: Annotated[str, typer.Argument(help="Any id that the push ever had.")],
    when: as_of.When = None,
    store: options.Address = None,
    config: options.Config = None,
    _json: options.AsJson = False,  # it is one document in any case
) -> None:
    """Show a push as git-proxy's document, in JSON, with all its steps and decisions.

    Example: refold show push 0000…__beef… --store sqlite:///pushes.db
    """
    with options.opened_to_read(store, config) as opened, as_of.at(opened, when) as seen:
        output.document(pushes.show_push(seen, id))


@app.command()
def session(
    sid: Annotated[str, typer.Argument(metavar="-", help="Only `-`: the id comes on stdin.")],
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Show a session that lives, or null. Its id is a secret, so it is read from stdin.

    Example: printf %s "$SID" | refold show session - --json
    """
    if sid != "-":
        raise typer.BadParameter("the id of a session is read from stdin: refold show session -")
    given = stdin.whole().decode("utf-8", "surrogateescape")
    with options.opened_to_read(store, config) as opened:
        found = sessions.show_session(opened, given.removesuffix("\n"))
    shown = asdict(found) if found else None
    if json:
        output.document(shown)
    elif shown:
        output.table(("field", "value"), shown.items())
    else:
        output.STDOUT.print("null")


@app.command()
def user(
    id: Annotated[str, typer.Argument(help="Id or user name of the user.")],
    when: as_of.When = None,
    store: options.Address = None,
    config: options.Config = None,
    _json: options.AsJson = False,  # it is one document in any case
) -> None:
    """Show a user as git-proxy's record, in JSON, or null; never with a password.

    With --as-of, a user name is that of who has it now and had it then, too; an id is for ever.

    Example: refold show user ada --store sqlite:///users.db
    """
    with options.opened_to_read(store, config) as opened, as_of.at(opened, when) as seen:
        found = users.show_user(seen, id) or users.find_user(seen, username=id)
        output.document(found)


@app.command()
def repo(
    id: Annotated[str, typer.Argument(help="Id of the repository.")],
    when: as_of.When = None,
    store: options.Address = None,
    config: options.Config = None,
    _json: options.AsJson = False,  # it is one document in any case
) -> None:
    """Show a repository as git-proxy's record, with its users, in JSON, or null.

    Example: refold show repo SxkJ3Vwozv4n5SfL --store sqlite:///repos.db
    """
    with options.opened_to_read(store, config) as opened, as_of.at(opened, when) as seen:
        output.document(repos.show_repo(seen, id))
