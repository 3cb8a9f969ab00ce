"""One object of an S3 bucket, read and written as a whole."""

from contextlib import closing
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from refold.domain.errors import Unavailable
from refold.infrastructure.blobs.s3_place import S3Place, client


@dataclass(frozen=True, slots=True)
class S3Object:
    """Anchors in an object; one process at a time may add to it."""

    place: S3Place
    key: str

    def __str__(self) -> str:
        return f"s3://{self.place.bucket}/{self.key}"

    def read(self) -> bytes | None:
        """Return all of it, None where there is no such object. Raises `Unavailable`."""
        try:
            found = client(self.place).get_object(Bucket=self.place.bucket, Key=self.key)
            with closing(found["Body"]) as body:
                return body.read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                return None
            raise self._unavailable(error) from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise self._unavailable(error) from error

    def append(self, before: bytes, line: bytes) -> None:
        """Write it anew, with a line behind what was read `before`. Raises `Unavailable`."""
        try:
            client(self.place).put_object(
                Bucket=self.place.bucket, Key=self.key, Body=before + line
            )
        except (BotoCoreError, ClientError, HTTPError, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        response = getattr(error, "response", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return Unavailable(f"{self} cannot be used: {status or type(error).__name__}")
