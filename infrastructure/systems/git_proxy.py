"""git-proxy's sink: what its own databases do, with nothing lost.

Documents are JSON objects as git-proxy has them. Where its backends differ, this one does what is
right by its contract: see DECISIONS.md. Each change is a command; give `command_id` to try one
again safely.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import takewhile
from operator import eq
from typing import Any, Final
from uuid import uuid4

from refold.domain import push, repo, streams, times, user
from refold.domain.errors import BadInput, Claimed, Refused
from refold.domain.texts import IllFormedText
from refold.infrastructure.commands import carry_out, parse
from refold.infrastructure.requests.request import Request
from refold.infrastructure.requests.together import Together
from refold.infrastructure.services import migrations, pushes, repos, users
from refold.infrastructure.store import Store

Json = dict[str, Any]


class DuplicateSSHKeyError(Refused):
    """A public key belongs to one user."""


class UserExists(Refused):
    """A name or an address belongs to one user."""


class Sink:
    """What git-proxy asks of its database; safe for many threads and processes."""

    def __init__(self, store: Store, *, actor: str = "git-proxy") -> None:
        self._store, self._actor = store, actor

    def _run(self, command_id: str | None, name: str, **fields: object) -> None:
        self._carry_out(command_id, parse(name, fields))

    def _carry_out(self, command_id: str | None, request: Request, *others: Request) -> None:
        asked = Together(request, others) if others else request
        carry_out(self._store, asked, command_id=command_id or uuid4().hex, actor=self._actor)

    # --- pushes -------------------------------------------------------------------

    def get_pushes(self, query: Mapping[str, object] | None = None) -> list[Json]:
        """Return summaries of the pushes that have all fields of `query`, newest first.

        Without a query those that wait for a review. See `pushes.list_pushes`.
        """
        return pushes.list_pushes(self._store, query)

    def get_pushes_for_user_profile(self, emails: Collection[str], username: str) -> list[Json]:
        """Return summaries of the pushes that somebody made or reviewed, newest first."""
        return pushes.list_pushes_of_user(self._store, username, emails)

    def get_push(self, id: str) -> Json | None:
        """Return the whole document of a push, by any of its ids; None when there is none."""
        try:
            return pushes.show_push(self._store, id)
        except (push.UnknownPush, IllFormedText):
            return None

    def write_audit(self, action: Json, *, command_id: str | None = None) -> None:
        """Keep what was audited. Raises `InvalidId` for an id that is no text.

        An authorised push that comes again without an error stays as it was stored.
        """
        self._run(command_id, "push.record", document=action)

    def delete_push(self, id: str, *, command_id: str | None = None) -> None:
        """Forget a push; there being none is no error, whatever the id looks like."""
        with suppress(IllFormedText):
            self._run(command_id, "push.delete", id=id)

    def authorise(
        self, id: str, attestation: Json | None = None, *, command_id: str | None = None
    ) -> Json:
        """Approve a push. Raises `UnknownPush`, as do the others."""
        self._run(command_id, "push.authorise", id=id, attestation=attestation)
        return {"message": f"authorised {id}"}

    def reject(self, id: str, rejection: Json, *, command_id: str | None = None) -> Json:
        """Reject a push; what was attested before stays."""
        self._run(command_id, "push.reject", id=id, rejection=rejection)
        return {"message": f"reject {id}"}

    def cancel(self, id: str, *, command_id: str | None = None) -> Json:
        """Cancel a push."""
        self._run(command_id, "push.cancel", id=id)
        return {"message": f"canceled {id}"}

    def can_user_cancel_push(self, id: str, username: str) -> bool:
        """Tell whether somebody may push to the repository of a push, or approve there."""
        return self._has_role(id, username, ("canPush", "canAuthorise"))

    def can_user_approve_reject_push(self, id: str, username: str) -> bool:
        """Tell whether somebody may approve in the repository of a push."""
        return self._has_role(id, username, ("canAuthorise",))

    def _has_role(self, id: str, username: str, roles: Collection[str]) -> bool:
        url = (self.get_push(id) or {}).get("url")
        found = self.get_repo_by_url(url) if isinstance(url, str) else None
        return found is not None and any(username.lower() in found["users"][role] for role in roles)

    # --- repositories -------------------------------------------------------------

    def get_repos(self, query: Mapping[str, object] | None = None) -> list[Json]:
        """Return the repositories that have all fields of `query`, with their activity."""
        return repos.list_repos(self._store, query)

    def get_repo(self, name: str) -> Json | None:
        """Return the repository of that name, in any case; None when there is none."""
        return repos.find_repo(self._store, name=name)

    def get_repo_by_url(self, url: str) -> Json | None:
        """Return the repository with exactly that url; None when there is none."""
        return repos.find_repo(self._store, url=url)

    def get_repo_by_id(self, id: str) -> Json | None:
        """Return the repository with that `_id`; None for an id that nobody has, or could."""
        return repos.show_repo(self._store, id)

    def create_repo(self, document: Json, *, command_id: str | None = None) -> Json:
        """Make a repository known and return it, with its `_id`. Raises `Claimed` for its url."""
        _check_object(document)
        id = document.get("_id") or _new_id(command_id)
        register = parse("repo.register", {"id": id, "document": _fields(document)})
        self._carry_out(command_id, register, *_roles(id, {}, _users(document)))
        found = self.get_repo_by_id(id)
        if found is None:
            raise repo.UnknownRepo(f"Repo not found: {id} was removed at once")
        return found

    def update_repo(
        self, document: Json, *, unset: Collection[str] = (), command_id: str | None = None
    ) -> None:
        """Set the fields of a repository, named by its `_id`, and let those in `unset` go.

        Its `users`, where they are given, replace those who had a role. An unknown repository, or
        nothing to set, is no error. Raises `Claimed` for a url.
        """
        _check_object(document)
        id = document.get("_id")
        if not isinstance(id, str):
            raise BadInput("a repo is updated by its _id")
        known = self.get_repo_by_id(id)
        if known:
            fields = {"id": id, "fields": _fields(document), "unset": list(unset)}
            roles = _roles(id, known["users"], _users(document))
            self._carry_out(command_id, parse("repo.change", fields), *roles)

    def add_user_can_push(self, id: str, username: str) -> None:
        """Let somebody push. Raises `UnknownRepo`, as do the three others."""
        self._run(None, "repo.grant", id=id, role="canPush", username=username)

    def add_user_can_authorise(self, id: str, username: str) -> None:
        """Let somebody approve."""
        self._run(None, "repo.grant", id=id, role="canAuthorise", username=username)

    def remove_user_can_push(self, id: str, username: str) -> None:
        """Let somebody push no more; who could not is a modification, too."""
        self._run(None, "repo.revoke", id=id, role="canPush", username=username)

    def remove_user_can_authorise(self, id: str, username: str) -> None:
        """Let somebody approve no more."""
        self._run(None, "repo.revoke", id=id, role="canAuthorise", username=username)

    def delete_repo(self, id: str) -> None:
        """Forget a repository; there being none is no error, whatever the id looks like."""
        with suppress(IllFormedText):
            self._run(None, "repo.remove", id=id)

    def is_user_push_allowed(self, url: str, username: str) -> bool:
        """Tell whether somebody may push to a url, or approve there."""
        return repos.is_user_push_allowed(self._store, url, username)

    # --- users --------------------------------------------------------------------

    def find_user(self, username: str) -> Json | None:
        """Return a user by name, in any case; None for nobody. No document has a password."""
        return users.find_user(self._store, username=username)

    def find_user_by_email(self, email: str) -> Json | None:
        """Return a user by address, in any case: whoever has one that is claimed alike."""
        return users.find_user(self._store, email=email)

    def find_user_by_oidc(self, oidc_id: str) -> Json | None:
        """Return a user by the identity provider's subject."""
        return users.find_user(self._store, oidc_id=oidc_id)

    def find_user_by_git_account(self, account: str) -> Json | None:
        """Return the first user with an account at the git host, in any case."""
        return users.find_user_by_git_account(self._store, account)

    def find_user_by_ssh_key(self, key: str) -> Json | None:
        """Return a user by a public key or its fingerprint."""
        return users.find_user(self._store, public_key=key)

    def get_users(self, query: Mapping[str, object] | None = None) -> list[Json]:
        """Return the users that have all fields of `query`, in the order of `users.list_users`."""
        return list(users.list_users(self._store, query))

    def verify_password(self, username: str, password: str) -> bool:
        """Tell whether that is the user's password."""
        return users.verify_password(self._store, password, username=username)

    def create_user(self, document: Json, *, command_id: str | None = None) -> Json:
        """Make a user known, with `password` as a hash, and return it with its `_id`.

        Raises `user.EmptyField`, `UserExists` and `DuplicateSSHKeyError`.
        """
        _check_object(document)
        for name in ("username", "gitAccount", "email"):
            value = document.get(name)
            if not (value.strip() if isinstance(value, str) else value):
                raise user.EmptyField(f"{name} cannot be empty")
        id = document.get("_id") or _new_id(command_id)
        self._register(command_id, id, document)
        found = users.show_user(self._store, id)
        if found is None:
            raise user.UnknownUser(f"user {id} was deleted at once")
        return found

    def update_user(
        self, document: Json, *, unset: Collection[str] = (), command_id: str | None = None
    ) -> None:
        """Merge fields into a user, named by `_id` or name, and let those in `unset` go.

        One that is not known is created. `publicKeys`, where they are given, replace those that
        were there. Raises `user.UnknownUser` for a document with neither name nor known `_id`,
        `UserExists` and `DuplicateSSHKeyError`.
        """
        _check_object(document)
        known = self._known(document)
        if known is None:
            if not document.get("username"):
                raise user.UnknownUser("a user is updated by _id or username")
            self._register(command_id, document.get("_id") or _new_id(command_id), document)
            return
        profile, password = _profile(document)
        if document.get("password", "") is None:
            profile["password"] = None
        fields = {"profile": profile, "unset": list(unset), "password_hash": password}
        self._change_user(
            command_id,
            document,
            parse("user.change", {"id": known["_id"], **fields}),
            *_keys(known["_id"], known["publicKeys"], document.get("publicKeys")),
        )

    def delete_user(self, username: str) -> None:
        """Let a user go; roles that they have stay. There being none is no error."""
        if self.find_user(username):
            self._run(None, "user.delete", username=username)

    def add_public_key(self, username: str, record: Json) -> None:
        """Add a key. Raises `user.UnknownUser`, `user.KnownKey` and `DuplicateSSHKeyError`."""
        self._check_user(username)
        request = parse("user.add_key", {"username": username, "record": record})
        try:
            self._change_user(None, {}, request)
        except user.KnownKey:
            raise user.KnownKey("SSH key already exists") from None

    def remove_public_key(self, username: str, fingerprint: str) -> None:
        """Remove a key by its fingerprint; one that is not there is no error."""
        self._check_user(username)
        self._run(None, "user.remove_key", username=username, key=fingerprint)

    def get_public_keys(self, username: str) -> list[Json]:
        """Return a user's keys in the order they were added."""
        keys: list[Json] = self._check_user(username)["publicKeys"]
        return keys

    def _check_user(self, username: str) -> Json:
        found = self.find_user(username)
        if found is None:
            raise user.UnknownUser("User not found")
        return found

    def _known(self, document: Json) -> Json | None:
        """Return the user that a document is of."""
        id, name = document.get("_id"), document.get("username")
        found = users.show_user(self._store, id) if isinstance(id, str) and id else None
        return found or (self.find_user(name) if isinstance(name, str) else None)

    def _register(self, command_id: str | None, id: str, document: Json) -> None:
        profile, password = _profile(document)
        fields = {"id": id, "profile": profile, "password_hash": password}
        keys = _keys(id, (), document.get("publicKeys"))
        try:
            self._change_user(command_id, document, parse("user.register", fields), *keys)
        except (UserExists, DuplicateSSHKeyError, user.KnownUser):
            if self.find_user(document.get("username") or ""):  # what git-proxy looks at first
                raise _name_exists(document) from None
            raise

    def _change_user(self, command_id: str | None, document: Json, *requests: Request) -> None:
        try:
            self._carry_out(command_id, *requests)
        except Claimed as taken:
            raise self._exists(taken, document) from taken

    def _exists(self, taken: Claimed, document: Json) -> Refused:
        """Return what git-proxy says of a user's field that is another's."""
        if taken.kind == user.PUBLIC_KEY:
            holder = users.show_user(self._store, streams.family_key(taken.holder)) or {}
            name = holder.get("username", taken.holder)
            return DuplicateSSHKeyError(f"SSH key already in use by user '{name}'")
        if taken.kind == user.NAME:
            return _name_exists(document)
        if taken.kind == user.EMAIL:
            return UserExists(f"A user with email {str(document['email']).lower()} already exists")
        return UserExists(str(taken))

    # --- migrations ---------------------------------------------------------------

    def get_applied_migrations(self) -> list[str]:
        """Return the ids of the data migrations that were run, in order."""
        return migrations.applied(self._store)

    def record_migration(self, id: str) -> None:
        """Note that a migration was run; once is enough."""
        self._run(None, "migration.record", id=id)

    def unrecord_migration(self, id: str) -> None:
        """Note that a migration was taken back; one that was not run is no error."""
        self._run(None, "migration.revert", id=id)

    def derive_created_at(self, id: str) -> str | None:
        """Return the time in an ObjectId, as ISO text; None for an id that has none."""
        since = int(id[:8], 16) if _OBJECT_ID.fullmatch(id) else 0
        return times.text(since * 1_000_000) if since else None


