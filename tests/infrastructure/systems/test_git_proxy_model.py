"""The Sink beside the simplest git-proxy there can be, three dicts: they never differ."""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from refold.domain.errors import Refused
from refold.infrastructure.open import open_store
from refold.infrastructure.systems.git_proxy import Sink

Json = dict[str, Any]

IDS: Final = st.sampled_from(["p1", "p2", "p3"])
REPOS: Final = st.sampled_from(["r1", "r2", "r3"])
URLS: Final = st.sampled_from(["https://x.y/a.git", "https://x.y/A.git", "https://x.y/b.git"])
NAMES: Final = st.sampled_from(["ada", "Ada", "bob", "carol"])
EMAILS: Final = st.sampled_from(["a@x.y", "A@x.y", "b@x.y", None])
KEYS: Final = st.sampled_from(["ssh-ed25519 AAAA", "ssh-ed25519 AAAB", "ssh-ed25519 AAAC"])
ROLES: Final = st.sampled_from(["canPush", "canAuthorise"])
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
ACTIONS: Final = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["push", "push", "default"]),
        "error": st.booleans(),
        "blocked": st.booleans(),
        "allowPush": st.booleans(),
        "authorised": st.just(False),
        "timestamp": st.sampled_from([1, 2, 2.5, None]),
    },
    optional={"plugin": JSON, "branch": st.text(max_size=3), "steps": st.just([{"n": 1}])},
)
QUERIES: Final = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["push", "default"]),
        "error": st.booleans(),
        "authorised": st.booleans(),
        "rejected": st.booleans(),
        "plugin": JSON,
        "branch": st.text(max_size=3),
    },
)
WAITING: Final = {
    "error": False,
    "blocked": True,
    "allowPush": False,
    "authorised": False,
    "type": "push",
}


class Model:
    """What git-proxy's databases do, where they agree, and where they do not, what is right."""

    def __init__(self) -> None:
        self.pushes: dict[str, Json] = {}
        self.repos: dict[str, Json] = {}
        self.users: dict[str, Json] = {}

    # --- pushes -------------------------------------------------------------------

    def write_audit(self, id: str, action: Json) -> None:
        stored = self.pushes.get(id)
        if stored and stored["authorised"] and not action["error"]:
            stored |= {"allowPush": True, "blocked": False}
        else:
            self.pushes[id] = {"id": id, **action}

    def decide(self, id: str, decision: str, payload: str | None, value: Json | None) -> bool:
        if id not in self.pushes:
            return False
        flags = {name: name == decision for name in ("authorised", "canceled", "rejected")}
        self.pushes[id] |= flags
        if payload:
            self.pushes[id].pop(payload, None)
            self.pushes[id] |= {payload: value} if value is not None else {}
        return True

    def listed(self, query: Mapping[str, object] | None) -> list[str]:
        wanted = WAITING if query is None else query
        found = [
            each
            for each in self.pushes.values()
            if all(name in each and same(each[name], wanted[name]) for name in wanted)
        ]
        return [each["id"] for each in sorted(found, key=by_time)]

    # --- repositories -------------------------------------------------------------

    def create_repo(self, id: str, url: str) -> bool:
        if id in self.repos or any(each["url"] == url for each in self.repos.values()):
            return False
        self.repos[id] = {"url": url, "canPush": [], "canAuthorise": []}
        return True

    def update_repo(self, id: str, url: str) -> bool:
        if any(each["url"] == url for other, each in self.repos.items() if other != id):
            return id not in self.repos
        if id in self.repos:
            self.repos[id]["url"] = url
        return True

    def change_role(self, id: str, role: str, name: str, *, add: bool) -> bool:
        if id not in self.repos:
            return False
        kept = [each for each in self.repos[id][role] if add or each != name.lower()]
        self.repos[id][role] = list(dict.fromkeys([*kept, *[name.lower()] * add]))
        return True

    # --- users --------------------------------------------------------------------

    def create_user(self, name: str, email: str | None) -> bool:
        if not email or name.lower() in self.users or self.holds_email(email):
            return False
        fields = {"gitAccount": name, "email": email.lower(), "publicKeys": []}
        self.users[name.lower()] = {"username": name.lower(), **fields}
        return True

    def update_user(self, name: str, email: str | None) -> bool:
        if email and self.holds_email(email, but=name.lower()):
            return False
        fields = {"username": name.lower(), "email": email.lower() if email else None}
        self.users.setdefault(name.lower(), {"publicKeys": []}).update(fields)
        return True

    def holds_email(self, email: str, but: str = "") -> bool:
        others = [each for name, each in self.users.items() if name != but]
        return any(each["email"] == email.lower() for each in others)

    def add_key(self, name: str, key: str) -> bool:
        if name.lower() not in self.users:
            return False
        if any(each["key"] == key for user in self.users.values() for each in user["publicKeys"]):
            return False
        self.users[name.lower()]["publicKeys"].append({"key": key, "fingerprint": fingerprint(key)})
        return True

    def remove_key(self, name: str, key: str) -> bool:
        user = self.users.get(name.lower())
        if user is None:
            return False
        user["publicKeys"] = [each for each in user["publicKeys"] if each["key"] != key]
        return True


