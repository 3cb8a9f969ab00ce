"""Documents that no system sends: each store keeps one or refuses it by a name of refold's own."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from refold.domain.errors import Refused
from refold.infrastructure.store import Store
from refold.infrastructure.systems import decentcom, express_sessions, pinshare
from refold.infrastructure.systems.git_proxy import Sink
from refold.projections import catalog
from refold.tests.infrastructure.systems.test_git_proxy import KEY, PUSH, REPO, USER

Call = Callable[[Store, Any], object]

SHA: Final = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
HELLO: Final = b"hello"
CID: Final = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
FILE: Final = {"fileSHA256": SHA, "ipfsCID": CID, "lastUpdated": "2990-01-01T00:00:00Z"}
SESSION: Final = {"cookie": {"expires": "2990-01-01T00:00:00Z"}, "passport": {"user": "ada"}}

TEXTS: Final = st.text(max_size=3) | st.sampled_from(["a\0b", "\ud800", "x" * 300, "x" * 9_000])
ODD: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from([2**70, 1.5, float("nan"), float("inf"), b"x", {"x"}])
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            TEXTS | st.sampled_from(["canPush", "canAuthorise", "key", "expires", "user", 1, None]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=4,
)
PROPERTY: Final = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def like(*sound: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What is no object, or one with some of its fields gone, odd or beside the others."""
    names = sorted({name for each in sound for name in each})
    fields = st.dictionaries(st.sampled_from([*names, "_id", "publicKeys", "users"]) | TEXTS, ODD)
    return ODD | st.builds(lambda base, odd: {**base, **odd}, st.sampled_from([{}, *sound]), fields)


REPOS: Final[dict[str, Call]] = {
    "create_repo": lambda store, document: Sink(store).create_repo(document),
    "update_repo": lambda store, document: Sink(store).update_repo(document),
}
USERS: Final[dict[str, Call]] = {
    "create_user": lambda store, document: Sink(store).create_user(document),
    "update_user": lambda store, document: Sink(store).update_user(document),
}
PUSHES: Final[dict[str, Call]] = {
    "write_audit": lambda store, document: Sink(store).write_audit(document),
    "authorise": lambda store, document: Sink(store).authorise(PUSH["id"], document),
    "reject": lambda store, document: Sink(store).reject(PUSH["id"], document),
}
FILES: Final[dict[str, Call]] = {
    "add_file": lambda store, document: pinshare.MetadataStore(store).add_file(document),
    "gossip": lambda store, document: pinshare.MetadataStore(store).apply_gossip_update(document),
}
SESSIONS: Final[dict[str, Call]] = {
    "set": lambda store, document: express_sessions.SessionStore(store).set("sid", document),
    "touch": lambda store, document: express_sessions.SessionStore(store).touch("sid", document),
}
QUERIES: Final[dict[str, Call]] = {
    "get_pushes": lambda store, query: Sink(store).get_pushes(query),
    "get_repos": lambda store, query: Sink(store).get_repos(query),
    "get_users": lambda store, query: Sink(store).get_users(query),
}


DECENTCOM: Final[dict[str, Call]] = {
    "user": lambda store, texts: decentcom.UserStore(store).create(*texts[:2]),
    "update": lambda store, texts: decentcom.UserStore(store).update(
        "ada", display_name=texts[0], avatar_hash=texts[1]
    ),
    "find": lambda store, texts: decentcom.UserStore(store).get_by_pubkey(texts[0]),
    "session": lambda store, texts: decentcom.SessionStore(store).get(texts[0]),
    "media": lambda store, texts: decentcom.MediaStore(store).put(SHA, texts[0], 5, "ada", HELLO),
    "attachment": lambda store, texts: decentcom.AttachmentStore(store).create(
        texts[0], "ada", texts[1], SHA, 5, texts[2]
    ),
    "associate": lambda store, texts: decentcom.AttachmentStore(store).associate(
        texts[:2], texts[2], texts[3]
    ),
    "list": lambda store, texts: decentcom.AttachmentStore(store).list_by_message(texts[0]),
    "device": lambda store, texts: decentcom.DeviceKeyStore(store).add("ada", *texts),
}


