"""Looks at a whole store and tells what is wrong with it, each with the command that mends it.

It only reads: it folds nothing, seals nothing and makes nothing. The log is walked over once.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from refold.domain.errors import (
    BrokenLog,
    NewerSchema,
    NoPlaceForBlobs,
    NoSuchStore,
    NoVaultKey,
    Unavailable,
    WrongVaultKey,
)
from refold.domain.ports import Claim, Key, Recorded, State
from refold.domain.positions import NOWHERE, Positions
from refold.infrastructure import chain, schema
from refold.infrastructure.address import Address, Memory, Postgres, Sqlite
from refold.infrastructure.blobs.inventory import inventory
from refold.infrastructure.blobs.references import References
from refold.infrastructure.checking.claims import ClaimFold, Difference
from refold.infrastructure.checking.finding import Checks, Finding
from refold.infrastructure.checking.mends import GIVE_KEY, UPGRADE, Mends, sentence
from refold.infrastructure.checking.tables import table_findings
from refold.infrastructure.claiming import CLAIMING
from refold.infrastructure.config import Settings
from refold.infrastructure.open import assembled, given_key, open_at, place_for_blobs
from refold.infrastructure.postgres.checks import PostgresChecks
from refold.infrastructure.postgres.log import PostgresLog
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.sqlite.checks import SqliteChecks
from refold.infrastructure.sqlite.log import SqliteLog
from refold.infrastructure.sqlite.rows import tables_in_memory
from refold.infrastructure.store import Store
from refold.infrastructure.vault_key import KeyFile, NoKey

MOST_CLAIMS: Final = 5
"""Claims that are told of one by one; the others are counted."""

_VAULT: Final = "~vault"
"""The subject of the vault's own secret."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a store whose log ends at `positions`."""

    store: str
    positions: Positions
    is_reachable: bool
    findings: Sequence[Finding]

    @property
    def is_well(self) -> bool:
        """Tell whether there is no problem; warnings there may be."""
        return not any(each.level == "problem" for each in self.findings)

    def document(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return {
            "ok": self.is_well,
            "store": self.store,
            "reachable": self.is_reachable,
            "position": self.positions.document(),
            "findings": [each._asdict() for each in self.findings],
        }


def examine(place: Address, settings: Settings, progress: Progress = quietly) -> Report:
    """Check everything about the store at `place` that can be checked by reading it.

    A store that cannot be reached is a finding, too. Raises `BadInput` for an address that is not
    safe.
    """
    examination = _Examination(place, settings, progress)
    try:
        examination.run()
    except Unavailable as error:
        mends = examination.mends
        mend = mends.make if isinstance(error, NoSuchStore) else mends.ask
        found = Finding("log", "problem", sentence(error), mend)
        return Report(place.public, examination.positions, False, [*examination.findings, found])
    return Report(place.public, examination.positions, True, examination.findings)


class _Examination:
    """One run over a store; `findings` grow as it goes on."""

    def __init__(self, place: Address, settings: Settings, progress: Progress) -> None:
        self._place, self._settings, self._progress = place, settings, progress
        self.mends = Mends(place)
        self.findings: list[Finding] = []
        self.positions = NOWHERE

    def run(self) -> None:
        checks = _checks(self._place)
        has_tables = True
        if checks:
            if not self._has_our_schema(checks):
                return
            self.findings += checks.findings()
            if checks.is_locked():
                return  # everything else would wait
            has_tables = checks.has_tables()
        with _opened(self._place, self._settings, has_tables=has_tables) as store:
            self.positions = store.advance.head()
            self._check_state(store)
            can_open = self._check_vault(store)
            if not any(each.check == "tables" for each in self.findings):
                self.findings += table_findings(store, self.positions, self.mends)
            self._check_log(store, checks, can_open=can_open)

    def _problem(self, check: str, what: str, mend: str) -> None:
        self.findings.append(Finding(check, "problem", what, mend))

    def _has_our_schema(self, checks: Checks) -> bool:
        try:
            found = checks.schema()
        except NewerSchema as error:
            self._problem("schema", str(error), UPGRADE)
            return False
        if found is None:
            raise NoSuchStore(self._place.public)
        if found < schema.NEWEST:
            what = f"the store has schema {found}, this refold works with {schema.NEWEST}"
            self._problem("schema", what, self.mends.make)
        return found == schema.NEWEST

    def _check_state(self, store: Store) -> None:
        """Tell of a store that takes no commands why that is so."""
        head = store.log.heads()[0]
        other = head.successor
        if head.state is State.OPEN:
            return
        if head.state is State.FILLING and other is None:
            what = "a copy fills this store and has not come to its end: it takes no commands"
            self._problem("state", what, self.mends.finish_copy)
            return
        other = other or "an unknown address"
        if head.state is State.FILLING:
            what = f"a move from {other} fills this store: it takes no commands yet"
            mend = self.mends.finish_move(other)
        else:
            what = f"this store has moved to {other} and takes no commands"
            mend = f"refold doctor --store {shlex.quote(other)}"
        self.findings.append(Finding("state", "warning", what, mend))

    # --- the vault ------------------------------------------------------------------

    def _check_vault(self, store: Store) -> bool:
        """Tell whether sealed fields can be opened."""
        keys = store.log.keys()
        own = [each for each in keys if each.subject == _VAULT]
        try:
            opened = [_opens(store, key) for key in (*own, *keys)] if own else [not keys]
        except (NoVaultKey, WrongVaultKey) as error:
            self._problem("vault", sentence(error), GIVE_KEY)
            return False
        if not all(opened):
            what = "keys of sealed fields were altered or removed"
            self._problem("vault", what, self.mends.from_a_copy)
        return all(opened)

    # --- the log --------------------------------------------------------------------

    def _check_log(self, store: Store, checks: Checks | None, *, can_open: bool) -> None:
        claims = self._claims(store)
        kinds = [kind for kind in CLAIMING if can_open or kind != "user"]
        fold, referring = ClaimFold(store, kinds), References(store.codec)
        all_there = min([self._walk(store, each, fold, referring) for each in self._partitions()])
        if all_there and claims is not None and checks:
            self._compare_claims(checks, list(fold.differences(claims)))
        self._check_blobs(store, referring.all(), all_there=all_there)

    def _claims(self, store: Store) -> Sequence[Claim] | None:
        """Return the claims at the position that the walk is to end at; None when locked."""
        if any(each.check == "lock" for each in self.findings):
            return None
        beside = store.log.claims()
        self.positions = beside.positions
        return beside.claims

    def _partitions(self) -> range:
        return range(len(self.positions.each))

    def _walk(self, store: Store, partition: int, fold: ClaimFold, referring: References) -> bool:
        """Go over all events of a partition once, and tell whether all of them are there."""
        seals, end = store.log.seals(partition), self.positions[partition]
        before = sum(self.positions.each[:partition])
        walk: chain.Walk | None = chain.Walk(partition, seals)
        try:
            for page in chain.pages(store.log, partition, 0, max(end, chain.sealed(seals))):
                walk = self._compared(walk, page)
                page = page[: max(0, end + 1 - page[0].position)]
                fold.over(page)
                for record in page:
                    _follow_blobs(referring, record)
                if page:
                    self._progress("examine", before + page[-1].position, self.positions.total)
        except BrokenLog as error:
            self._problem("holes", self._missing(error), self.mends.from_a_copy)
            return False
        return True

    def _compared(self, walk: chain.Walk | None, page: Sequence[Recorded]) -> chain.Walk | None:
        """Compare the seals of a page; there is nothing to compare behind the first bad block."""
        if walk is None:
            return None
        try:
            walk.over(page)
        except BrokenLog as error:
            first, last = self._named(error)
            what = f"the events from {first} to {last} are not those that were sealed"
            self._problem("seals", what, self.mends.from_a_copy)
            return None
        return walk

    def _missing(self, error: BrokenLog) -> str:
        first, last = self._named(error)
        if first == last:
            return f"event {first} is missing"
        return f"events are missing between positions {first} and {last}"

    def _named(self, error: BrokenLog) -> list[str]:
        ends = (error.first, error.last)
        return [self.positions.named(error.partition, each) for each in ends]

    def _compare_claims(self, checks: Checks, found: Sequence[Difference]) -> None:
        for each in found[:MOST_CLAIMS]:
            kept = f"is held by {each.kept}" if each.kept else "is held by nobody"
            folded = each.folded or "nobody"
            what = f"a claim of the kind {each.kind} {kept}; by the events it belongs to {folded}"
            self._problem("claims", what, checks.typed(_mended(each)))
        if len(found) > MOST_CLAIMS:
            what = f"{len(found) - MOST_CLAIMS} more claims are not what the events make of them"
            again = f"refold doctor{self.mends.at}"
            self._problem("claims", what, f"{again} (once those above are mended)")

    def _check_blobs(self, store: Store, blobs: dict[str, int], *, all_there: bool) -> None:
        """Read the blobs that events refer to; of other blobs tell only if the log is whole."""
        found = inventory(store, self._progress)
        try:
            found.add(sorted(blobs))
        except NoPlaceForBlobs as error:
            self._problem("blobs", str(error), "export REFOLD_BLOBS=FOLDER")
            return
        for sha256, why in sorted(found.lacking.items()):
            what = f"{why}; event {blobs[sha256]} refers to it"
            self._problem("blobs", what, self.mends.from_another)
        if all_there:
            found.list_others(store.place_for_blobs)
        if others := found.proof().orphaned:
            what = f"no event refers to some blobs, in number {len(others)}, such as {others[0]}"
            self.findings.append(Finding("blobs", "warning", what, self.mends.list_blobs))


def _opened(place: Address, settings: Settings, *, has_tables: bool) -> Store:
    """Open a store; where it has no query tables, with some in memory rather than making them."""
    if has_tables:
        return open_at(place, settings=settings)
    given, tables = given_key(settings), tables_in_memory()
    match place:
        case Postgres():
            log = PostgresLog(place.url, place.schema, place.connecting)
            blobs = place_for_blobs(settings, None)
            return assembled(place, log, tables, given or NoKey(), blobs, settings)
        case Sqlite():
            key = given or KeyFile(place.vault_key)
            blobs = place_for_blobs(settings, place.blobs)
            return assembled(place, SqliteLog(place.path), tables, key, blobs, settings)
        case Memory():
            return open_at(place, settings=settings)


def _checks(place: Address) -> Checks | None:
    match place:
        case Postgres():
            return PostgresChecks(place)
        case Sqlite():
            return SqliteChecks(place)
        case Memory():
            return None


def _opens(store: Store, key: Key) -> bool:
    """Tell whether a key can be unwrapped. Raises `WrongVaultKey` for the vault's own."""
    try:
        if key.wrapped is not None:
            store.vault.unwrap(key.subject, key.wrapped)
    except WrongVaultKey:
        if key.subject == _VAULT:
            raise
        return False
    return True


def _follow_blobs(referring: References, record: Recorded) -> None:
    """Keep which blobs are needed behind an event, and which one was the last to need each."""
    try:
        referring.over([record])
    except (ValueError, LookupError, TypeError, AttributeError):
        return  # an altered event: its seal tells


def _mended(difference: Difference) -> str:
    """Return the statement that makes a claim what the events say."""
    kind, value = (_literal(text) for text in difference[:2])
    if difference.folded is None:
        return f"DELETE FROM claims WHERE kind = {kind} AND value = {value}"
    return (
        f"INSERT INTO claims VALUES ({kind}, {value}, {_literal(difference.folded)})"
        " ON CONFLICT (kind, value) DO UPDATE SET stream = excluded.stream"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