class SinkAndModel(RuleBasedStateMachine):
    """Drive a Sink and the model side by side; both refuse, or neither."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink, self.model = sink, Model()

    def did(self, ask: str, *arguments: object) -> bool:
        """Tell whether the Sink does what it is asked, or refuses."""
        try:
            getattr(self.sink, ask)(*arguments)
        except Refused:
            return False
        return True

    @rule(id=IDS, action=ACTIONS)
    def write_audit(self, id: str, action: Json) -> None:
        self.sink.write_audit({"id": id, **action, "_id": "a database's own"})
        self.model.write_audit(id, action)

    @rule(id=IDS, attestation=st.none() | st.just({"answers": []}))
    def authorise(self, id: str, attestation: Json | None) -> None:
        expected = self.model.decide(id, "authorised", "attestation", attestation)
        assert self.did("authorise", id, attestation) == expected

    @rule(id=IDS, reason=st.text(max_size=3))
    def reject(self, id: str, reason: str) -> None:
        expected = self.model.decide(id, "rejected", "rejection", {"reason": reason})
        assert self.did("reject", id, {"reason": reason}) == expected

    @rule(id=IDS)
    def cancel(self, id: str) -> None:
        assert self.did("cancel", id) == self.model.decide(id, "canceled", None, None)

    @rule(id=IDS)
    def delete_push(self, id: str) -> None:
        self.sink.delete_push(id)
        self.model.pushes.pop(id, None)

    @rule(query=QUERIES)
    def get_pushes(self, query: Json | None) -> None:
        assert [each["id"] for each in self.sink.get_pushes(query)] == self.model.listed(query)

    @rule(id=REPOS, url=URLS)
    def create_repo(self, id: str, url: str) -> None:
        document = {"_id": id, "name": "demo", "url": url}
        assert self.did("create_repo", document) == self.model.create_repo(id, url)

    @rule(id=REPOS, url=URLS)
    def update_repo(self, id: str, url: str) -> None:
        document = {"_id": id, "url": url}
        assert self.did("update_repo", document) == self.model.update_repo(id, url)

    @rule(id=REPOS, role=ROLES, name=NAMES, add=st.booleans())
    def change_role(self, id: str, role: str, name: str, add: bool) -> None:
        ask = f"{'add' if add else 'remove'}_user_can_{role.removeprefix('can').lower()}"
        assert self.did(ask, id, name) == self.model.change_role(id, role, name, add=add)

    @rule(id=REPOS)
    def delete_repo(self, id: str) -> None:
        self.sink.delete_repo(id)
        self.model.repos.pop(id, None)

    @rule(name=NAMES, email=EMAILS)
    def create_user(self, name: str, email: str | None) -> None:
        document = {"username": name, "gitAccount": name, "email": email}
        assert self.did("create_user", document) == self.model.create_user(name, email)

    @rule(name=NAMES, email=EMAILS)
    def update_user(self, name: str, email: str | None) -> None:
        document = {"username": name, "email": email}
        assert self.did("update_user", document) == self.model.update_user(name, email)

    @rule(name=NAMES)
    def delete_user(self, name: str) -> None:
        self.sink.delete_user(name)
        self.model.users.pop(name.lower(), None)

    @rule(name=NAMES, key=KEYS)
    def add_public_key(self, name: str, key: str) -> None:
        record = {"key": key, "fingerprint": fingerprint(key)}
        assert self.did("add_public_key", name, record) == self.model.add_key(name, key)

    @rule(name=NAMES, key=KEYS)
    def remove_public_key(self, name: str, key: str) -> None:
        expected = self.model.remove_key(name, key)
        assert self.did("remove_public_key", name, fingerprint(key)) == expected

    @invariant()
    def pushes_are_the_same(self) -> None:
        for id in ("p1", "p2", "p3"):
            assert self.sink.get_push(id) == self.model.pushes.get(id)
        assert [each["id"] for each in self.sink.get_pushes({})] == self.model.listed({})

    @invariant()
    def repositories_are_the_same(self) -> None:
        found = {
            each["_id"]: {"url": each["url"], **each["users"]} for each in self.sink.get_repos()
        }
        assert found == self.model.repos
        for id, each in self.model.repos.items():
            assert (self.sink.get_repo_by_url(each["url"]) or {})["_id"] == id
            allowed = {*each["canPush"], *each["canAuthorise"]}
            for name in ("Ada", "bob"):
                may = self.sink.is_user_push_allowed(each["url"], name)
                assert may == (name.lower() in allowed)

    @invariant()
    def users_are_the_same(self) -> None:
        listed = {each["username"]: without_id(each) for each in self.sink.get_users()}
        assert listed == self.model.users
        for name, each in self.model.users.items():
            assert without_id(self.sink.find_user(name.upper()) or {}) == each
            if each["email"]:
                assert (self.sink.find_user_by_email(each["email"]) or {})["username"] == name


@pytest.mark.parametrize(("engine", "share"), [("memory", 8), ("sqlite", 20), ("postgres", 40)])
def test_a_sink_does_what_the_model_does(
    engine: str,
    share: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    numbers = count()
    addresses: Iterator[str] = (url(engine, request, tmp_path, n) for n in numbers)

    class Machine(SinkAndModel):
        def __init__(self) -> None:
            self.store = open_store(next(addresses), create=True)
            super().__init__(Sink(self.store))

        def teardown(self) -> None:
            self.store.close()

    most = max(settings.default.max_examples // share, 3) if settings.default else 3
    run_state_machine_as_test(Machine, settings=settings(max_examples=most, stateful_step_count=25))


def url(engine: str, request: pytest.FixtureRequest, folder: Path, number: int) -> str:
    match engine:
        case "sqlite":
            return f"sqlite:///{folder}/{number}.db"
        case "postgres":
            address: str = request.getfixturevalue("postgres_url")
            return f"{address}{'&' if '?' in address else '?'}schema=model_{number}"
        case _:
            return "memory:"


def by_time(document: Json) -> tuple[bool, float, str]:
    """What a listing is ordered by: newest first, then by id, those without a time last."""
    time = document["timestamp"]
    return time is None, -(time or 0), document["id"]


def same(one: object, other: object) -> bool:
    """Tell whether two JSON values are equal: true is not 1."""
    return one == other and repr(sort(one)) == repr(sort(other))


def sort(value: object) -> object:
    match value:
        case dict():
            return {name: sort(value[name]) for name in sorted(value)}
        case list():
            return [sort(each) for each in value]
        case _:
            return value


def without_id(user: Json) -> Json:
    return {name: value for name, value in user.items() if name != "_id"}


def fingerprint(key: str) -> str:
    return f"SHA256:{key[-4:]}"
