"""Which blobs a log needs: those that events refer to, and no later one says were removed."""

from collections import defaultdict
from collections.abc import Iterable

from refold.domain.ports import Recorded
from refold.domain.positions import Positions
from refold.infrastructure.codec import Codec


class References:
    """Follows a log; its partitions may come one after the other."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._last: defaultdict[int, dict[str, int]] = defaultdict(dict)
        self._removed: dict[str, Positions] = {}

    def over(self, records: Iterable[Recorded]) -> None:
        """Go over the next events of a partition."""
        for record in self._codec.about_blobs(records):
            refers = dict.fromkeys(self._codec.blobs(record), record.position)
            self._last[record.partition].update(refers)
            for sha256, until in self._codec.removed_blobs(record).items():
                before = self._removed.get(sha256)
                self._removed[sha256] = until.joined(before) if before else until

    def needed(self, sha256: str) -> int | None:
        """Return the position of an event that needs a blob, None when none does."""
        for partition, last in self._last.items():
            position = last.get(sha256, 0)
            if position > self.removed_until(sha256)[partition]:
                return position
        return None

    def removed_until(self, sha256: str) -> Positions:
        """Return up to where no event needs a blob, because it was removed."""
        return self._removed.get(sha256, _NOWHERE)

    def all(self) -> dict[str, int]:
        """Return the blobs that are needed, each with the position of an event that needs it."""
        named = (sha256 for last in self._last.values() for sha256 in last)
        return {sha256: position for sha256 in named if (position := self.needed(sha256))}


_NOWHERE = Positions(())
