"""Another library that does the same work, where it is installed: eventsourcing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from types import ModuleType

from refold.scripts.measure.row import Peer, Peers
from refold.scripts.measure.site import Site


@contextmanager
def eventsourcing(
    site: Site, work: Callable[[ModuleType], AbstractContextManager[Peer]]
) -> Iterator[Peers]:
    """Give what the eventsourcing library does, where it is: `work` is told of our `library`."""
    if not (site.peers and find_spec("eventsourcing")):
        yield {}
        return
    from refold.scripts.measure import library

    with work(library) as peer:
        yield {"eventsourcing": peer}
