"""Group commit: callers that append at the same time share one commit of the log."""

from asyncio import AbstractEventLoop, Future, get_running_loop
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from itertools import islice
from threading import Lock, get_ident
from typing import Final, Protocol

from refold.domain.errors import Unavailable
from refold.domain.ports import Command, Outcome
from refold.infrastructure.appending.sorting import by_partition, split

MOST_COMMANDS: Final = 500
"""Commands of one batch."""

PATIENCE_SECONDS: Final = 0.001
"""How long a batch waits for as many callers as the last one had: they are on their way back."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the events of one batch. What one caller gives goes in at once, whatever its size."""


class Appending(Protocol):
    """What is needed of an `EventLog`."""

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        """Do what `EventLog.append` promises."""
        ...


class GroupCommit:
    """Appends for many threads and tasks: what is queued while one commit runs shares the next.

    The first thread that waits appends for all, so nobody waits for a timer or for another thread
    to start; where only tasks wait, one worker thread does. Not for use in signal handlers.

    A signal handler may raise behind any call, also when a caller leaves. It leaves once more
    then, so to answer and to hand over can be begun twice.
    """

    def __init__(self, log: Appending) -> None:
        """Stand in front of `log`, which others may go on using directly."""
        self._log = log
        self._lock = Lock()  # guards what follows; never held while the log appends
        self._queue: deque[_Member] = deque()
        self._leader: _Member | None = None
        self._thread: int | None = None
        self._starting: AbstractEventLoop | None = None
        self._expected = 0
        self._are_there = Lock()
        self._are_there.acquire()
        self._worker = ThreadPoolExecutor(1, "refold-group-commit")

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a commit to begin."""
        return len(self._queue)

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        """Return one outcome for each command, as `EventLog.append` does; for many threads.

        Raises what the log raises for these commands. Raises `Unavailable` when the log did for
        the batch that they were in, or when the thread that appended it was interrupted.
        """
        caller = get_ident()
        if self._thread == caller:  # the log itself appends something
            return self._log.append(commands)
        try:
            try:
                if self._leads_alone(caller):
                    return self._log.append(commands)
            finally:
                if self._thread == caller:
                    self._leave_alone(caller)
        except BaseException:
            if self._thread == caller:
                self._leave_alone(caller)
            raise
        return self._append_with_others(commands)

    def _append_with_others(self, commands: Sequence[Command]) -> list[Outcome]:
        member = _Thread(commands)
        try:
            try:
                with self._lock:
                    self._join(member)
                    waits = self._leader is not None
                    self._leader = self._leader or member
                if waits:
                    member.wait()
                self._lead(member)
            finally:
                self._leave(member)
        except BaseException:
            self._leave(member)
            raise
        if member.error:
            raise member.error
        return member.outcomes

    async def append_async(self, commands: Sequence[Command]) -> list[Outcome]:
        """Do what `append` does without blocking the event loop; for many tasks, of many loops.

        The commands of a task that is cancelled meanwhile go in or not, without a word; appending
        them again tells.
        """
        if self._thread == get_ident():
            return self._log.append(commands)
        member = _Task(commands, get_running_loop())
        with self._lock:
            self._join(member)
            if self._leader is None and self._starting is not member.loop:
                self._starting = member.loop
                member.loop.call_soon(self._start)  # the tasks that go on now queue before
        return await member.future

    def _start(self) -> None:
        with self._lock:
            self._starting = None
            if self._leader is None:
                self._hand_over()

    def _work(self, member: "_Member") -> None:
        try:
            self._lead(member)
        finally:
            self._leave(member)

    def _leads_alone(self, caller: int) -> bool:
        """Take the lead where nobody waits, and nobody is on their way back."""
        with self._lock:
            alone = self._leader is None and not self._queue and self._expected < 2
            if alone:
                self._thread, self._leader = caller, _ALONE
            return alone

    def _leave_alone(self, caller: int) -> None:
        with self._lock:
            if self._thread == caller:
                self._expected = 1 + len(self._queue)
                self._hand_over()

    def _join(self, member: "_Member") -> None:
        self._queue.append(member)
        if len(self._queue) == self._expected:
            with suppress(RuntimeError):  # nobody waits for that
                self._are_there.release()

    def _lead(self, member: "_Member") -> None:
        if isinstance(member, _Thread) and not member.answered:
            self._gather()
        while not member.answered:
            self._commit(member)

    def _gather(self) -> None:
        """Wait for those who were answered last: they are on their way back."""
        with self._lock:
            waits = len(self._queue) < self._expected
            self._are_there.acquire(blocking=False)  # from a time when nobody waited
        if waits:
            self._are_there.acquire(timeout=PATIENCE_SECONDS)

    def _leave(self, member: "_Member") -> None:
        """Let go of what an interrupted thread leaves behind, and of the lead."""
        if member.answered and self._leader is not member:
            return
        with self._lock:
            if member in self._queue:
                self._queue.remove(member)
            if self._leader is member:
                self._hand_over()

    def _hand_over(self) -> None:
        """Wake who leads next, then let go: who is woken waits for the lock."""
        leader = self._next() if self._queue else None
        self._leader, self._thread = leader, None

    def _next(self) -> "_Member | None":
        for member in self._queue:
            if isinstance(member, _Thread):
                member.wake()
                return member
        with suppress(RuntimeError):  # the interpreter ends: no more threads
            self._worker.submit(self._work, self._queue[0])
            return self._queue[0]
        return None

    # --- batches --------------------------------------------------------------------

    def _commit(self, leader: "_Member") -> None:
        """Append a batch and answer its members, whatever happens."""
        batch: list[_Member] = []
        try:
            try:
                self._take(leader, batch)
                self._append(batch)
            except Unavailable as error:
                _fail(batch, error)
            finally:
                self._expected = len(batch) + len(self._queue)
                _answer(batch)
        except BaseException:
            _answer(batch)
            raise

    def _take(self, leader: "_Member", batch: "list[_Member]") -> None:
        commands = size = 0
        with self._lock:
            self._leader, self._thread = leader, get_ident()
            while self._queue:
                member = self._queue[0]
                commands += len(member.commands)
                size += member.size
                if batch and (commands > MOST_COMMANDS or size > MOST_BYTES):
                    return
                batch += [member]  # not by calls: between them a signal might come
                del self._queue[0]

    def _append(self, members: "Sequence[_Member]") -> None:
        """Append what `members` want; if that cannot be, find those who want what cannot be.

        Trying again is safe: ids tell what went in before.
        """
        try:
            outcomes = iter(self._log.append([each for one in members for each in one.commands]))
        except Unavailable:
            raise
        except Exception as error:
            middle = len(members) // 2
            if middle:
                self._append(members[:middle])
                self._append(members[middle:])
            else:
                members[0].fail(error)
        else:
            for member in members:
                member.succeed(list(islice(outcomes, len(member.commands))))


class PartitionedCommit:
    """A group commit for each partition: none has to wait for another's commit."""

    def __init__(self, log: Appending, partitions: int) -> None:
        self._groups = [GroupCommit(log) for _ in range(partitions)]

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        """Return one outcome for each command, as `GroupCommit.append` does."""
        groups = self._groups
        return by_partition(
            commands, len(groups), lambda partition, own: groups[partition].append(own)
        )

    async def append_async(self, commands: Sequence[Command]) -> list[Outcome]:
        """Do what `append` does without blocking the event loop."""
        outcomes: dict[int, Outcome] = {}
        for partition, indexes in split(commands, len(self._groups)).items():
            own = [commands[index] for index in indexes]
            result = await self._groups[partition].append_async(own)
            outcomes.update(zip(indexes, result, strict=True))
        return [outcomes[index] for index in range(len(commands))]


