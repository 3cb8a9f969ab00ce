"""What a url, an e-mail address and a list of names have to be for git-proxy v2.

What cannot be brought into that form is told, never guessed. Two urls are of one repository when
their `projections.pushes.canonical_url` is the same.
"""

import re
from collections.abc import Iterable, Set
from typing import Final

from refold.domain.errors import BadInput


class UnusableUrl(BadInput):
    """A url of a repository that only a person can put right."""


def normal_url(url: object) -> str:
    """Return a repository's url as git-proxy v2 finds it: trimmed, and with `.git` at its end.

    Raises `UnusableUrl` for what is blank, or does not start with http:// or https://.
    """
    if not isinstance(url, str) or not url.strip():
        raise UnusableUrl("the url is blank")
    normal = url.strip().rstrip("/")
    if not normal.lower().startswith(("http://", "https://")):
        raise UnusableUrl(f"the url {_without_password(normal)!r} is not http or https")
    return normal if normal.endswith(".git") else f"{normal}.git"


def _without_password(url: str) -> str:
    return re.sub("(?<=://)[^/]*@", "…@", url)[:100]


def normal_email(email: object) -> str:
    """Return an address trimmed and in lower case, as git-proxy compares it; empty for none."""
    return email.strip().lower() if isinstance(email, str) else ""


def is_email(email: object) -> bool:
    """Tell whether git-proxy v2 takes a text for an address: something@something.something."""
    return _EMAIL.fullmatch(normal_email(email)) is not None


_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def normal_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a permission list trimmed, in lower case, each once, in their order."""
    return tuple(dict.fromkeys(name.strip().lower() for name in names))


def orphans(names: Iterable[str], users: Set[str]) -> tuple[str, ...]:
    """Return those of `names` that belong to none of `users`, both as `normal_names` makes them."""
    return tuple(name for name in normal_names(names) if name not in users)
