"""What refold's errors are called by the eventsourcing library."""

from types import TracebackType
from typing import Final

from eventsourcing.persistence import DataError, IntegrityError, OperationalError

from refold.domain.errors import AlreadyTracked, Conflict, Refused, Unavailable
from refold.domain.texts import IllFormedText


class told:  # noqa: N801 - reads like contextlib.suppress, and is entered for every event
    """Raise the library's errors instead of refold's.

    `IntegrityError` says that somebody was faster, `DataError` that a text cannot be kept, and
    `OperationalError` that the store cannot be reached, has moved, or is closed.
    """

    __slots__ = ("is_closed",)

    def __init__(self) -> None:
        self.is_closed = False

    def __enter__(self) -> None:
        if self.is_closed:
            raise OperationalError(_CLOSED)

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        match error:
            case Conflict() | AlreadyTracked():
                raise IntegrityError(str(error)) from error
            case IllFormedText():
                raise DataError(str(error)) from error
            case Refused() | Unavailable():
                raise OperationalError(str(error)) from error
            case Exception() if self.is_closed:  # beneath who was at work
                raise OperationalError(_CLOSED) from error


_CLOSED: Final = "this application's store is closed"
