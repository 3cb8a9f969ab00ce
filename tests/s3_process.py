"""The process of the S3 server for tests: all of Swift, without anything of refold.

It gets a folder as its argument and the secret key as the first line of stdin, prints its port, and
ends with its stdin, as when whoever started it is gone.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
DOMAIN: Final = "s3.test"
"""Requests to a host below it are virtual-host style; no name server knows it."""

SWIFT: Final = """
[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = default
default = yes
"""

STORAGE: Final = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
recon_cache_path = {folder}
mount_check = false
[app:main]
use = egg:swift#{kind}
"""

PROXY: Final = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors listing_formats s3api tempauth bulk slo dlo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
storage_domain = {domain}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""


def _serve(folder: Path, secret: str) -> None:
    import eventlet

    eventlet.monkey_patch()

    from eventlet.green.os import read
    from swift.common.utils import set_swift_dir

    (folder / "swift.conf").write_text(SWIFT)
    set_swift_dir(str(folder))
    (folder / "devices" / "disk").mkdir(parents=True)
    for kind in ("account", "container", "object"):
        listener = eventlet.listen((HOST, 0))
        _make_ring(folder / f"{kind}.ring.gz", listener.getsockname()[1])
        _run(folder / f"{kind}.conf", STORAGE.format(folder=folder, kind=kind), listener)
    listener = eventlet.listen((HOST, 0))
    proxy = PROXY.format(folder=folder, domain=DOMAIN, secret=secret)
    _run(folder / "proxy.conf", proxy, listener)
    print(listener.getsockname()[1], flush=True)
    read(sys.stdin.fileno(), 1)
    os._exit(0)


def _make_ring(path: Path, port: int) -> None:
    """Write where the one server of a kind is and on which of its disks everything lies."""
    from swift.common.ring import RingBuilder

    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    here = {"region": 1, "zone": 1, "ip": HOST, "port": port, "device": "disk", "weight": 1}
    builder.add_dev(here | {"replication_ip": HOST, "replication_port": port})
    builder.rebalance()
    builder.get_ring().save(str(path))


def _run(path: Path, configuration: str, listener: Any) -> None:
    import eventlet.wsgi
    from swift.common.wsgi import SwiftHttpProtocol, loadapp

    path.touch(0o600)
    path.write_text(configuration)
    eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        loadapp(str(path)),
        log_output=False,
        protocol=SwiftHttpProtocol,
    )


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.stdin.readline().strip())
