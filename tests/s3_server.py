"""A real S3 server for tests: OpenStack Swift with its s3api, on loopback.

It checks signatures, expiry and checksums like the service that it stands for.
"""

import secrets
import subprocess
import sys
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from refold.infrastructure.blobs.s3_place import S3Place, client

BUCKET: Final = "media"
ACCESS_KEY: Final = "test:tester"
PROCESS: Final = Path(__file__).with_name("s3_process.py")


class S3Server:
    """A server with its data in `folder`, one bucket, and one who may do everything."""

    def __init__(self, folder: Path) -> None:
        """Return once it answers."""
        self.access_key = ACCESS_KEY
        self.secret_key = secrets.token_urlsafe(24)
        self._folder = folder
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, PROCESS, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self.secret_key.encode() + b"\n")
        self._process.stdin.flush()
        self.port = int(self._process.stdout.readline() or self._did_not_start())
        self.endpoint = f"http://127.0.0.1:{self.port}"
        client(self.place()).create_bucket(Bucket=BUCKET)

    def place(self, prefix: str = "") -> S3Place:
        """Return the bucket as we reach it."""
        return S3Place(
            BUCKET,
            region="us-east-1",
            endpoint=self.endpoint,
            path_style=True,
            prefix=prefix,
            access_key=SecretStr(self.access_key),
            secret_key=SecretStr(self.secret_key),
        )

    def objects(self) -> int:
        """Count what lies on the disk, also parts of unfinished uploads, which S3 does not list."""
        return sum(1 for _ in self._folder.glob("devices/disk/objects/**/*.data"))

    def stop(self) -> None:
        """Return once the process is gone."""
        self._process.kill()
        self._process.communicate()

    def _did_not_start(self) -> int:
        self.stop()
        raise RuntimeError(f"the S3 server did not start: {self._log.read_text()[-2000:]}")
