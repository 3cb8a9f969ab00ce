"""Whatever happened to users: what was sealed of one who is erased is in no byte of their store."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from refold.infrastructure.commands import run
from refold.infrastructure.erasing import person
from refold.infrastructure.erasing.erasing import erase
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import compare
from refold.infrastructure.open import open_store
from refold.infrastructure.services.users import show_user
from refold.infrastructure.store import Store
from refold.projections import devices, public_keys, sessions, users
from refold.projections.projection import Projection

TABLES: Final[Sequence[Projection]] = (users, public_keys, devices, sessions)
IDS = ("one", "two", "three")
LATER = "2990-01-01T00:00:00Z"

odd = st.text(st.characters(codec=None, exclude_characters="\0"), max_size=8)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "change",
                "unset",
                "rename",
                "password",
                "session",
                "end",
                "device",
                "delete",
                "rebuild",
            ]
        ),
        st.sampled_from(IDS),
        odd,
    ),
    max_size=12,
)


class History:
    """Does what is asked of users; every text that is sealed holds a word that nobody else has."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sealed: dict[str, list[str]] = {id: [] for id in IDS}
        for id in IDS:
            self.register(id, "")

    def word(self, id: str) -> str:
        self.sealed[id].append(f"canary{secrets.token_hex(6)}")
        return self.sealed[id][-1]

    def do(self, name: str, **fields: Any) -> None:
        run(self.store, name, fields, command_id=secrets.token_hex(8), actor="service")

    def register(self, id: str, text: str) -> None:
        profile = {"username": self.word(id), "email": f"{self.word(id)}@b", "odd": [self.word(id)]}
        hash = self.word(id) + text
        self.do("user.register", id=id, profile=profile, password_hash=hash)

    def step(self, what: str, id: str, text: str) -> None:
        if what != "rebuild" and show_user(self.store, id) is None:
            self.register(id, text)
        changes: dict[str, Callable[[], Any]] = {
            "change": lambda: self.change(id, displayName=text + self.word(id) + text),
            "unset": lambda: self.do("user.change", id=id, unset=["displayName"]),
            "rename": lambda: self.change(id, username=self.word(id).upper(), gitAccount=text),
            "password": lambda: self.do("user.change", id=id, password_hash=self.word(id) + text),
            "session": lambda: self.session(id, text),
            "end": lambda: self.do("session.end", sid=f"session of {id}"),
            "device": lambda: self.do(
                "user.add_device", id=id, device="d", record={"pubkey": f"key of {id}"}
            ),
            "delete": lambda: self.do("user.delete", id=id),
            "rebuild": lambda: self.store.rebuilder.rebuild(TABLES),
        }
        changes[what]()

    def change(self, id: str, **profile: str) -> None:
        self.do("user.change", id=id, profile={k: v for k, v in profile.items() if v.strip()})

    def session(self, id: str, text: str) -> None:
        body = f'{{"token": "{self.word(id)}", "odd": "{self.word(id)}{len(text)}"}}'
        self.do("session.set", sid=f"session of {id}", body=body, expires_at=LATER, user=id)


@settings(max_examples=max(4, settings().max_examples // 6))
@given(before=steps, fold=st.booleans(), after=steps)
def test_no_byte_holds_what_was_sealed_of_who_was_erased(
    before: list[tuple[str, str, str]], fold: bool, after: list[tuple[str, str, str]]
) -> None:
    with (
        TemporaryDirectory() as folder,
        TemporaryDirectory() as elsewhere,
        open_store(f"sqlite:///{folder}/a.db", create=True) as store,
        open_store(f"sqlite:///{elsewhere}/b.db", create=True) as other,
    ):
        history = History(store)
        for step in before:
            history.step(*step)
        if fold:
            store.folder.catch_up()
        copy(store, other)
        for step in after:
            history.step(*step)
        store.folder.catch_up()
        rows = {id: table_rows(store, id) for id in IDS[1:]}

        made = erase(store, person.find_by_id(store, "one"), actor="dpo")

        assert made.found == []
        assert told(folder, history.sealed["one"]) == []
        assert {id: table_rows(store, id) for id in IDS[1:]} == rows
        assert all(each.is_equal for each in store.rebuilder.rebuild(TABLES))
        assert copy(store, other).equal
        assert compare(store, other).equal


def table_rows(store: Store, id: str) -> list[tuple[object, ...]]:
    """The rows of one user in all tables of people."""
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        return [
            tuple(row)
            for table in TABLES
            for row in store.tables.rows.scan(connection, current[table.NAME])
            if id in row[:2]
        ]


def told(folder: str, words: list[str]) -> list[str]:
    """The words that stand in any file of the store."""
    files = b"\n".join(
        path.read_bytes().lower() for path in Path(folder).glob("*") if path.is_file()
    )
    return [word for word in words if word.encode() in files]
