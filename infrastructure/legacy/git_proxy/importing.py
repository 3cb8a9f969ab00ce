"""Imports what a git-proxy keeps: users, repositories, pushes, sessions and migrations."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import Any, Final, NamedTuple

from refold.domain import push, repo, streams, times, user
from refold.domain.errors import Refused
from refold.infrastructure import push_documents
from refold.infrastructure.address import Postgres
from refold.infrastructure.codec import canonical
from refold.infrastructure.legacy.git_proxy.documents import Document, Json
from refold.infrastructure.legacy.git_proxy.normalising import (
    is_email,
    normal_email,
    normal_names,
    normal_url,
    orphans,
)
from refold.infrastructure.legacy.git_proxy.reading import Source, open_source
from refold.infrastructure.legacy.importing import Importer, Record, Refusal, Report
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.requests import migrations, pushes, repos, sessions, users
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.store import Store
from refold.infrastructure.systems.express_sessions import owner


def import_git_proxy(
    store: Store,
    paths: Iterable[Path | Postgres],
    *,
    source: str = "git-proxy",
    actor: str = "import",
    progress: Progress = quietly,
) -> Report:
    """Import what `paths` name: see `open_source`, which checks all of it before anything is done.

    What is new or differs from the last import of `source` replaces what was imported; decisions
    that were made here stay. A name, address, key or url that another holds is refused with the
    record. Sessions that have expired are refused too: nobody could use them. Raises `NoVaultKey`
    and `WrongVaultKey` where there is something to seal, before anything is written.
    """
    return import_source(store, open_source(paths), source=source, actor=actor, progress=progress)


def import_source(
    store: Store,
    opened: Source,
    *,
    source: str = "git-proxy",
    actor: str = "import",
    progress: Progress = quietly,
) -> Report:
    """Import a source that was checked; see `import_git_proxy`."""
    importer = Importer(store, source, actor=actor, progress=progress)
    if is_sealed(opened):
        store.vault.check()
    importer.take(_Reading(store, opened))
    return importer.finish()


def is_sealed(source: Source) -> bool:
    """Tell whether there is anything in it that is sealed once it is imported."""
    return any(each.documents for each in source.surveys if each.collection in _SEALED)


_SEALED: Final = ("users", "user_session")


class _Reading:
    """Turns documents into records; permissions are compared with the users that came before."""

    def __init__(self, store: Store, source: Source) -> None:
        self._store, self._source = store, source
        self._collections = {each.file: each.collection for each in source.surveys}
        self._has_users = "users" in self._collections.values()
        self._usernames: set[str] = set()
        self._emails: dict[str, tuple[str, str]] = {}
        self._push_ids: dict[str, int] = {}
        self._now = time_ns() // 1_000

    def __iter__(self) -> Iterator[Record | Refusal]:
        readers = {
            "users": self._user,
            "repos": self._repo,
            "pushes": self._push,
            "user_session": self._session,
            "migrations": self._migration,
        }
        for each in self._source:
            if isinstance(each, Refusal):
                yield each._replace(key=_key(self._collections[each.file], each.key))
                continue
            try:
                yield readers[each.collection](each)
            except Refused as refusal:
                yield Refusal(_key(each.collection, each.id), each.file, each.line, str(refusal))

    def _user(self, each: Document) -> Record:
        data = dict(each.data)
        keys, password = data.pop("publicKeys", None) or [], data.get("password")
        if not _are(dict, keys) or not isinstance(password, str | None):
            raise Refused("its public keys are no list of records, or its password is no text")
        if password is not None:
            data.pop("password")
        profile = user.normal(data)
        name, email = profile.get("username"), profile.get("email")
        if name:
            self._usernames.add(name.strip())
        notes = [*self._notes_on_email(each.id, email), *_notes_on_keys(keys)]
        request = users.ImportUser(each.id, profile, password, keys)
        return self._sealed(each, request, canonical((profile, password, keys)), notes)

    def _notes_on_email(self, id: str, email: str | None) -> Iterator[str]:
        normal = normal_email(email)
        if email is None or not normal:
            yield "it has no e-mail"
            return
        if not is_email(email):
            yield "its e-mail is no address"
        first, as_written = self._emails.setdefault(normal, (id, email))
        if as_written != email:
            yield f"its e-mail differs from that of users {first} in spaces alone"

    def _repo(self, each: Document) -> Record:
        roles = each.data.get("users") or {}
        if not isinstance(roles, Mapping) or not all(_are(str, roles.get(r) or []) for r in _ROLES):
            raise Refused("its users are no lists of names")
        can_push, can_authorise = (normal_names(roles.get(role) or ()) for role in _ROLES)
        document = {name: value for name, value in each.data.items() if name != "users"}
        document["url"] = normal_url(document.get("url"))
        unknown = orphans((*can_push, *can_authorise), self._usernames) if self._has_users else ()
        notes = [f"{name} has a role and is no user" for name in unknown]
        if document["url"] != each.data.get("url"):
            notes.append("its url was written otherwise: it is trimmed now, and ends with .git")
        request = _ImportRepo(each.id, document, can_push, can_authorise)
        digest = sha256(canonical((document, can_push, can_authorise))).hexdigest()
        return _record(each, digest, request, notes)

    def _push(self, each: Document) -> Record:
        id, legacy = push.id_of(each.data), each.data.get("legacyId")
        older = push.checked(legacy) if isinstance(legacy, str) and legacy != id else None
        first = self._push_ids.setdefault(id, each.line)
        if first != each.line:
            raise Refused(f"the id of the push stands already in line {first}")
        is_small = each.size <= push_documents.LONGEST
        request = _ImportPush(self._store, id, older, each.data, is_small)
        return _record(each, each.digest, request)

    def _session(self, each: Document) -> Record:
        expires, said = each.data.get("expires"), each.data.get("session")
        if not isinstance(expires, str):
            raise Refused("the session does not say when it expires")
        if times.micros(expires) <= self._now:
            raise Refused(f"the session has expired: {expires}")
        body = said if isinstance(said, str) else canonical(said).decode()
        request = sessions.SetSession(
            sid=each.id, body=body, expires_at=expires, user=owner(_session(body))
        )
        return self._sealed(each, request, canonical(each.data))

    def _migration(self, each: Document) -> Record:
        id = each.data.get("id")
        if not isinstance(id, str):
            raise Refused("the migration has no id")
        return _record(each, each.digest, migrations.RecordMigration(id=id))

    def _sealed(
        self, each: Document, request: Request, said: bytes, notes: Iterable[str] = ()
    ) -> Record:
        """Return a record whose digest nobody can guess from: what it says is sealed."""
        plain = sha256(said).hexdigest()
        return _record(each, self._store.vault.blind("import", plain), request, notes)


def _notes_on_keys(keys: Sequence[Json]) -> Iterator[str]:
    for fingerprint, keys_of_it in Counter(map(user.key_id, keys)).items():
        if keys_of_it > 1:
            yield f"several of its keys have the fingerprint {fingerprint}: the last one counts"


_ROLES: Final = ("canPush", "canAuthorise")


def _are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _record(each: Document, digest: str, request: Request, notes: Iterable[str] = ()) -> Record:
    key = _key(each.collection, each.id)
    return Record(key, each.file, each.line, digest, None, request, tuple(notes), size=each.size)


def _key(collection: str, id: str) -> str:
    """Return what a report calls a document: the id of a session is a secret."""
    if not id:
        return collection
    if collection == "user_session":
        return "session " + sha256(id.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{collection} {id}"


def _session(body: str) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        raise Refused("what is in the session is no JSON") from None
    if not isinstance(found, Mapping):
        raise Refused("what is in the session is no object")
    return found


# --- requests -------------------------------------------------------------------


class _ImportRepo(NamedTuple):
    id: str
    document: Json
    can_push: Sequence[str]
    can_authorise: Sequence[str]

    def stream(self) -> str:
        return streams.name("repo", self.id)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return repos.claims(values)

    def decide(self, now: Situation) -> Sequence[object]:
        known = repos.state(now.events)
        return repo.import_record(known, self.id, self.document, self.can_push, self.can_authorise)


class _ImportPush(NamedTuple):
    """A push, and the id by which it was known before it was re-keyed, if it was."""

    store: Store
    id: str
    older: str | None
    document: Json
    is_small: bool
    """Whether nothing in it can be big, as with most."""

    def stream(self) -> str:
        return streams.name("push", self.id)

    def found_by(self) -> tuple[str, str]:
        """Return its id, or the older one where that is of the same push, not re-keyed yet."""
        if self.older and not self.store.log.holder(pushes.ID, self.id):
            holder = self.store.log.holder(pushes.ID, self.older)
            if holder and pushes.state(self.store.history(holder)).id in ("", self.older):
                return pushes.ID, self.older
        return pushes.ID, self.id

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return {(pushes.ID, id) for id in push.after(*values).ids}  # type: ignore[arg-type]

    def decide(self, now: Situation) -> Sequence[object]:
        document, blobs = self._cut(now.store)
        known = pushes.state(now.events)
        imported = push.import_record(document, blobs)
        if not self.older or self.older in known.ids or self._is_anothers():
            return imported
        before = {name: value for name, value in document.items() if name != "legacyId"}
        return [
            *push.import_record({**before, "id": self.older}, blobs),
            *push.rekey(known._replace(known=True, id=self.older), self.older, self.id),
        ]

    def _is_anothers(self) -> bool:
        """Tell whether the older id leads to another push, and is to go on doing so."""
        return self.store.log.holder(pushes.ID, self.older or "") is not None

    def _cut(self, store: Store) -> tuple[Json, Mapping[str, str]]:
        """Return the document without what is big in it, which is kept as blobs."""
        if self.is_small:
            return self.document, {}
        document, blobs, contents = push_documents.cut(self.document)
        for content in contents:
            store.blobs.put([content])
        return document, blobs
