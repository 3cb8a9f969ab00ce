"""Requests about pushes: what git-proxy audits, and what reviewers decide."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from refold.domain import push, streams
from refold.domain.ports import Valued
from refold.infrastructure import push_documents
from refold.infrastructure.requests.request import Fields, Situation

ID: Final = "push id"
"""The kind of the claims that lead from each id of a push to its stream."""


def state(events: Sequence[Valued]) -> push.Push:
    """Return the push that its events add up to."""
    return push.after(*(event.value for event in events))  # type: ignore[arg-type]


class _AboutPush(Fields):
    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return {(ID, id) for id in push.after(*values).ids}  # type: ignore[arg-type]


class RecordPush(_AboutPush):
    """Keep what git-proxy audited: a whole document. An authorised push is let through."""

    document: dict[str, Any]

    def stream(self) -> str:
        return streams.name("push", push.id_of(self.document))

    def found_by(self) -> tuple[str, str]:
        return ID, push.id_of(self.document)

    def decide(self, now: Situation) -> Sequence[object]:
        document, blobs, contents = push_documents.cut(self.document)
        return _keeping(contents, now, push.record(state(now.events), document, blobs))


class OfPush(_AboutPush):
    """What is asked of one push, by any of its ids."""

    id: str

    def stream(self) -> str:
        return streams.name("push", self.id)

    def found_by(self) -> tuple[str, str]:
        return ID, push.checked(self.id)


class AuthorisePush(OfPush):
    """Approve a push; without an attestation it has none."""

    attestation: dict[str, Any] | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        attestation, blobs, contents = _cut("attestation", self.attestation)
        decided = push.authorise(state(now.events), self.id, attestation, blobs)
        return _keeping(contents, now, decided)


class RejectPush(OfPush):
    """Reject a push, and keep why."""

    rejection: dict[str, Any]

    def decide(self, now: Situation) -> Sequence[object]:
        rejection, blobs, contents = _cut("rejection", self.rejection)
        return _keeping(contents, now, push.reject(state(now.events), self.id, rejection, blobs))


class CancelPush(OfPush):
    """Cancel a push."""

    def decide(self, now: Situation) -> Sequence[object]:
        return push.cancel(state(now.events), self.id)


class RekeyPush(OfPush):
    """Give a push another id; the ids that it had lead to it as before."""

    new_id: str

    def decide(self, now: Situation) -> Sequence[object]:
        return push.rekey(state(now.events), self.id, self.new_id)


class DeletePush(OfPush):
    """Forget a push; there being none is no error."""

    def decide(self, now: Situation) -> Sequence[object]:
        return push.delete(state(now.events))


def _cut(field: str, payload: Mapping[str, Any] | None) -> tuple[Any, dict[str, str], list[bytes]]:
    """Return a field of the document without what is big in it; see `push_documents.cut`."""
    document, blobs, contents = push_documents.cut({field: payload})
    return document[field], blobs, contents


def _keeping(
    contents: Sequence[bytes], now: Situation, events: Sequence[push.Event]
) -> Sequence[push.Event]:
    """Keep as blobs what `events`, to be appended afterwards, name."""
    if events != [push.Allowed()]:  # of the document that came, nothing is kept
        for content in contents:
            now.store.blobs.put([content])
    return events
