"""What a log gives to who asks at once for several streams, or the holders of several claims."""

from refold.domain.ports import Claim, Command, Log, NewEvent, Write

ADA, BOB, EVE = "user-ada", "user-bob é \U0001f600", "user-eve%2F"


def test_the_events_of_several_streams_come_as_each_has_them(log: Log) -> None:
    for number, stream in enumerate((ADA, BOB, ADA, EVE, BOB, ADA)):
        append(log, str(number), stream)

    records = log.streams({ADA, BOB, "user-nobody"})

    assert {record.stream for record in records} == {ADA, BOB}
    for stream in (ADA, BOB):
        assert [each for each in records if each.stream == stream] == log.stream(stream)
    assert log.streams([]) == []


def test_a_stream_that_is_named_twice_comes_once(log: Log) -> None:
    append(log, "1", ADA)

    assert log.streams([ADA, ADA]) == log.stream(ADA)


def test_of_several_claims_those_that_are_held_are_told(log: Log) -> None:
    claims = [("name", "ada"), ("name", "é \U0001f600"), ("mail", "ada"), ("mail", "")]
    append(log, "1", ADA, *claims[:1])
    append(log, "2", BOB, *claims[1:3])

    held = log.holders({*claims, ("name", "eve")})

    assert held == {claims[0]: ADA, claims[1]: BOB, claims[2]: BOB}
    assert {claim: log.holder(*claim) for claim in held} == held
    assert log.holders([]) == {}


def append(log: Log, id: str, stream: str, *claims: tuple[str, str]) -> None:
    takes = tuple(Claim(*claim, stream) for claim in claims)
    event = NewEvent("t", 1, b'"' + id.encode() + b'"', b"{}")
    [outcome] = log.append([Command(id, (Write(stream, None, (event,)),), takes)])
    assert not isinstance(outcome, Exception)
