"""The suites that the eventsourcing library ships for persistence modules, on every engine.

They run as they are shipped: nothing is edited or left out. What the library's own tests assert
of its own tables beside these suites (their names and columns, `ORIGINATOR_ID_TYPE`, connection
pools, row ids) is no part of them, and none of it is asserted here.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.utils import Environment

from refold.infrastructure.eventsourcing.factory import Factory
from refold.infrastructure.eventsourcing.recorders import (
    RefoldAggregateRecorder,
    RefoldApplicationRecorder,
    RefoldProcessRecorder,
    RefoldTrackingRecorder,
)


class OnAnEngine:
    """Gives each test an environment of its own, and closes what it made."""

    __test__ = False
    ENGINE: ClassVar[str]
    env: Environment

    @pytest.fixture(autouse=True)
    def _place(self, new_environment: Callable[[str], dict[str, str]]) -> Any:
        self.env = Environment("Conforming", new_environment(self.ENGINE))
        self._made: list[InfrastructureFactory[Any]] = []
        yield
        for factory in self._made:
            factory.close()

    def made(self) -> InfrastructureFactory[Any]:
        """Return a factory as an application makes it."""
        self._made.append(InfrastructureFactory.construct(self.env))
        return self._made[-1]


class Events(OnAnEngine, AggregateRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.made().aggregate_recorder()


class Snapshots(OnAnEngine, AggregateRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.made().aggregate_recorder(purpose="snapshots")


class Applications(OnAnEngine, ApplicationRecorderTestCase[Any]):
    def create_recorder(self) -> Any:
        return self.made().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class FromZero(OnAnEngine, ApplicationRecorderTestCase[Any]):
    """Aggregates whose versions count from 0."""

    INITIAL_VERSION = 0

    def create_recorder(self) -> Any:
        return self.made().application_recorder()


class Trackings(OnAnEngine, TrackingRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.made().tracking_recorder()


class Processes(OnAnEngine, ProcessRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.made().process_recorder()


class NotInterleaving(OnAnEngine, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> Any:
        return self.made().application_recorder()


class OwnTrackingRecorder(RefoldTrackingRecorder):
    pass


class Factories(OnAnEngine, InfrastructureFactoryTestCase[Factory]):
    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[RefoldAggregateRecorder]:
        return RefoldAggregateRecorder

    def expected_application_recorder_class(self) -> type[RefoldApplicationRecorder]:
        return RefoldApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[RefoldTrackingRecorder]:
        return RefoldTrackingRecorder

    def tracking_recorder_subclass(self) -> type[OwnTrackingRecorder]:
        return OwnTrackingRecorder

    def expected_process_recorder_class(self) -> type[RefoldProcessRecorder]:
        return RefoldProcessRecorder


# --- memory --------------------------------------------------------------------------


class TestEventsOnMemory(Events):
    __test__ = True
    ENGINE = "memory"


class TestSnapshotsOnMemory(Snapshots):
    __test__ = True
    ENGINE = "memory"


class TestApplicationsOnMemory(Applications):
    __test__ = True
    ENGINE = "memory"


class TestFromZeroOnMemory(FromZero):
    __test__ = True
    ENGINE = "memory"


class TestTrackingsOnMemory(Trackings):
    __test__ = True
    ENGINE = "memory"


class TestProcessesOnMemory(Processes):
    __test__ = True
    ENGINE = "memory"


class TestNotInterleavingOnMemory(NotInterleaving):
    __test__ = True
    ENGINE = "memory"


class TestFactoriesOnMemory(Factories):
    __test__ = True
    ENGINE = "memory"


# --- sqlite --------------------------------------------------------------------------


class TestEventsOnSqlite(Events):
    __test__ = True
    ENGINE = "sqlite"


class TestSnapshotsOnSqlite(Snapshots):
    __test__ = True
    ENGINE = "sqlite"


class TestApplicationsOnSqlite(Applications):
    __test__ = True
    ENGINE = "sqlite"


class TestFromZeroOnSqlite(FromZero):
    __test__ = True
    ENGINE = "sqlite"


class TestTrackingsOnSqlite(Trackings):
    __test__ = True
    ENGINE = "sqlite"


class TestProcessesOnSqlite(Processes):
    __test__ = True
    ENGINE = "sqlite"


class TestNotInterleavingOnSqlite(NotInterleaving):
    __test__ = True
    ENGINE = "sqlite"


class TestFactoriesOnSqlite(Factories):
    __test__ = True
    ENGINE = "sqlite"


# --- postgres ------------------------------------------------------------------------


class TestEventsOnPostgres(Events):
    __test__ = True
    ENGINE = "postgres"


class TestSnapshotsOnPostgres(Snapshots):
    __test__ = True
    ENGINE = "postgres"


class TestApplicationsOnPostgres(Applications):
    __test__ = True
    ENGINE = "postgres"


class TestFromZeroOnPostgres(FromZero):
    __test__ = True
    ENGINE = "postgres"


class TestTrackingsOnPostgres(Trackings):
    __test__ = True
    ENGINE = "postgres"


class TestProcessesOnPostgres(Processes):
    __test__ = True
    ENGINE = "postgres"


class TestNotInterleavingOnPostgres(NotInterleaving):
    __test__ = True
    ENGINE = "postgres"


class TestFactoriesOnPostgres(Factories):
    __test__ = True
    ENGINE = "postgres"
