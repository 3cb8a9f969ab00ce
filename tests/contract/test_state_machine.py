"""One machine drives memory, SQLite and PostgreSQL side by side, and a dict of lists beside them.

Whatever is appended, tried again, claimed, folded, rebuilt, closed and opened or copied there and
back: the three give the same answers, and they are those of the model.
"""

import secrets
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from psycopg.sql import SQL, Identifier

from refold.domain import file, removal_vote, streams, tag_vote
from refold.domain.errors import Claimed, CommandIdTaken, Conflict
from refold.domain.ports import Appended, Claim, Command, NewEvent, Outcome, Recorded, Write
from refold.domain.positions import Positions
from refold.infrastructure.codec import EVENTS, Metadata, encode_metadata
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.moving import copying
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Key, Row

STEPS: Final = 10
EVERYTHING: Final = 1_000_000


@pytest.mark.parametrize("partitions", [1, 3])
def test_three_engines_are_a_list_per_stream(postgres_url: str, partitions: int) -> None:
    class Machine(ThreeStores):
        def __init__(self) -> None:
            super().__init__(postgres_url, partitions)

    examples = settings().max_examples // 4  # a rebuild and a copy are among the steps
    run_state_machine_as_test(
        Machine, settings=settings(stateful_step_count=STEPS, max_examples=examples)
    )


# --- what is tried ----------------------------------------------------------------

KEYS: Final = ("a", "a.b", "b")  # the family file-a is a prefix of file-a.b
TAGS: Final = ("pdf", "draft")
VOTERS: Final = ("ada", "bo")
METADATA: Final = encode_metadata(Metadata("ada"))


@dataclass(frozen=True)
class Draft:
    """A write before its stream's version is known: `off` is 0 for exact, None for any version."""

    stream: str
    off: int | None
    events: tuple[NewEvent, ...]


def _encoded(value: object) -> NewEvent:
    return EVENTS.encode(value, METADATA)


def _file_events(key: str) -> st.SearchStrategy[object]:
    tag, generation = st.sampled_from(TAGS), st.integers(1, 2)
    return st.one_of(
        st.builds(file.Registered, st.just(key), st.just("cid"), st.text(max_size=3), st.just("")),
        st.builds(file.Changed, name=st.text(max_size=3)),
        st.builds(file.Banned, st.sampled_from((3, 6, 9))),
        st.builds(file.TagAdded, tag, generation),
        st.builds(file.TagRemoved, tag, generation),
    )


def _vote_events(tag: str, voter: str) -> st.SearchStrategy[object]:
    generation, stance = st.integers(1, 2), st.sampled_from((1, -1))
    words = (st.just(tag), st.just(voter), generation, stance)
    return st.one_of(
        st.builds(tag_vote.Cast, *words),
        st.builds(tag_vote.Changed, *words, previous=stance),
        st.builds(tag_vote.Withdrawn, *words),
    )


def _removal_vote_events(voter: str) -> st.SearchStrategy[object]:
    stance = st.sampled_from((1, -1))
    return st.one_of(
        st.builds(removal_vote.Cast, st.just(voter), stance),
        st.builds(removal_vote.Withdrawn, st.just(voter), stance),
    )


_EVENTS: Final = (
    {streams.name("file", key): _file_events(key) for key in KEYS}
    | {
        streams.name("file/tag_vote", "a", TAGS[0], voter): _vote_events(TAGS[0], voter)
        for voter in VOTERS
    }
    | {
        streams.name("file/removal_vote", key, "ada"): _removal_vote_events("ada")
        for key in KEYS[:2]
    }
)


def _drafts(off: st.SearchStrategy[int | None]) -> st.SearchStrategy[Draft]:
    return st.sampled_from(sorted(_EVENTS)).flatmap(
        lambda stream: st.builds(
            Draft,
            st.just(stream),
            off,
            st.lists(_EVENTS[stream].map(_encoded), min_size=1, max_size=3).map(tuple),
        )
    )