@pytest.fixture(autouse=True)
def place_for_blobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a store on PostgreSQL needs beside its database."""
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))


@pytest.fixture
def filled(store: Store) -> Iterator[Store]:
    """A store with one of each; after all odd documents its tables can still be read."""
    sink = Sink(store)
    sink.create_user({**USER, "_id": "ada", "publicKeys": [KEY]})
    sink.create_repo({**REPO, "_id": "demo", "users": {"canPush": ["ada"]}})
    sink.write_audit(PUSH)
    pinshare.MetadataStore(store).add_file({"fileSHA256": SHA, "ipfsCID": CID})
    express_sessions.SessionStore(store).set("sid", SESSION)
    store.blobs.put([HELLO])
    yield store
    store.folder.catch_up()
    with store.tables.reading() as connection:
        generations = store.tables.current(connection)
        for projection in catalog.ALL:
            generation = generations[projection.NAME]
            assert not store.tables.parked(connection, generation)
            list(store.tables.rows.scan(connection, generation))


@pytest.mark.parametrize("name", REPOS)
@example(document={"_id": "demo", "users": {"canPush": None}})
@example(document={**REPO, "_id": "other", "url": "u", "users": {"canPush": None}})
@example(document={"_id": "demo", "users": []})
@example(document={"_id": "demo", "users": {"canPush": "bob"}})
@example(document=[])
@given(document=like({**REPO, "_id": "demo"}, {**REPO, "url": "https://x.y/o.git"}))
@PROPERTY
def test_a_repository_is_kept_or_refused(filled: Store, name: str, document: Any) -> None:
    kept_or_refused(REPOS[name], filled, document)


@pytest.mark.parametrize("name", USERS)
@example(document={**USER, "_id": "ada", "publicKeys": [5]})
@example(document={**USER, "_id": "ada", "publicKeys": "x"})
@example(document=[])
@given(document=like({**USER, "_id": "ada"}, {**USER, "username": "bo", "email": "b@x.y"}))
@PROPERTY
def test_a_user_is_kept_or_refused(filled: Store, name: str, document: Any) -> None:
    kept_or_refused(USERS[name], filled, document)


@example(record={"key": 5})
@given(record=like(KEY))
@PROPERTY
def test_a_public_key_is_kept_or_refused(filled: Store, record: Any) -> None:
    kept_or_refused(lambda store, odd: Sink(store).add_public_key("alice", odd), filled, record)


@pytest.mark.parametrize("name", PUSHES)
@example(document={**PUSH, "steps": [{1: 2}]})
@example(document=[])
@given(document=like(PUSH, {**PUSH, "id": "other"}))
@PROPERTY
def test_a_push_is_kept_or_refused(filled: Store, name: str, document: Any) -> None:
    kept_or_refused(PUSHES[name], filled, document)


@pytest.mark.parametrize("name", FILES)
@example(document={**FILE, "tags": {1: 2}})
@example(document=[])
@given(document=like(FILE, {**FILE, "tags": {}, "banSet": 0, "moderationVotes": 1}))
@PROPERTY
def test_a_file_is_kept_or_refused(filled: Store, name: str, document: Any) -> None:
    kept_or_refused(FILES[name], filled, document)


@pytest.mark.parametrize("name", SESSIONS)
@example(document=[])
@example(document={"cookie": {"expires": "soon"}})
@given(document=like(SESSION))
@PROPERTY
def test_a_session_is_kept_or_refused(filled: Store, name: str, document: Any) -> None:
    kept_or_refused(SESSIONS[name], filled, document)


@pytest.mark.parametrize("name", QUERIES)
@given(query=st.dictionaries(st.sampled_from(sorted({*PUSH, *REPO, *USER, "users"})) | TEXTS, ODD))
@PROPERTY
def test_a_query_is_answered_or_refused(filled: Store, name: str, query: Any) -> None:
    kept_or_refused(QUERIES[name], filled, query)


@pytest.mark.parametrize("name", DECENTCOM)
@given(texts=st.lists(TEXTS | st.just("text/plain"), min_size=4, max_size=4))
@PROPERTY
def test_texts_of_decentcom_are_kept_or_refused(filled: Store, name: str, texts: Any) -> None:
    kept_or_refused(DECENTCOM[name], filled, texts)


@pytest.mark.parametrize(
    "users", [["bob"], "bob", {"canPush": "bob"}, {"canPush": [5]}, {"can": ["bob"]}]
)
def test_roles_that_are_no_lists_of_names_are_refused(filled: Store, users: Any) -> None:
    sink = Sink(filled)
    before = sink.get_repo_by_id("demo")

    for ask in (sink.update_repo, sink.create_repo):
        with pytest.raises(Refused, match=r"users of a repo|role|username"):
            ask({"_id": "demo", "name": "n", "url": "u", "users": users})

    assert sink.get_repo_by_id("demo") == before


def kept_or_refused(call: Call, store: Store, document: Any) -> None:
    """Any other error than a refusal is one that nobody foresaw."""
    with suppress(Refused):
        call(store, document)
