"""Content ids of IPFS: what a CID tells about the content that it names."""

from base64 import b32decode
from binascii import Error as BadBase32


def raw_digest(cid: str) -> str | None:
    """Return the SHA-256 inside a version-1 base32 CID of codec raw, None for any other CID.

    A file of at most 256 KiB is one raw leaf, and its CID tells its sum (contracts.md, P-a).
    """
    try:
        decoded = b32decode(cid[1:].upper() + "=" * (-len(cid[1:]) % 8)) if cid[:1] == "b" else b""
    except (BadBase32, ValueError):
        return None
    header, digest = decoded[:4], decoded[4:]
    return digest.hex() if header == b"\x01\x55\x12\x20" and len(digest) == 32 else None