EXACT: Final = _drafts(st.just(0))
ANY: Final = _drafts(st.none())
DRAFTS: Final = _drafts(st.sampled_from((0, 0, 0, 1, -1, None)))  # 1: ahead, -1: behind
NAMES: Final = st.sets(st.sampled_from(("ada", "bo")), max_size=2)


# --- the model --------------------------------------------------------------------


@dataclass
class Lists:
    """The simplest store: a list per stream, and what each command came to."""

    partitions: int
    streams: dict[str, list[tuple[object, ...]]] = field(default_factory=lambda: defaultdict(list))
    log: list[tuple[object, ...]] = field(default_factory=list)
    commands: dict[str, tuple[str, Appended]] = field(default_factory=dict)
    claims: dict[tuple[str, str], str] = field(default_factory=dict)

    def append(self, command: Command) -> Outcome:
        if command.id in self.commands:
            stream, first = self.commands[command.id]
            if stream == command.writes[0].stream:
                return first._replace(again=True)
            return CommandIdTaken(command.id, stream)
        lengths = {stream: len(events) for stream, events in self.streams.items()}
        for write in command.writes:
            length = lengths.get(write.stream, 0)
            if write.expected is not None and write.expected != length:
                return Conflict(write.stream, write.expected, length)
            lengths[write.stream] = length + len(write.events)
        claims = dict(self.claims)
        for claim in command.releases:
            if claims.get((claim.kind, claim.value)) == claim.stream:
                del claims[claim.kind, claim.value]
        for claim in command.takes:
            holder = claims.setdefault((claim.kind, claim.value), claim.stream)
            if holder != claim.stream:
                return Claimed(claim.kind, holder)
        self.claims = claims
        return self._keep(command)

    @property
    def ends(self) -> Positions:
        """Return where each partition ends."""
        return Positions(tuple(len(self.of(number)) for number in range(self.partitions)))

    def of(self, partition: int) -> list[tuple[object, ...]]:
        """Return the events of a partition."""
        return [entry for entry in self.log if entry[0] == partition]

    def _keep(self, command: Command) -> Appended:
        events = [(write.stream, event) for write in command.writes for event in write.events]
        home = streams.partition(events[0][0], self.partitions)
        for number, (stream, event) in enumerate(events):
            version = len(self.streams[stream]) + 1
            entry = (home, len(self.of(home)) + 1, stream, version, event, command.id, number)
            self.log.append(entry)
            self.streams[stream].append(entry)
        stream = command.writes[-1].stream
        last = Appended(home, len(self.of(home)), stream, len(self.streams[stream]))
        self.commands[command.id] = (command.writes[0].stream, last)
        return last


def _claims(names: set[str], stream: str) -> tuple[Claim, ...]:
    return tuple(Claim("name", name, stream) for name in sorted(names))


def _entry(record: Recorded) -> tuple[object, ...]:
    """Return all of a record but `recorded_at`: each engine has its own clock."""
    event = NewEvent(record.type, record.schema, record.data, record.metadata)
    return (
        record.partition, record.position, record.stream, record.version, event,
        record.command_id, record.command_no,
    )  # fmt: skip


def _facts(outcome: Outcome) -> object:
    return outcome if isinstance(outcome, Appended) else (type(outcome), str(outcome))


# --- the machine ------------------------------------------------------------------


