"""What group commit promises its callers, in front of the log of every engine."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from threading import Event, Thread, get_ident
from time import monotonic, sleep
from types import NoneType
from typing import Any, Final, TypeVar

import pytest

from refold.domain.errors import CommandIdTaken, Conflict, Refused, Unavailable
from refold.domain.ports import Appended, Command, Log, NewEvent, Outcome, Write
from refold.infrastructure.appending import group_commit
from refold.infrastructure.appending.group_commit import MOST_BYTES, MOST_COMMANDS, GroupCommit
from refold.tests.interrupting import Interrupted, interrupted

T = TypeVar("T")

PATIENCE: Final = 20
"""Seconds after which a caller that still waits counts as stuck."""

METADATA: Final = b'{"actor":"ada"}'
EMPTY: Final = Command("empty", ())
UNSTORABLE: Final = Command("odd", (Write("user-\ud800", 0, (NewEvent("t", 1, b"", b""),)),))

Answer = Outcome | Exception


# --- outcomes -----------------------------------------------------------------------


def test_outcomes_are_those_of_the_log(log: Log) -> None:
    group = GroupCommit(log)

    outcomes = group.append([command("1", "user-ada", 0), command("2", "user-bob", None)])
    later = asyncio.run(group.append_async([command("1", "user-ada", 0)]))

    assert outcomes == [Appended(0, 1, "user-ada", 1), Appended(0, 2, "user-bob", 1)]
    assert later == [Appended(0, 1, "user-ada", 1, again=True)]
    assert group.append([]) == asyncio.run(group.append_async([])) == []


def test_each_of_many_threads_gets_its_own_outcomes(log: Log) -> None:
    group = GroupCommit(log)

    def call(name: str) -> list[Answer]:
        return [answer(partial(group.append, [each])) for each in requests(name)]

    names = [f"user-{n}" for n in range(16)]
    calls = [in_thread(partial(call, name)) for name in names]
    answers = {name: result(call) for name, call in zip(names, calls, strict=True)}

    check_answers(answers, log)


def test_each_of_many_tasks_gets_its_own_outcomes(log: Log) -> None:
    group = GroupCommit(log)

    async def call(name: str) -> list[Answer]:
        return [await answer_async(group.append_async([each])) for each in requests(name)]

    async def call_at_once() -> list[list[Answer]]:
        return await patiently(asyncio.gather(*map(call, names)))

    names = [f"user-{n}" for n in range(64)]
    answers = asyncio.run(call_at_once())

    check_answers(dict(zip(names, answers, strict=True)), log)


def test_a_later_caller_sees_what_an_earlier_one_of_the_same_batch_did(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)

    answers = queued_behind(watched, group, *([command(f"{n}", "user-x", n)] for n in range(9)))

    assert answers == [[Appended(0, n + 2, "user-x", n + 1)] for n in range(9)]
    assert watched.batches == [1, 9]


def test_an_id_that_is_queued_twice_gives_its_first_outcome_to_both(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    twice = [command("1", "user-x", 0)]

    answers = queued_behind(watched, group, twice, twice)

    first = Appended(0, 2, "user-x", 1)
    assert answers == [[first], [Appended(0, 2, "user-x", 1, again=True)]]
    assert watched.batches == [1, 2]


# --- batches ------------------------------------------------------------------------


def test_threads_and_tasks_that_queue_during_a_commit_share_the_next(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    first = hold(watched, group)

    threads = [
        in_thread(partial(group.append, [command(f"{n}", f"user-{n}", 0)])) for n in range(7)
    ]
    task = in_thread(lambda: asyncio.run(group.append_async([command("t", "user-t", None)])))
    wait_until(lambda: group.waiting == 8)
    watched.go_on.set()
    outcomes = [result(call)[0] for call in (first, *threads, task)]

    assert sorted(positions(outcomes)) == list(range(1, 10))
    assert watched.batches == [1, 8]


def test_tasks_that_are_ready_together_share_few_commits(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)

    async def call_at_once() -> None:
        await asyncio.gather(
            *(group.append_async([command(f"{n}", f"user-{n}", 0)]) for n in range(64))
        )

    asyncio.run(call_at_once())

    assert watched.batches == [64]


def test_a_thread_waits_for_those_who_were_answered_with_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", PATIENCE)
    watched = Watched(log)
    group = GroupCommit(watched)
    queued_behind(watched, group, *([command(f"{n}", f"user-{n}", 0)] for n in range(2)))

    early = in_thread(lambda: group.append([command("early", "user-a", 0)]))
    wait_until(lambda: group.waiting == 1)
    late = asyncio.run(group.append_async([command("late", "user-b", 0)]))

    assert positions([*result(early), *late]) == [4, 5]
    assert watched.batches == [1, 2, 2]


def test_a_thread_that_queued_behind_a_lone_caller_waits_for_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", PATIENCE)
    watched = Watched(log)
    group = GroupCommit(watched)
    lone = hold(watched, group)

    behind = in_thread(lambda: group.append([command("behind", "user-a", 0)]))
    wait_until(lambda: group.waiting == 1)
    watched.go_on.set()
    result(lone)
    back = asyncio.run(group.append_async([command("back", "user-b", 0)]))

    assert positions([*result(behind), *back]) == [2, 3]
    assert watched.batches == [1, 2]


def test_a_thread_takes_along_the_task_that_queued_before_it(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)

    async def call_both() -> list[Outcome]:
        task = asyncio.create_task(group.append_async([command("task", "user-a", 0)]))
        await asyncio.sleep(0)
        [later] = group.append([command("thread", "user-b", 0)])
        return [*await patiently(task), later]

    assert positions(asyncio.run(call_both())) == [1, 2]
    assert watched.batches == [2]


@pytest.mark.parametrize(
    ("calls", "batches"),
    [
        ((MOST_COMMANDS // 2, MOST_COMMANDS // 2, 1), [MOST_COMMANDS, 1]),
        ((MOST_COMMANDS + 1, 1), [MOST_COMMANDS + 1, 1]),
    ],
    ids=["full", "more than full"],
)
def test_a_batch_is_bounded_by_its_commands(
    log: Log, calls: Sequence[int], batches: list[int]
) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    commands = (
        [command(f"{call}-{n}", f"user-{call}-{n}", 0) for n in range(length)]
        for call, length in enumerate(calls)
    )

    queued_behind(watched, group, *commands)

    assert watched.batches == [1, *batches]


def test_a_batch_is_bounded_by_its_bytes(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    half = bytes(MOST_BYTES // 2 - len(METADATA))

    answers = queued_behind(
        watched, group, *([command(f"{n}", f"user-{n}", 0, data=half)] for n in range(3))
    )

    assert positions(outcome for [outcome] in answers) == [2, 3, 4]
    assert watched.batches == [1, 2, 1]


# --- what goes wrong ----------------------------------------------------------------


@pytest.mark.parametrize("bad", [EMPTY, UNSTORABLE], ids=["refused", "unstorable"])
def test_a_command_that_cannot_be_appended_fails_its_caller_alone(log: Log, bad: Command) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    good = [[command(f"{n}", f"user-{n}", 0), command(f"+{n}", f"user-{n}", 1)] for n in range(6)]

    *answers, refusal = queued_behind(watched, group, *good[:4], *good[4:], [bad])
    between = queued_behind(watched, group, good[0], [bad], [command("7", "user-7", 0)])

    assert isinstance(refusal, Refused | UnicodeEncodeError)
    assert [positions(each) for each in answers] == [[n, n + 1] for n in range(2, 14, 2)]
    assert positions(between[0]) == [2, 3]
    assert type(between[1]) is type(refusal)
    assert positions(between[2]) == [15]


@pytest.mark.parametrize("goes_in", [True, False], ids=["after the commit", "before it"])
def test_an_unknown_outcome_reaches_all_of_its_batch_and_trying_again_tells(
    log: Log, goes_in: bool
) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    commands = [command(f"{n}", f"user-{n}", 0) for n in range(20)]
    watched.silent, watched.goes_in = {2}, goes_in

    answers = queued_behind(watched, group, *([each] for each in commands))
    outcomes = [group.append([each])[0] for each in commands]

    assert [type(each) for each in answers] == [Unavailable] * 20
    assert len(set(map(id, answers))) == 20
    assert sorted(positions(outcomes)) == list(range(2, 22))
    assert all(isinstance(each, Appended) and each.again is goes_in for each in outcomes)
    assert [each.command_id for each in log.page(0, 1, 99)] == [each.id for each in commands]


def test_a_store_that_falls_silent_while_a_bad_command_is_looked_for_is_asked_once(
    log: Log,
) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    watched.silent = {3}

    answers = queued_behind(
        watched, group, [EMPTY], *([command(f"{n}", f"user-{n}", 0)] for n in range(7))
    )

    assert [type(each) for each in answers] == [Unavailable] * 8
    assert watched.batches == [1, 8, 4]


# --- callers that leave -------------------------------------------------------------


def test_a_task_that_is_cancelled_disturbs_nobody_and_can_ask_again(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    appending, queued, other = (command(f"{n}", f"user-{n}", 0) for n in range(3))

    async def cancel() -> tuple[list[Any], list[Outcome]]:
        watched.go_on.clear()
        tasks = [asyncio.create_task(group.append_async([appending]))]
        await asyncio.to_thread(watched.begun.wait, PATIENCE)
        tasks += [asyncio.create_task(group.append_async([each])) for each in (queued, other)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        watched.go_on.set()
        ended = await patiently(asyncio.gather(*tasks, return_exceptions=True))
        return ended, await patiently(group.append_async([appending, queued]))

    [*left, stayed], again = asyncio.run(cancel())

    assert [type(each) for each in left] == [asyncio.CancelledError] * 2
    assert isinstance(stayed, list)
    assert isinstance(stayed[0], Appended)
    assert all(isinstance(each, Appended) and each.again for each in again)
    assert [each.command_id for each in log.page(0, 0, 9)] == ["0", "1", "2"]


def test_a_loop_that_is_closed_meanwhile_stops_nobody(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)

    first = hold(watched, group)

    async def leave() -> None:
        asyncio.create_task(group.append_async([command("1", "user-1", 0)]))  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(leave())
    waiting = in_thread(lambda: group.append([command("2", "user-2", 0)]))
    wait_until(lambda: group.waiting == 2)
    watched.go_on.set()
    later = asyncio.run(patiently(group.append_async([command("1", "user-1", 0)])))

    assert positions([*result(first), *result(waiting)]) == [1, 3]
    assert later == [Appended(0, 2, "user-1", 1, again=True)]


def test_a_loop_that_is_closed_right_after_a_task_queued_stops_nobody(log: Log) -> None:
    group = GroupCommit(log)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it tells of the task that never ends
    left = loop.create_task(group.append_async([command("1", "user-1", 0)]))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

    outcomes = asyncio.run(patiently(group.append_async([command("2", "user-2", 0)])))

    assert not left.done()
    assert outcomes == [Appended(0, 2, "user-2", 1)]


def test_a_thread_that_is_interrupted_while_it_appends_stops_nobody(log: Log) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    first = hold(watched, group)
    watched.interrupted = {2}

    calls = [in_thread(partial(group.append, [command(f"{n}", f"user-{n}", 0)])) for n in range(4)]
    wait_until(lambda: group.waiting == 4)
    watched.go_on.set()
    errors = [call.exception(PATIENCE) for call in calls]
    later = in_thread(lambda: group.append([command(f"{n}", f"user-{n}", 0) for n in range(4)]))

    assert positions(result(first)) == [1]
    assert sorted(type(each).__name__ for each in errors) == [
        *("KeyboardInterrupt", "Unavailable", "Unavailable", "Unavailable"),
    ]
    assert positions(result(later)) == [2, 3, 4, 5]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let ctrl-C interrupt, also where what started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("leads", [True, False], ids=["appends", "waits"])
def test_ctrl_c_ends_the_call_of_the_main_thread_and_of_no_other(log: Log, leads: bool) -> None:
    watched = Watched(log)
    group = GroupCommit(watched)
    main, mine = get_ident(), [command("mine", "user-mine", 0)]
    first = None if leads else hold(watched, group)
    watched.go_on.clear()

    def interrupt() -> list[Outcome]:
        watched.begun.wait(PATIENCE)
        other = in_thread(lambda: group.append([command("other", "user-other", 0)]))
        wait_until(lambda: group.waiting == (1 if leads else 2))
        sleep(0.05)  # a signal that comes just before a thread falls asleep does not wake it
        signal.pthread_kill(main, signal.SIGINT)
        wait_until(lambda: group.waiting == (0 if leads else 1))
        watched.go_on.set()
        return result(other)

    interrupting = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        group.append(mine)

    others = positions([*(result(first) if first else []), *result(interrupting)])
    assert others == list(range(1, len(others) + 1))
    assert positions(result(in_thread(lambda: group.append(mine)))) == [len(others) + 1]


@pytest.mark.parametrize("of_tasks", [False, True], ids=["threads", "tasks"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with another"])
def test_a_thread_that_is_interrupted_anywhere_stops_nobody(
    log: Log, alone: bool, of_tasks: bool
) -> None:
    points = 0
    for at in count(1):
        visited = Visited(log)
        queue = Queueing(GroupCommit(visited), f"{at}", of_tasks)
        mine = partial(queue.up, at)
        visited.visits = [[queue.up]] if alone else [[mine, queue.up], [queue.up]]

        (mine if alone else queue.up)()
        errors = [call.exception(PATIENCE) for call in queue.calls]
        again = result(in_thread(partial(queue.group.append, queue.commands)))

        assert all(isinstance(each, Appended) for each in again)
        assert {type(each) for each in errors} <= {NoneType, Interrupted, Unavailable}
        if not any(errors):
            break
        points = at
    assert points > 20


@pytest.mark.parametrize("from_task", [False, True], ids=["thread", "task"])
def test_a_log_that_appends_while_it_appends_does_not_wait_for_itself(
    log: Log, from_task: bool
) -> None:
    class Auditing(Watched):
        def append(self, commands: Sequence[Command]) -> list[Outcome]:
            if not self.batches:
                self.batches.append(0)
                group.append([command("audit", "user-audit", None)])
                asyncio.run(group.append_async([command("task", "user-audit", None)]))
            return super().append(commands)

    group = GroupCommit(Auditing(log))
    mine = [command("1", "user-1", 0)]

    call = in_thread(
        lambda: asyncio.run(group.append_async(mine)) if from_task else group.append(mine)
    )

    assert result(call) == [Appended(0, 3, "user-1", 1)]


# --- requests with an answer each ---------------------------------------------------


def requests(name: str) -> list[Command]:
    """Return commands that go in, went in before, conflict, are refused, or cannot go in."""
    return [
        command(f"{name} 1", name, 0),
        command(f"{name} 2", name, 1),
        command(f"{name} 1", name, 0),
        command(f"{name} 3", name, 1),
        command(f"{name} 2", f"{name}-other", 0),
        Command(f"{name} 4", ()),
        command("shared", "user-shared", 0),
        command(f"{name} 5", name, None),
    ]


def check_answers(answers: dict[str, list[Answer]], log: Log) -> None:
    for name, (first, second, again, stale, taken, refused, shared, last) in answers.items():
        assert isinstance(first, Appended)
        assert again == Appended(0, first.position, name, 1, again=True)
        assert positions([second, last]) == [each.position for each in log.stream(name)[1:]]
        assert isinstance(stale, Conflict)
        assert (stale.stream, stale.expected, stale.actual) == (name, 1, 2)
        assert isinstance(taken, CommandIdTaken)
        assert (taken.command_id, taken.stream) == (f"{name} 2", name)
        assert isinstance(refused, Refused)
        assert f"{name} 4" in str(refused)
        assert isinstance(shared, Appended)
    assert sum(each[6] == Appended(0, each[6].position, "user-shared", 1)  # type: ignore[union-attr]
               for each in answers.values()) == 1  # fmt: skip
    records = log.page(0, 0, 9999)
    assert [each.position for each in records] == list(range(1, 3 * len(answers) + 2))
    assert {each.command_id for each in records} == {
        "shared", *(f"{name} {number}" for name in answers for number in (1, 2, 5))
    }  # fmt: skip


def answer(call: Callable[[], list[Outcome]]) -> Answer:
    try:
        [outcome] = call()
    except Refused as refusal:
        return refusal
    return outcome


async def answer_async(call: Awaitable[list[Outcome]]) -> Answer:
    try:
        [outcome] = await call
    except Refused as refusal:
        return refusal
    return outcome


# --- a log that is watched, and callers that queue ----------------------------------


class Watched:
    """A log that notes its batches; it can be held, and fall silent or be interrupted."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.batches: list[int] = []
        self.begun, self.go_on = Event(), Event()
        self.go_on.set()
        self.silent: set[int] = set()
        self.interrupted: set[int] = set()
        self.goes_in = False

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        self.batches.append(len(commands))
        number = len(self.batches)
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        if number in self.interrupted:
            raise KeyboardInterrupt
        if number not in self.silent:
            return self.log.append(commands)
        if self.goes_in:
            self.log.append(commands)
        raise Unavailable("nobody heard what became of it")


