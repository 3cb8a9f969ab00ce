"""Pushes of git-proxy, made up: the same ones for the same seed, on every machine.

Each is about 1.2 kB of JSON, a small push of one commit with the step that it ended in; a whole one
about 9 kB, with all its steps, a diff among them. Four in ten are approved, two wait, the others
were rejected, canceled or failed.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1, sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import immediate
from refold.infrastructure.store import Store
from refold.projections.pushes import NAME
from refold.scripts.measure import raw
from refold.scripts.measure.site import Site

BEGINNING: Final = 1_750_000_000_000
"""When the first one was pushed, in ms since 1970 UTC; each further one comes 41 s later."""

FLAGS: Final = ("error", "blocked", "allowPush", "authorised", "canceled", "rejected")

_STATUSES: Final = {
    "approved": ("blocked", "authorised"),
    "pending": ("blocked",),
    "rejected": ("blocked", "rejected"),
    "canceled": ("blocked", "canceled"),
    "error": ("error",),
}
_SHARES: Final = (4, 2, 2, 1, 1)
_REPOS: Final = "api billing docs gateway infra kernel ledger mobile parser portal search web"
_VERBS: Final = "Add Document Fix Move Remove Rename Speed Test Update"
_PARTS: Final = "cache client config index limits logs parser queue retries schema session"


STEPS: Final = (
    *("parsePush", "checkRepoInAuthorisedList", "checkCommitMessages", "checkAuthorEmails"),
    *("checkUserPushPermission", "pullRemote", "writePack", "checkHiddenCommits", "preReceive"),
    *("getDiff", "gitleaks", "scanDiff", "clearBareClone"),
)
"""What a push goes through before it waits."""

DIFF_LINES: Final = 70


def documents(seed: int = 5, *, whole: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the documents of pushes, without an end and without their `_id`."""
    random = Random(seed)  # noqa: S311 - the same pushes every time are the point
    repos, verbs, parts = _REPOS.split(), _VERBS.split(), _PARTS.split()
    last = dict.fromkeys(repos, "0" * 40)
    number = 0
    while True:
        number += 1
        repo, name = random.choice(repos), f"dev-{random.randrange(400):03}"
        [status] = random.choices(tuple(_STATUSES), _SHARES)
        before, last[repo] = last[repo], sha1(f"{seed} {number}".encode()).hexdigest()  # noqa: S324
        message = f"{random.choice(verbs)} the {random.choice(parts)} of {repo} ({number})"
        document = _document(number, status, repo, name, message, before, last[repo])
        if whole:
            document["steps"][:0] = _steps(random, document)
        yield document


def _document(
    number: int, status: str, repo: str, name: str, message: str, before: str, after: str
) -> dict[str, Any]:
    url, email = f"https://github.com/team-{repo}/{repo}.git", f"{name}@example.org"
    time = BEGINNING + number * 41_000
    step = {
        "id": sha256(after.encode()).hexdigest()[:32],
        "stepName": "checkIfWaitingAuth",
        "logs": [f"checkUserPushPermission - User {email} is allowed to push on repo {url}"],
        "content": None,
        "error": status == "error",
        "blocked": False,
    }
    commit = {
        "tree": sha1(f"tree {after}".encode()).hexdigest(),  # noqa: S324 - what git names it
        "parent": before,
        "author": name,
        "authorEmail": email,
        "committer": name,
        "commitTimestamp": str(time // 1_000 - 60),
        "message": message,
    }
    return {
        "id": f"{before}__{after}",
        "type": "push",
        "method": "POST",
        "timestamp": time,
        "project": f"team-{repo}",
        "repoName": f"{repo}.git",
        "url": url,
        "repo": f"team-{repo}/{repo}.git",
        "branch": "refs/heads/main",
        "user": name,
        "userEmail": email,
        "commitFrom": before,
        "commitTo": after,
        **{flag: flag in _STATUSES[status] for flag in FLAGS},
        "commitData": [commit],
        "steps": [step],
    }


def _steps(random: Random, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a push, each with a line of its log, one with the diff as its content."""
    words = f"{_VERBS} {_PARTS} {_REPOS}".lower().split()
    for number, step in enumerate(STEPS):
        said = f"{step} - {document['repo']}, {document['userEmail']}: {' '.join(words[number:])}"
        yield {
            "id": f"{random.getrandbits(128):032x}",
            "stepName": step,
            "logs": [said],
            "content": _diff(random, words) if step == "getDiff" else None,
            "error": False,
            "errorMessage": None,
            "blocked": False,
            "blockedMessage": None,
        }


def _diff(random: Random, words: Sequence[str]) -> str:
    lines = [f"+    {' '.join(random.choices(words, k=6))}\n" for _ in range(DIFF_LINES)]
    return f"diff --git a/main.py b/main.py\n@@ -1,0 +1,{DIFF_LINES} @@\n{''.join(lines)}"


def write_pushes_db(path: Path, records: int, *, whole: bool = False) -> None:
    """Write a pushes.db of NeDB with that many records."""
    with path.open("w") as file:
        for number, document in enumerate(islice(documents(whole=whole), records), 1):
            line = {**document, "_id": f"{number:016}"}
            file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")


# --- stores ----------------------------------------------------------------------

TABLE: Final = f"{NAME}_1"
"""Where a new store keeps the rows of pushes."""


class Engine(NamedTuple):
    """A new store, and what its database does with the same rows past refold.

    `select` answers a query of the table `pushes`; `copy` inserts the events and the rows of pushes
    into tables with the same indexes.
    """

    store: Store
    select: Callable[[str], Sequence[tuple[Any, ...]]]
    copy: Callable[[], None]


@contextmanager
def in_sqlite(site: Site) -> Iterator[Engine]:
    """Give a new store in SQLite."""
    folder = site.new_folder()
    path = folder / "pushes.db"
    with open_store(f"sqlite:///{path}", create=True) as store:
        tables = path.with_name(f"{path.name}-tables")
        with raw.opened(folder / "reference.db", log=path, tables=tables) as server:
            yield Engine(
                store, lambda query: server.execute(query).fetchall(), lambda: _copy(server)
            )


def _copy(server: sqlite3.Connection) -> None:
    with immediate(server):
        for place, table in ("log", "events"), ("tables", TABLE):
            raw.declare(server, place, table)
            raw.index(server, place, table)
            raw.copy(server, place, table)


@contextmanager
def in_postgres(site: Site) -> Iterator[Engine]:
    """Give a new store in PostgreSQL."""
    with (
        site.database() as url,
        open_store(url, create=True) as store,
        site.connect(url) as server,
    ):
        server.execute("SET search_path = refold")

        def copy() -> None:
            with server.transaction():
                for table in "events", TABLE:
                    there, here = f"refold.{table}", f"reference.{table}"
                    server.execute(f"CREATE TABLE {here} (LIKE {there} INCLUDING ALL)".encode())
                    server.execute(f"INSERT INTO {here} SELECT * FROM {there}".encode())

        yield Engine(store, lambda query: server.execute(query.encode()).fetchall(), copy)
