"""What refold's errors are called by the eventsourcing library."""

from collections.abc import Iterator
from contextlib import contextmanager

from eventsourcing.persistence import DataError, IntegrityError, OperationalError

from refold.domain.errors import AlreadyTracked, Conflict, Refused, Unavailable
from refold.domain.texts import IllFormedText


@contextmanager
def told() -> Iterator[None]:
    """Raise the library's errors instead of refold's.

    `IntegrityError` says that somebody was faster, `DataError` that a text cannot be kept, and
    `OperationalError` that the store cannot be reached, or has moved.
    """
    try:
        yield
    except (Conflict, AlreadyTracked) as error:
        raise IntegrityError(str(error)) from error
    except IllFormedText as error:
        raise DataError(str(error)) from error
    except (Refused, Unavailable) as error:
        raise OperationalError(str(error)) from error