class _Member:
    """What one caller wants to have appended, and what came of it."""

    __slots__ = ("answered", "commands", "error", "outcomes", "size")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = tuple(commands)
        self.size = 0
        for command in self.commands:
            for write in command.writes:
                for event in write.events:
                    self.size += len(event.data) + len(event.metadata)
        self.answered = False
        self.outcomes: list[Outcome] = []
        self.error: Exception | None = None

    def succeed(self, outcomes: list[Outcome]) -> None:
        self.outcomes = outcomes
        self.answered = True

    def fail(self, error: Exception) -> None:
        self.error = error
        self.answered = True


_ALONE: Final = _Member(())
"""Leads for a caller that found nobody else, and so needs no place in the queue."""


class _Thread(_Member):
    """It waits until it is answered or has to lead."""

    __slots__ = ("_asleep",)

    def __init__(self, commands: Sequence[Command]) -> None:
        super().__init__(commands)
        self._asleep = Lock()
        self._asleep.acquire()

    def wait(self) -> None:
        self._asleep.acquire()

    def wake(self) -> None:
        with suppress(RuntimeError):  # it is awake
            self._asleep.release()


class _Task(_Member):
    __slots__ = ("future", "loop")

    def __init__(self, commands: Sequence[Command], loop: AbstractEventLoop) -> None:
        super().__init__(commands)
        self.loop = loop
        self.future: Future[list[Outcome]] = loop.create_future()

    def resolve(self) -> None:
        if self.future.done():  # cancelled
            return
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.outcomes)


def _fail(members: Sequence[_Member], error: Unavailable) -> None:
    """Tell all who have no answer yet, each by an error of its own to raise."""
    for member in members:
        if not member.answered:
            own = copy(error)
            own.__cause__ = error
            member.fail(own)


def _answer(members: Sequence[_Member]) -> None:
    """Wake threads one by one, and each event loop once for all of its tasks.

    Who has no answer yet is told that the thread that appended was interrupted.
    """
    _fail(members, Unavailable("the thread that appended this was interrupted"))
    tasks: dict[AbstractEventLoop, list[_Task]] = {}
    for member in members:
        if isinstance(member, _Thread):
            member.wake()
        elif isinstance(member, _Task):
            tasks.setdefault(member.loop, []).append(member)
    for loop, own in tasks.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(tasks: Sequence[_Task]) -> None:
    for task in tasks:
        task.resolve()
