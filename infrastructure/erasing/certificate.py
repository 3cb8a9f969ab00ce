"""What an erasure did and found: the proof that a person can read and keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Final, NamedTuple

from refold.domain import times

MOST: Final = 1_000
"""Findings that are told of one by one."""


class Finding(NamedTuple):
    """Where something of the person is left: never the text itself, but what it is."""

    what: str
    table: str
    column: str
    key: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the finding as `--json` prints it."""
        return {**self._asdict(), "key": list(self.key)}


@dataclass(slots=True)
class Naming:
    """Events of one type that name the person and stay: how many, and the first position."""

    first: int
    events: int = 0
    what: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Certificate:
    """What became of a person in one store.

    `stream` tells who it was, `position` where they were erased, `again` that this was before.
    `sought` counts the texts that were looked for, `shared` those that another user has, too, and
    that were not; `not_sought` is what nobody can read any more. `scanned` tells where was looked,
    and how many rows, events or bytes there were.
    `pushes` and `named` are kept on purpose; what `found` holds is left and should not be.
    """

    store: str
    log_id: str
    stream: str
    again: bool
    made_at: str = field(default_factory=lambda: times.text(time_ns() // 1_000))
    position: int = 0
    erased_at: str | None = None
    sessions: int = 0
    roles: int = 0
    uploads: int = 0
    blobs_removed: int = 0
    blobs_kept: int = 0
    generations_dropped: list[str] = field(default_factory=list)
    sought: Mapping[str, int] = field(default_factory=dict)
    shared: int = 0
    not_sought: Sequence[str] = ()
    scanned: dict[str, int] = field(default_factory=dict)
    not_scanned: Sequence[str] = ()
    pushes: list[str] = field(default_factory=list)
    named: dict[str, Naming] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)
    more: int = 0

    @property
    def clean(self) -> bool:
        """Tell whether nothing was found that should be gone."""
        return not self.found

    def add(self, findings: Iterable[Finding]) -> None:
        """Keep what was found, each once; what is too much is counted."""
        known = set(self.found)
        for finding in findings:
            if finding in known:
                continue
            if len(self.found) < MOST:
                self.found.append(finding)
                known.add(finding)
            else:
                self.more += 1

    def document(self) -> dict[str, Any]:
        """Return the certificate as `--json` prints it."""
        return {
            "clean": self.clean,
            "store": self.store,
            "log_id": self.log_id,
            "stream": self.stream,
            "position": self.position,
            "erased_at": self.erased_at,
            "again": self.again,
            "made_at": self.made_at,
            "sessions_ended": self.sessions,
            "roles_revoked": self.roles,
            "uploads_deleted": self.uploads,
            "blobs": {"removed": self.blobs_removed, "kept_for_others": self.blobs_kept},
            "generations_dropped": self.generations_dropped,
            "sought": dict(self.sought),
            "shared_with_others": self.shared,
            "not_sought": list(self.not_sought),
            "scanned": self.scanned,
            "not_scanned": list(self.not_scanned),
            "kept": {
                "pushes": self.pushes,
                "events": {
                    type: {
                        "events": naming.events,
                        "first": naming.first,
                        "what": sorted(naming.what),
                    }
                    for type, naming in sorted(self.named.items())
                },
            },
            "found": [finding.document() for finding in self.found],
            "found_more": self.more,
        }
