"""Requests about users. A password comes in as its hash and is sealed; nothing here reads one."""

from collections.abc import Sequence, Set
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from refold.domain import streams, user
from refold.domain.ports import Valued
from refold.domain.texts import check_text, check_word
from refold.infrastructure.codec import canonical
from refold.infrastructure.requests.request import Fields, Situation


def state(events: Sequence[Valued]) -> user.User:
    """Return the user that the events of its stream add up to."""
    return user.after(*(event.value for event in events))  # type: ignore[arg-type]


def stream(id: str) -> str:
    """Return the stream of the user with that id."""
    return streams.name("user", id)


def _storable(profile: dict[str, Any]) -> dict[str, Any]:
    canonical(profile)
    return profile


Profile = Annotated[dict[str, Any], AfterValidator(_storable)]
"""A profile that has a JSON text; what has none raises `NotStorable`."""


class _AboutUser(Fields):
    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return user.claims(user.after(*values))  # type: ignore[arg-type]


def _check_name(profile: dict[str, Any]) -> None:
    """Raise `IllFormedText` for a user name that is too long, or holds a control character."""
    name = profile.get("username")
    if isinstance(name, str) and name.strip():
        check_word("user name", name)


class RegisterUser(_AboutUser):
    """Make a user known: an id that is new, and a profile as git-proxy or decentcom has it."""

    id: str
    profile: Profile = Field(repr=False)
    password_hash: str | None = Field(None, repr=False)

    def stream(self) -> str:
        check_word("user id", self.id)
        return stream(self.id)

    def decide(self, now: Situation) -> Sequence[object]:
        _check_name(self.profile)
        known = state(now.events)
        return user.register(known, self.stream(), self.id, self.profile, self.password_hash)


class OfUser(_AboutUser):
    """What is asked of one user, by id or by user name."""

    id: str | None = None
    username: str | None = None

    @model_validator(mode="after")
    def _names_one(self) -> "OfUser":
        if (self.id is None) == (self.username is None):
            raise ValueError("name the user by id or by username")
        return self

    def stream(self) -> str:
        return stream(self.id or "")  # a name that nobody has leads to a stream that nobody has

    @property
    def named(self) -> str:
        """Return what the user is called here."""
        return self.username or self.id or ""

    def found_by(self) -> tuple[str, str] | None:
        if self.username is None:
            return None
        check_text("user name", self.username)
        return (user.NAME, self.username.lower())

    def found(self, now: Situation) -> user.User:
        """Return the user as they are; nobody when the name is no longer theirs."""
        claim, known = self.found_by(), state(now.events)
        return known if claim is None or claim in user.claims(known) else user.User()


class ChangeUser(OfUser):
    """Set fields of a profile and drop those that `unset` names; other fields stay."""

    profile: Profile = Field(default_factory=dict, repr=False)
    unset: list[str] = Field(default_factory=list)
    password_hash: str | None = Field(None, repr=False)

    def decide(self, now: Situation) -> Sequence[object]:
        _check_name(self.profile)
        known = self.found(now)
        return user.change(known, self.named, self.profile, self.unset, self.password_hash)


class AddKey(OfUser):
    """Add a public key: a record with `key`, as git-proxy keeps it."""

    record: dict[str, Any]

    def decide(self, now: Situation) -> Sequence[object]:
        return user.add_key(self.found(now), self.named, self.record)


class RemoveKey(OfUser):
    """Remove a public key by its fingerprint, or by the key itself."""

    key: str

    def decide(self, now: Situation) -> Sequence[object]:
        return user.remove_key(self.found(now), self.named, self.key)


class AddDevice(OfUser):
    """Add a device with a key of its own: a record with `pubkey`, as decentcom keeps it."""

    device: str
    record: dict[str, Any]

    def decide(self, now: Situation) -> Sequence[object]:
        return user.add_device(self.found(now), self.named, self.device, self.record)


class DeleteUser(OfUser):
    """Let a user go; the name can be taken by another. There being none is no error."""

    def decide(self, now: Situation) -> Sequence[object]:
        return user.delete(self.found(now))


class EraseUser(OfUser):
    """Forget who a user was: whatever is sealed of them cannot be read any more."""

    def decide(self, now: Situation) -> Sequence[object]:
        return user.erase(self.found(now), self.named)


class ForgetUser(NamedTuple):
    """Forget who a user was, with contents that only they used up to a position: see `erasing`."""

    id: str
    contents: Sequence[str] = ()
    until: int | tuple[int, ...] = 0

    def stream(self) -> str:
        return stream(self.id)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return user.claims(user.after(*values))  # type: ignore[arg-type]

    def decide(self, now: Situation) -> Sequence[object]:
        return user.erase(state(now.events), self.id, self.contents, self.until)


class ImportUser(NamedTuple):
    """Take over a legacy record: what is known of a user, with the keys that they push by."""

    id: str
    profile: dict[str, Any]
    password: str | None = None
    keys: Sequence[dict[str, Any]] = ()

    def stream(self) -> str:
        return stream(self.id)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return user.claims(user.after(*values))  # type: ignore[arg-type]

    def decide(self, now: Situation) -> Sequence[object]:
        known = state(now.events)
        return user.import_record(
            known, self.stream(), self.id, self.profile, self.password, self.keys
        )
