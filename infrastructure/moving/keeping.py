"""Certificates as files: kept, signed if that is wanted, and checked against a store later."""

import errno
import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from refold.domain.errors import BadInput, BrokenLog, Refused
from refold.domain.positions import Positions
from refold.domain.texts import canonical_json
from refold.infrastructure.address import Address, Archive, Sqlite
from refold.infrastructure.blobs.inventory import inventory
from refold.infrastructure.blobs.references import References
from refold.infrastructure.chain import FamilyChains, Walk, pages
from refold.infrastructure.moving.certificate import End, positions
from refold.infrastructure.past import as_of
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store
from refold.projections import catalog

_SIGNATURE: Final = "signature"

MOST_BYTES: Final = 1 << 28
"""Bytes that are read of a certificate or a key: a device has no end."""


class NoCertificate(BadInput):
    """A file is no certificate, or not one that is signed as it should be."""


def check_key(key: Path | None) -> None:
    """Raise `BadInput` unless `key`, if there is one, can sign."""
    if key:
        _private(key)


def check_place(path: Path | None, *places: Address | Archive) -> None:
    """Raise `BadInput` where no certificate could be kept in `path`, if there is one to be.

    That is also where one of `places` has a file of its own, or anything is but a certificate.
    Nothing there is changed.
    """
    if path is None:
        return
    try:
        if path.resolve() in {file.resolve() for place in places for file in _files(place)}:
            raise FileExistsError(errno.EEXIST, "that is a file of the store")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not (path.is_file() and _is_replaceable(path)):
            raise FileExistsError(errno.EEXIST, "what is there is no certificate")
        part = _part(path)
        part.open("xb").close()
        part.unlink()
    except OSError as error:
        raise BadInput(f"the certificate cannot be kept in {path}: {error.strerror}") from error


def _files(place: Address | Archive) -> list[Path]:
    match place:
        case Sqlite():
            databases = [place.path.resolve(), place.tables.resolve()]
            beside = [file.with_name(file.name + end) for file in databases for end in _BESIDE]
            return [*databases, *beside, place.blobs, place.vault_key]
        case Archive():
            return [place.path]
        case _:
            return []


_BESIDE: Final = ("-wal", "-shm")


