"""Realistic files, tags and votes, made up: the same ones for the same seed, on every machine.

A fifth of the events make a file known, the rest tag it, vote on it or ban it, half of them among
the files that came last. Everything passes through the codec, as a service's events do.
"""

import json
from base64 import b32encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from refold.domain import file, removal_vote, streams, tag_vote, times
from refold.domain.ports import Appended, Command, Log, NewEvent, Outcome, Recorded, State, Write
from refold.domain.positions import PARTITION
from refold.infrastructure.codec import EVENTS, Metadata, encode_metadata

PAGE: Final = 5_000
"""Records that are handed out at once."""

BEGINNING: Final = 1_750_000_000_000_000
"""When the first event happened, in µs since 1970 UTC; each further one comes 37 ms later."""

_SUBJECTS = "annual budget field garden harbour invoice library market meeting museum river school"
_NOUNS = "archive draft guide letter manual minutes notes paper plan record report survey"
_TYPES = "csv deb epub jpg md mp4 odt pdf png txt zip"
_TAGS = "approved copyright duplicate fiction government history law music private science travel"


@dataclass(slots=True)
class _File:
    sha256: str
    tags: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    stances: dict[tuple[str, ...], int] = field(default_factory=dict)


def files(seed: int) -> Iterator[file.Registered]:
    """Yield files that become known, without an end; another seed names others."""
    random = Random(seed)  # noqa: S311 - the same files every time are the point
    subjects, nouns, types = _SUBJECTS.split(), _NOUNS.split(), _TYPES.split()
    number = 0
    while True:
        number += 1
        digest = _sum(number, seed)
        type = random.choice(types)
        yield file.Registered(
            digest.hex(),
            "bafkrei" + b32encode(digest).decode().lower().rstrip("="),
            f"{random.choice(subjects).title()}-{random.choice(nouns)}_{number}.{type}",
            type,
            times.text(BEGINNING + number * 185_000),
        )


def sum_of(number: int, seed: int = 1) -> str:
    """Return the SHA-256 of the file that `files` yields at that place, from 1."""
    return _sum(number, seed).hex()


def _sum(number: int, seed: int) -> bytes:
    return sha256(f"{seed} {number}".encode()).digest()


def metadata(number: int) -> bytes:
    """Return the metadata of an event by one of a thousand people."""
    return _METADATA[number % len(_METADATA)]


_METADATA: Final = [
    encode_metadata(Metadata(f"peer-{n:04}", occurred_at=times.text(BEGINNING + n), cause="bench"))
    for n in range(1_000)
]


def encoded(value: object, number: int) -> NewEvent:
    """Return `value` as the codec stores it."""
    return EVENTS.encode(value, metadata(number))


def command(new: file.Registered, number: int) -> Command:
    """Return the command that makes a new file known: one event, one stream, one command id."""
    stream = streams.name("file", new.sha256)
    return Command(f"register-{new.sha256}", (Write(stream, 0, (encoded(new, number),)),))


def check(outcomes: Sequence[Outcome]) -> None:
    """Raise the first outcome that is no success."""
    for outcome in outcomes:
        if not isinstance(outcome, Appended):
            raise outcome


def pages(events: int, seed: int = 1) -> Iterator[list[Recorded]]:
    """Yield a whole log of that many events, in pages."""
    records = islice(_records(seed), events)
    while page := list(islice(records, PAGE)):
        yield page


def receive(log: Log, records: Sequence[Recorded]) -> None:
    """Have a log go on by `records`, as copies do."""
    log.change_state(State.FILLING)
    log.receive(records)
    log.change_state(State.OPEN)


def _records(seed: int) -> Iterator[Recorded]:
    ids = Random(seed)  # noqa: S311 - as above
    for position, (known, stream, value) in enumerate(_happenings(seed), 1):
        version = known.versions[stream] = known.versions.get(stream, 0) + 1
        event = encoded(value, position)
        yield Recorded(
            PARTITION,
            position,
            stream,
            version,
            event.type,
            event.schema,
            event.data,
            event.metadata,
            BEGINNING + position * 37_000,
            f"{ids.getrandbits(128):032x}",
            0,
        )


def _happenings(seed: int) -> Iterator[tuple[_File, str, object]]:
    """Yield what happens to which file, in which stream."""
    random = Random(seed)  # noqa: S311 - as above
    new = files(seed)
    known: list[_File] = []
    tags = _TAGS.split()
    while True:
        lot = random.random()
        if lot < 0.2 or not known:
            registered = next(new)
            known.append(_File(registered.sha256))
            yield known[-1], streams.name("file", registered.sha256), registered
            continue
        newest = 0 if lot < 0.6 else max(0, len(known) - 1_000)
        one = known[random.randrange(newest, len(known))]
        own = streams.name("file", one.sha256)
        lot, tag, voter = random.random(), random.choice(tags), f"peer-{random.randrange(20):04}"
        if lot < 0.03:
            yield one, own, file.Banned(random.choice((3, 6, 9)))
        elif lot < 0.08:
            stream = streams.name("file/removal_vote", one.sha256, voter)
            yield one, stream, _removal_vote(one, voter, random.choice((1, -1)))
        elif lot < 0.10 and one.tags:
            tag = next(iter(one.tags))
            yield one, own, file.TagRemoved(tag, one.tags.pop(tag))
        elif tag not in one.tags and (lot < 0.4 or not one.tags):
            one.tags[tag] = one.generations[tag] = one.generations.get(tag, 0) + 1
            yield one, own, file.TagAdded(tag, one.tags[tag])
        else:
            tag = random.choice(list(one.tags)) if one.tags else tag
            stream = streams.name("file/tag_vote", one.sha256, tag, voter)
            yield one, stream, _tag_vote(one, tag, voter, random.choice((1, 1, 1, -1)))


def _removal_vote(one: _File, voter: str, stance: int) -> removal_vote.Event:
    previous = one.stances.get((voter,), 0)
    one.stances[voter,] = 0 if stance == previous else stance
    if stance == previous:
        return removal_vote.Withdrawn(voter, previous)
    if previous:
        return removal_vote.Changed(voter, stance, previous)
    return removal_vote.Cast(voter, stance)


def _tag_vote(one: _File, tag: str, voter: str, stance: int) -> tag_vote.Event:
    generation = one.generations[tag]
    previous = one.stances.get((tag, voter, str(generation)), 0)
    one.stances[tag, voter, str(generation)] = 0 if stance == previous else stance
    if stance == previous:
        return tag_vote.Withdrawn(tag, voter, generation, previous)
    if previous:
        return tag_vote.Changed(tag, voter, generation, stance, previous)
    return tag_vote.Cast(tag, voter, generation, stance)


def write_metadata_json(path: Path, records: int, seed: int = 2) -> None:
    """Write a metadata.json of PinShare with that many records."""
    random = Random(seed)  # noqa: S311 - as above
    tags = _TAGS.split()
    written = {
        each.sha256: {
            "fileSHA256": each.sha256,
            "ipfsCID": each.cid,
            "fileName": each.name,
            "fileType": each.type,
            "lastUpdated": times.text(BEGINNING + number * 190_000),
            "addedAt": each.added_at,
            "moderationVotes": random.randrange(-3, 4),
            "tags": {tag: random.randrange(-2, 9) for tag in random.sample(tags, number % 4)},
            "banSet": 0,
        }
        for number, each in enumerate(islice(files(seed), records), 1)
    }
    path.write_text(json.dumps(written, indent=2))
