"""Writes users, repositories, pushes and migrations as git-proxy keeps them."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa

from refold.domain import push
from refold.domain.sealing import Sealed
from refold.infrastructure import push_documents
from refold.infrastructure.legacy.git_proxy.documents import Document
from refold.infrastructure.legacy.git_proxy.writing import write_mongoexport, write_nedb
from refold.infrastructure.requests import users as requests
from refold.infrastructure.services.repos import list_repos
from refold.infrastructure.store import Store
from refold.projections import applied_migrations, pushes, users

Format = Literal["nedb", "mongoexport"]
WRITERS: Final = {"nedb": write_nedb, "mongoexport": write_mongoexport}


def export_git_proxy(store: Store, folder: Path, format: Format = "nedb") -> dict[str, int]:
    """Write git-proxy's files into `folder`; return how many documents are in each.

    They hold the hashes of passwords: only their owner can read them. Sessions stay here. Raises
    `NotLoadable` for users whom git-proxy would not take, `BadInput` for a folder that cannot be
    written to.
    """
    store.folder.catch_up()
    documents: Iterable[tuple[str, str, dict[str, Any]]] = (
        each for part in (_users, _repos, _pushes, _migrations) for each in part(store)
    )
    return WRITERS[format](
        folder,
        (Document(collection, id, data, "", 0, "") for collection, id, data in documents),
    )


def _users(store: Store) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for (stream,) in _rows(store, users.NAME, "id", order=("first_position", "id")):
        found = requests.state(store.history(f"user-{stream}"))
        data = {**found.profile, "publicKeys": list(found.keys.values())}
        if isinstance(found.password, Sealed):
            data["password"] = store.vault.open(found.password)
        yield "users", found.id, data


def _repos(store: Store) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for found in list_repos(store, {}):
        data = {name: found[name] for name in found if name not in (*_COMPUTED, "_id")}
        yield "repos", found["_id"], data


_COMPUTED: Final = ("activity", "latestPushAtMs", "latestPendingReviewAtMs")


def _pushes(store: Store) -> Iterator[tuple[str, str, dict[str, Any]]]:
    columns = pushes.Row._fields
    for row in _rows(store, pushes.NAME, *columns, order=("first_position", "stream")):
        view = pushes.view_of(pushes.Row._make(row))
        whole = push_documents.restore(view.document, view.blobs, store.blobs.get)
        yield "pushes", _push_id(push.id_of(whole)), whole


def _push_id(id: str) -> str:
    """Return what stands for a database's own `_id`, which is not kept: the same every time."""
    return sha256(id.encode(errors="surrogatepass")).hexdigest()[:24]


def _migrations(store: Store) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for (id,) in _rows(store, applied_migrations.NAME, "id", order=("id",)):
        yield "migrations", _push_id(id), {"id": id}


def _rows(store: Store, name: str, *columns: str, order: tuple[str, ...]) -> Iterator[Any]:
    with store.tables.reading() as connection:
        table = store.tables.current(connection)[name].table
        query = sa.select(*(table.c[each] for each in columns))
        query = query.order_by(*(table.c[each] for each in order))
        yield from connection.execution_options(yield_per=100).execute(query)