def _is_replaceable(path: Path) -> bool:
    """Tell whether a file is empty, or holds a certificate of any sort."""
    content = _content(path)
    try:
        return not content or "log_id" in dict(json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return False


def _part(path: Path) -> Path:
    """Return a new file beside `path`, for a certificate that is not yet in its place."""
    return path.with_name(f"{path.name}.{token_hex(8)}.part")


class AnyCertificate(Protocol):
    """A certificate of any sort."""

    def document(self) -> dict[str, Any]:
        """Return it as it is kept."""
        ...


def write(path: Path, certificate: AnyCertificate, key: Path | None = None) -> None:
    """Keep `certificate` in a file; with `key`, a PEM file of an Ed25519 private key, signed.

    The file is there whole or not at all. Raises `BadInput` for a key that is none, `Refused` when
    the file cannot be written.
    """
    document = certificate.document()
    if key:
        document[_SIGNATURE] = b64encode(_private(key).sign(_signed(document))).decode()
    part = _part(path)
    try:
        with part.open("x", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise Refused(f"the certificate cannot be kept in {path}: {error.strerror}") from error


def read(path: Path, key: Path | None = None) -> dict[str, Any]:
    """Return the certificate in a file; with `key`, a PEM file of the public key, only if signed.

    Raises `NoCertificate` for anything else.
    """
    try:
        document: dict[str, Any] = json.loads(_content(path))
        _shape(document)
    except OSError as error:
        raise NoCertificate(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInput) as error:
        raise NoCertificate(f"{path} is no certificate of refold") from error
    if key:
        signature = document.get(_SIGNATURE)
        if not isinstance(signature, str):
            raise NoCertificate(f"{path} is not signed")
        try:
            _public(key).verify(b64decode(signature), _signed(document))
        except (InvalidSignature, ValueError) as error:
            raise NoCertificate(f"{path} was not signed with the key of {key}") from error
    return document


def check(store: Store, document: dict[str, Any], progress: Progress = quietly) -> list[str]:
    """Return what of `store` is not as a certificate says, each in a sentence.

    The log is read up to the certificate's position; tables are folded as they stood, into memory.
    What was erased since is a difference of its tables.
    """
    ends, tables_at, tables, types, renumbered = _shape(document)
    if not document["equal"]:
        return ["the certificate itself says that something differed", *document["differences"]]
    identity, end = store.log.identity(), store.advance.head()
    if identity.log_id != document["log_id"]:
        return [f"the log is {identity.log_id}, not {document['log_id']}"]
    if len(end.each) != len(ends):
        return [f"the log has {len(end.each)} partitions, not {len(ends)}"]
    position = positions(ends)
    if not end.covers(position.joined(tables_at)):
        return [f"the log ends at position {end}, before {position}"]
    counted, referring, done = Counter[str](), References(store.codec), 0
    families = FamilyChains()
    differences = []
    try:
        for partition, last, chain in map(astuple, ends):
            walk = Walk(partition, store.log.seals(partition))
            for page in pages(store.log, partition, 0, last):
                walk.over(page)
                counted.update(record.type for record in page)
                referring.over(page)
                if renumbered:
                    families.over(page)
                done += len(page)
                progress("verify", done, position.total)
            if walk.chain != chain:
                where = position.named(partition, last)
                differences.append(f"the chain differs at position {where}")
    except BrokenLog as broken:
        return [str(broken)]
    if renumbered and families.proof() != renumbered:
        differences.append("the families differ")
    if dict(counted) != types:
        differences.append("the numbers of events differ")
    found = inventory(store, progress)
    found.add(sorted(referring.all()))
    differences += found.proof().differences
    with as_of(store, tables_at, *catalog.ALL) as past:
        digests = {each.NAME: past.folder.digest(each)[1].hex for each in catalog.ALL}
    for name, (digest, version) in tables.items():
        projection = catalog.named(name)
        if projection and version != projection.VERSION:
            differences.append(
                f"table {name} was certified in version {version}, and this refold folds version"
                f" {projection.VERSION}: they cannot be compared"
            )
        elif digests.get(name) != digest:
            differences.append(f"table {name} differs at position {tables_at}")
    return differences


class _Shape(NamedTuple):
    """What a certificate says: of tables digest and version, of families number and digest."""

    ends: list[End]
    tables_at: Positions
    tables: dict[str, tuple[str, int]]
    types: dict[str, int]
    renumbered: tuple[int, str] | None


def _shape(document: dict[str, Any]) -> _Shape:
    """Return what a certificate says. Raises what a document of another shape does."""
    if not {"equal", "differences", "log_id"} <= document.keys():
        raise KeyError
    ends = [
        End(int(each["partition"]), int(each["position"]), bytes.fromhex(each["chain"]))
        for each in document["partitions"]
    ]
    if not ends or [each.partition for each in ends] != list(range(len(ends))):
        raise ValueError
    tables = {
        table["name"]: (str(table["digest"]), int(table.get("version", 1)))
        for table in document["tables"]
    }
    types = {str(type): int(count) for type, count in document["types"].items()}
    before = document.get("renumbered_from")
    renumbered = (int(before["families"]), str(before["digest"])) if before else None
    at = Positions.read(str(document["tables_at"]), len(ends))
    if at is None:
        raise ValueError
    return _Shape(ends, at, tables, types, renumbered)


def _signed(document: dict[str, Any]) -> bytes:
    """Return what a signature is of: canonical JSON of all but the signature."""
    rest = {name: value for name, value in document.items() if name != _SIGNATURE}
    return canonical_json(rest).encode()


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_content(path), None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path} holds no Ed25519 private key in PEM without a password")
    return key


def _public(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(_content(path))
    except (OSError, ValueError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{path} holds no Ed25519 public key in PEM")
    return key


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)
