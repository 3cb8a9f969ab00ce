"""Makes the recorders of an application on its own store."""

from threading import Lock
from typing import Any, TypeVar

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    ProcessRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from refold.domain.errors import Refused
from refold.infrastructure import applications, config
from refold.infrastructure.eventsourcing.errors import told
from refold.infrastructure.eventsourcing.log import ApplicationLog
from refold.infrastructure.eventsourcing.recorders import (
    RefoldAggregateRecorder,
    RefoldApplicationRecorder,
    RefoldProcessRecorder,
    RefoldSnapshotRecorder,
    RefoldTrackingRecorder,
)

R = TypeVar("R")


class Factory(InfrastructureFactory[RefoldTrackingRecorder]):
    """The infrastructure of one application: a store below `REFOLD_STORE`, named after it.

    The store is made unless `CREATE_TABLE` says no. What refold reads from the environment besides,
    such as `REFOLD_PASSWORD`, holds here, too.
    """

    REFOLD_STORE = "REFOLD_STORE"
    CREATE_TABLE = "CREATE_TABLE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        """Raises `InfrastructureFactoryError` where the environment names no store that can be."""
        super().__init__(env)
        self._lock = Lock()
        self._opened: ApplicationLog | None = None
        address = self.env.get(self.REFOLD_STORE)
        if not address:
            raise InfrastructureFactoryError(
                "REFOLD_STORE names no store: set it to sqlite:///FOLDER, postgresql://… or memory:"
            )
        try:
            below = config.of_environment().address(address)
            self._place = applications.place(below, self.env.name)
        except Refused as error:
            raise InfrastructureFactoryError(str(error)) from error

    @property
    def _log(self) -> ApplicationLog:
        """Return the log, opened once a recorder needs it: a follower wants its leader's mapper."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> ApplicationLog:
        create = strtobool(self.env.get(self.CREATE_TABLE) or "yes")
        with told():
            log = applications.opened(self._place, create=create)
        if len(log.heads()) != 1:
            log.close()
            raise InfrastructureFactoryError(
                f"{self._place.public} has several partitions; an application's events are one"
                " sequence"
            )
        return ApplicationLog(log)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Return what keeps the `events` of aggregates, or their `snapshots`."""
        match purpose:
            case "events":
                return RefoldAggregateRecorder(self._log)
            case "snapshots":
                return RefoldSnapshotRecorder(self._log)
            case _:
                raise InfrastructureFactoryError(
                    f"a refold store keeps events and snapshots, and no {purpose}"
                )

    def application_recorder(self) -> ApplicationRecorder:
        """Return what keeps an application's events."""
        own = self._named(self.APPLICATION_RECORDER_TOPIC, RefoldApplicationRecorder)
        return own(self._log)

    def tracking_recorder(
        self, tracking_recorder_class: type[Any] | None = None
    ) -> RefoldTrackingRecorder:
        """Return what keeps trackings: of the class that is given, or named, or the plain one."""
        own = (
            self._named(self.TRACKING_RECORDER_TOPIC, RefoldTrackingRecorder)
            if tracking_recorder_class is None
            else _fitting(tracking_recorder_class, RefoldTrackingRecorder)
        )
        return own(self._log)

    def process_recorder(self) -> ProcessRecorder:
        """Return what keeps a process application's events and trackings."""
        return self._named(self.PROCESS_RECORDER_TOPIC, RefoldProcessRecorder)(self._log)

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _named(self, key: str, ordinary: type[R]) -> type[R]:
        topic = self.env.get(key)
        return _fitting(resolve_topic(topic), ordinary) if topic else ordinary


def _fitting(given: type[Any], ordinary: type[R]) -> type[R]:
    """Return a recorder's class that can stand on a refold store."""
    if not (isinstance(given, type) and issubclass(given, ordinary)):
        raise InfrastructureFactoryError(
            f"{getattr(given, '__qualname__', given)} is no {ordinary.__name__}: recorders made for"
            " another database cannot stand on a refold store"
        )
    return given