class ThreeStores(RuleBasedStateMachine):
    """Drive three stores and the model; they must never differ."""

    ids = Bundle("ids")

    def __init__(self, server: str, partitions: int) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.folder = Path(self.resources.enter_context(TemporaryDirectory()))
        self.server = self.resources.enter_context(psycopg.connect(server, autocommit=True))
        self.url = server
        self.model = Lists(partitions)
        self.numbers = iter(range(EVERYTHING))
        self.folded = False
        self.urls: dict[str, str] = {}
        self.stores = {"memory": open_store("memory:", partitions=partitions)}
        self.make_sqlite()
        self.make_postgres()

    def make_sqlite(self) -> Store:
        path = self.folder / f"{next(self.numbers)}.db"
        return self.make("sqlite", f"sqlite:///{path}")

    def make_postgres(self) -> Store:
        schema = f"machine_{secrets.token_hex(6)}"
        drop = SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema))
        self.resources.callback(self.server.execute, drop)
        return self.make("postgres", f"{self.url}?schema={schema}")

    def make(self, name: str, url: str) -> Store:
        self.urls[name] = url
        self.stores[name] = open_store(url, create=True, partitions=self.model.partitions)
        return self.stores[name]

    def teardown(self) -> None:
        for store in self.stores.values():
            store.close()
        self.resources.close()

    # --- appending ------------------------------------------------------------------

    @rule(target=ids, draft=EXACT)
    def append_at_the_exact_version(self, draft: Draft) -> Any:
        return self.append([self.command(draft)])

    @rule(target=ids, draft=ANY)
    def append_at_any_version(self, draft: Draft) -> Any:
        return self.append([self.command(draft)])

    @rule(target=ids, drafts=st.lists(DRAFTS, min_size=1, max_size=4))
    def append_members_that_may_conflict(self, drafts: list[Draft]) -> Any:
        return self.append([self.command(draft) for draft in drafts])

    @rule(target=ids, drafts=st.lists(EXACT, min_size=2, max_size=4))
    def append_exact_members(self, drafts: list[Draft]) -> Any:
        return self.append([self.command(draft) for draft in drafts])

    @rule(target=ids, drafts=st.lists(DRAFTS, min_size=2, max_size=3))
    def append_several_streams_at_once(self, drafts: list[Draft]) -> Any:
        homes = [streams.partition(draft.stream, self.model.partitions) for draft in drafts]
        together = (draft for draft, home in zip(drafts, homes, strict=True) if home == homes[0])
        writes = tuple(self.write(draft) for draft in together)
        return self.append([Command(self.new_id(), writes)])

    @rule(target=ids, drafts=st.lists(ANY, min_size=1, max_size=3), takes=NAMES, releases=NAMES)
    def claim(self, drafts: list[Draft], takes: set[str], releases: set[str]) -> Any:
        return self.append(
            [
                self.command(draft)._replace(
                    takes=_claims(takes, draft.stream),
                    releases=_claims(releases, draft.stream),
                )
                for draft in drafts
            ]
        )

    @rule(drafts=st.lists(DRAFTS, min_size=1, max_size=3), known=ids, again=st.booleans())
    def try_again(self, drafts: list[Draft], known: str, again: bool) -> None:
        commands = [self.command(draft)._replace(id=known) for draft in drafts]
        if again and known in self.model.commands:
            stream = self.model.commands[known][0]
            commands = [
                command._replace(writes=(command.writes[0]._replace(stream=stream),))
                for command in commands
            ]
        self.append(commands)

    def new_id(self) -> str:
        return f"command-{next(self.numbers)}"

    def write(self, draft: Draft) -> Write:
        length = len(self.model.streams[draft.stream])
        return Write(draft.stream, None if draft.off is None else length + draft.off, draft.events)

    def command(self, draft: Draft) -> Command:
        return Command(self.new_id(), (self.write(draft),))

    def append(self, commands: Sequence[Command]) -> Any:
        homes = [
            streams.partition(command.writes[0].stream, self.model.partitions)
            for command in commands
        ]
        in_turn = sorted(range(len(commands)), key=lambda number: homes.index(homes[number]))
        outcomes_of = {number: self.model.append(commands[number]) for number in in_turn}
        expected = [_facts(outcomes_of[number]) for number in range(len(commands))]
        for name, store in self.stores.items():
            outcomes = [_facts(outcome) for outcome in store.log.append(commands)]
            assert outcomes == expected, name
        return multiple(*(command.id for command in commands))

    # --- what operators do ----------------------------------------------------------

    @rule(what=st.sampled_from(("restart", "fold", "fold", "rebuild", "rebuild", "copy")))
    def operate(self, what: str) -> None:
        """Do one of the expensive things; together they are as frequent as one kind of append."""
        match what:
            case "restart":
                self.close_and_open_again()
            case "fold":
                self.fold()
            case "rebuild":
                self.rebuild()
            case "copy":
                self.copy_there_and_back_and_go_on_with_the_copies()

    def close_and_open_again(self) -> None:
        for name, url in self.urls.items():
            self.stores[name].close()
            self.stores[name] = open_store(url)

    def fold(self) -> None:
        for store in self.stores.values():
            assert store.folder.catch_up() == self.model.ends
        self.folded = True
        self.compare_tables()

    def rebuild(self) -> None:
        for store in self.stores.values():
            rebuilt = store.rebuilder.rebuild(catalog.ALL)
            assert {each.is_equal for each in rebuilt} == {True if self.folded else None}
        self.folded = True
        self.compare_tables()

    def copy_there_and_back_and_go_on_with_the_copies(self) -> None:
        holder = Draft(streams.name("file", "a"), None, (_encoded(file.Banned(3)),))
        self.append([self.command(holder)._replace(takes=_claims({"copied"}, holder.stream))])
        origin, replaced = self.stores["sqlite"], self.stores["postgres"]
        there, back = self.make_postgres(), self.make_sqlite()
        certificate = copying.copy(origin, there)
        certified_back = copying.copy(there, back)
        records = [_records(store) for store in (origin, there, back)]
        origin.close()
        replaced.close()
        assert certificate.equal
        assert certified_back.equal
        assert certificate.ends == certified_back.ends
        assert certificate.positions == self.model.ends
        assert [table.source for table in certified_back.tables] == [
            table.target for table in certificate.tables
        ]
        assert records[0] == records[1] == records[2]
        self.fold()

    # --- what always holds ----------------------------------------------------------

    @invariant()
    def logs_are_the_model(self) -> None:
        for name, store in self.stores.items():
            assert store.advance.head() == self.model.ends, name
            for partition in range(self.model.partitions):
                records = store.log.page(partition, 0, EVERYTHING)
                assert [_entry(record) for record in records] == self.model.of(partition), name
                clock = [record.recorded_at for record in records]
                assert clock == sorted(clock), name

    @invariant()
    def streams_are_the_model(self) -> None:
        for name, store in self.stores.items():
            for stream in _EVENTS:
                events = [_entry(record) for record in store.log.stream(stream)]
                assert events == self.model.streams[stream], name

    @invariant()
    def families_are_the_model(self) -> None:
        for name, store in self.stores.items():
            for family in map(streams.family, _EVENTS):
                events = [_entry(record) for record in store.log.family(family)]
                of_family = [entry for entry in self.model.log if _family(entry) == family]
                assert events == of_family, name

    @invariant()
    def claims_are_the_model(self) -> None:
        claims = [Claim(*key, stream) for key, stream in sorted(self.model.claims.items())]
        for name, store in self.stores.items():
            assert store.log.claims()[1] == claims, name

    def compare_tables(self) -> None:
        for name, store in self.stores.items():
            assert _tables(store) == _folded_afresh(store), name


def _records(store: Store) -> list[Recorded]:
    partitions = range(store.log.partitions)
    return [record for each in partitions for record in store.log.page(each, 0, EVERYTHING)]


def _family(entry: tuple[object, ...]) -> str:
    return streams.family(str(entry[2]))


def _tables(store: Store) -> dict[str, dict[Key, Row]]:
    with store.tables.reading() as connection:
        return {
            name: {
                tuple(row[: len(generation.table.primary_key.columns)]): tuple(row)
                for row in connection.execute(_declared(generation))
            }
            for name, generation in store.tables.current(connection).items()
        }


def _declared(generation: Generation) -> sa.Select[Any]:
    """Return the columns that the projection declared, without what only a search looks at."""
    names = [column.name for column in generation.projection.TABLE.columns]
    return sa.select(*(generation.table.c[name] for name in names))


def _folded_afresh(store: Store) -> dict[str, dict[Key, Row]]:
    families = dict.fromkeys(streams.family(record.stream) for record in _records(store))
    tables: dict[str, dict[Key, Row]] = {projection.NAME: {} for projection in catalog.ALL}
    for family in families:
        for name, rows in fold_family(store.family(family), catalog.ALL).items():
            tables[name] |= rows
    return tables
