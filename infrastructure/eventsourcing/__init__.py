"""A refold store as persistence module of the eventsourcing library.

`PERSISTENCE_MODULE=refold.infrastructure.eventsourcing` and `REFOLD_STORE` run its applications on
refold. Nothing else of refold needs the library, which is the extra `refold[eventsourcing]`.
"""

from refold.infrastructure.eventsourcing.factory import Factory

__all__ = ["Factory"]
