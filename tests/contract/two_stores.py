"""Two stores as tests of copies and moves see them: what is put in, and what they take."""

import secrets

from refold.domain import file, streams
from refold.domain.ports import Appended, Claim, Command, State, Write
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.store import Store


def register(store: Store, name: str, *, claim: str | None = None) -> None:
    stream = streams.name("file", name)
    event = store.codec.encode(
        file.Registered(name, "cid", f"{name} found.pdf", "pdf"), encode_metadata(Metadata("ada"))
    )
    takes = () if claim is None else (Claim("name", claim, stream),)
    [outcome] = store.log.append(
        [Command(secrets.token_hex(8), (Write(stream, 0, (event,)),), takes)]
    )
    assert isinstance(outcome, Appended), outcome


def states(*stores: Store) -> list[State]:
    return [store.log.heads()[0].state for store in stores]