class Visited:
    """A log where others come by while it appends."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.visits: list[list[Callable[[], None]]] = []

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        for visit in self.visits.pop(0) if self.visits else ():
            visit()
        return self.log.append(commands)


class Queueing:
    """Callers of one command each; the next comes when the last one waits or has its answer."""

    def __init__(self, group: GroupCommit, name: str, of_tasks: bool) -> None:
        self.group, self.name, self.of_tasks = group, name, of_tasks
        self.commands: list[Command] = []
        self.calls: list[Future[list[Outcome]]] = []

    def up(self, at: int = 0) -> None:
        """Queue up one more; a thread that is interrupted at a point, if one is given."""
        id = f"{self.name}-{len(self.commands)}"
        mine, waiting = [command(id, f"user-{id}", 0)], self.group.waiting
        self.commands += mine
        append = partial(self.group.append, mine)
        if at:
            call = in_thread(lambda: interrupted(append, at, group_commit))
        elif self.of_tasks:
            call = in_thread(lambda: asyncio.run(self.group.append_async(mine)))
        else:
            call = in_thread(append)
        self.calls.append(call)
        wait_until(lambda: call.done() or self.group.waiting > waiting)


def queued_behind(watched: Watched, group: GroupCommit, *calls: Sequence[Command]) -> list[Any]:
    """Return what tasks are told, or which error, that queue in order while a commit runs."""

    async def call_all() -> list[Any]:
        watched.begun.clear()
        watched.go_on.clear()
        number = len(watched.batches)
        first = asyncio.create_task(
            group.append_async([command(f"first {number}", f"user-first-{number}", 0)])
        )
        await asyncio.to_thread(watched.begun.wait, PATIENCE)
        tasks = [asyncio.create_task(group.append_async(each)) for each in calls]
        await asyncio.sleep(0)
        watched.go_on.set()
        _, *answers = await patiently(asyncio.gather(first, *tasks, return_exceptions=True))
        return answers

    return asyncio.run(call_all())


def hold(watched: Watched, group: GroupCommit) -> Future[list[Outcome]]:
    """Return the call of a thread whose commit runs until it may go on."""
    watched.go_on.clear()
    call = in_thread(lambda: group.append([command("first", "user-first", 0)]))
    assert watched.begun.wait(PATIENCE)
    return call


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread of its own that stops nobody from leaving, should it be stuck."""
    call: Future[T] = Future()

    def run() -> None:
        try:
            call.set_result(work())
        except BaseException as error:
            call.set_exception(error)

    Thread(target=run, daemon=True).start()
    return call


def result(call: Future[T]) -> T:
    return call.result(PATIENCE)


async def patiently(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, PATIENCE)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < deadline
        sleep(0.001)


# --- commands -----------------------------------------------------------------------


def command(id: str, stream: str, expected: int | None, *, data: bytes = b"{}") -> Command:
    return Command(id, (Write(stream, expected, (NewEvent("user.changed", 1, data, METADATA),)),))


def positions(outcomes: object) -> list[int]:
    return [each.position for each in outcomes]  # type: ignore[attr-defined]