_OBJECT_ID: Final = re.compile("[0-9a-fA-F]{24}")


def _new_id(command_id: str | None) -> str:
    """Return an id that MongoDB takes for its own, but with no time in it.

    It is a new one, or the command's own, so that it can be tried again.
    """
    return "0" * 8 + sha256((command_id or uuid4().hex).encode()).hexdigest()[:16]


def _check_object(document: object) -> None:
    if not isinstance(document, Mapping):
        raise BadInput(f"a document is an object, not a {type(document).__name__}")


def _name_exists(document: Json) -> UserExists:
    return UserExists(f"user {str(document['username']).lower()} already exists")


def _fields(document: Json) -> Json:
    """Return the fields of a repository that are set like any other."""
    return {name: document[name] for name in document if name not in ("_id", "users")}


def _profile(document: Json) -> tuple[Json, str | None]:
    """Return the profile and the hash of the password of a user's document."""
    own = ("_id", "password", "publicKeys")
    return {name: document[name] for name in document if name not in own}, document.get("password")


def _keys(id: str, old: Sequence[Json], new: list[Json] | None) -> Iterator[Request]:
    """Yield what makes `new` of a user's `old` keys, in that order; without `new` they stay."""
    if not isinstance(new, list | None):
        raise BadInput("publicKeys of a user is a list of records")
    gone, added = _difference(old, old if new is None else new)
    for record in gone:
        key = record.get("fingerprint") or record["key"]
        yield parse("user.remove_key", {"id": id, "key": key})
    for record in added:
        yield parse("user.add_key", {"id": id, "record": record})


def _users(document: Json) -> dict[str, list[str]]:
    """Return who is to have a role, by roles: null is nobody. Raises `BadInput`."""
    users = document.get("users") or {}
    if not isinstance(users, dict) or not all(isinstance(users[r], list | None) for r in users):
        raise BadInput("users of a repo are lists of names, by role")
    return {role: users[role] or [] for role in users}


def _roles(
    id: str, old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]
) -> Iterator[Request]:
    """Yield what makes `new` of those who had a role, in that order; other roles stay."""
    for role, names in new.items():
        gone, added = _difference(old.get(role, ()), names)
        for request, usernames in (("repo.revoke", gone), ("repo.grant", added)):
            for username in usernames:
                yield parse(request, {"id": id, "role": role, "username": username})


def _difference(old: Sequence[Any], new: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return what goes and what comes, so that `new` stands in its own order."""
    same = sum(1 for _ in takewhile(bool, map(eq, old, new)))
    return old[same:], new[same:]
