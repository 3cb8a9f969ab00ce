"""Where an S3 bucket is, who asks for it, and how it is spoken to."""

import re
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Final

import boto3.session
from botocore.config import Config
from pydantic import SecretStr

from refold.domain.errors import BadInput
from refold.infrastructure.blobs.presigning import LONGEST, check_seconds
from refold.infrastructure.limits import UPLOAD_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOST: Final = r"[A-Za-z0-9]+((\.|-+)[A-Za-z0-9]+)*|\[[0-9A-Fa-f:.]+\]"
ENDPOINT: Final = rf"https?://({HOST})(:[0-9]{{1,5}})?(/[A-Za-z0-9._~/-]*)?"
PATIENCE: Final = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3}
)
DIALECT: Final = Config(
    signature_version="s3v4",  # else presigned urls may get the old one, which signs no header
    response_checksum_validation="when_required",  # every whole content is checked by its name
    max_pool_connections=32,
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, who asks for it, and the prefix of our names in it: "" or like `media/`.

    No presigned PUT is given for more than `upload_bytes`.

    Without keys boto3 looks for them where it always does: environment, files, the machine's role;
    the same goes for the region. Without `endpoint` it is AWS. Raises `BadInput` for what cannot
    be right.
    """

    bucket: str
    region: str | None = None
    endpoint: str | None = None
    path_style: bool = False
    prefix: str = ""
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    session_token: SecretStr | None = None
    presign_seconds: int = LONGEST
    upload_bytes: int = UPLOAD_BYTES

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{2,62}", self.bucket):
            raise BadInput(f"{self.bucket!r} is not the name of a bucket")
        if not re.fullmatch("(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*", self.prefix):
            raise BadInput(f"the prefix {self.prefix!r} is not made of names that end with /")
        if not re.fullmatch(ENDPOINT, self.endpoint or "http://none"):  # not repeated: maybe secret
            raise BadInput("an S3 endpoint is like https://host:port, without user and query")
        if (self.access_key is None) != (self.secret_key is None):
            raise BadInput("an access key and its secret key are given together or not at all")
        check_seconds(self.presign_seconds)


def client(place: S3Place) -> "S3Client":
    """Return what speaks to the bucket. It asks nobody yet, unless keys have to be looked for."""
    style: Final = "path" if place.path_style else "virtual"
    with _one_at_a_time:
        return _session().client(
            "s3",
            region_name=place.region,
            endpoint_url=place.endpoint,
            aws_access_key_id=_revealed(place.access_key),
            aws_secret_access_key=_revealed(place.secret_key),
            aws_session_token=_revealed(place.session_token),
            config=PATIENCE.merge(DIALECT).merge(Config(s3={"addressing_style": style})),
        )


_one_at_a_time: Final = Lock()
"""A session is not for several threads; its clients are."""


@cache
def _session() -> boto3.session.Session:
    """Return what takes 0.1 s to read what S3 is."""
    return boto3.session.Session()


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
