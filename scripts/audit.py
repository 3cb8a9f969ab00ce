"""Asks the advisory service OSV whether a dependency, as it is pinned, is known to be vulnerable.

No answer is told in one line and is no failure: the check also runs without a network.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

PINS: Final = Path(__file__).parents[1] / "constraints.txt"
ANSWER_SECONDS: Final = 3
SECONDS: Final = 12
"""How long all answers together may take."""

_NO_ANSWER: Final = re.compile(r"requests\.exceptions\.|ServiceError|vulnerability feed")


def main(arguments: Sequence[str]) -> int:
    """Print what is known of the pins, and return 1 when one is vulnerable.

    `arguments` are handed on to pip-audit.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINS), *arguments]
    command += ["--vulnerability-service", "osv", "--timeout", str(ANSWER_SECONDS)]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        ran = subprocess.run(  # noqa: S603 - composed here
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"not audited: the advisory service took more than {SECONDS} s")
        return 0
    if ran.stdout.startswith("{"):
        found = json.loads(ran.stdout)["dependencies"]
        vulnerable = list(_vulnerable(found))
        print("\n".join(vulnerable) or f"no known vulnerability in {len(found)} dependencies")
        return 1 if vulnerable else 0
    if _NO_ANSWER.search(ran.stderr):
        print("not audited: the advisory service gave no answer")
        return 0
    print(ran.stderr, file=sys.stderr)
    return 1


def _vulnerable(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for each in found:
        for known in each.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            yield f"{each['name']} {each['version']}: {known['id']}, mended in {fixed}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
