"""git-proxy's files and tables: every total of real ones, every odd shape, and back again."""

import gzip
import json
import os
import re
import stat
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import push
from refold.domain.errors import BadInput, Unavailable
from refold.infrastructure.address import ORDINARY, Connecting, Postgres, parse
from refold.infrastructure.legacy.git_proxy import documents, normalising
from refold.infrastructure.legacy.git_proxy.documents import (
    COLLECTIONS,
    Document,
    Survey,
    time,
)
from refold.infrastructure.legacy.git_proxy.files import CutOff, TooCorrupt
from refold.infrastructure.legacy.git_proxy.normalising import UnusableUrl, normal_url
from refold.infrastructure.legacy.git_proxy.reading import open_source, read
from refold.infrastructure.legacy.git_proxy.writing import (
    NotLoadable,
    write_mongoexport,
    write_nedb,
)
from refold.infrastructure.legacy.importing import Refusal
from refold.infrastructure.postgres.connection import InsecureServer
from refold.projections.pushes import canonical_url

Json = dict[str, Any]

SMALL = Path(__file__).parents[2] / "data" / "git-proxy" / "small"
SETS = [SMALL]
if further := os.environ.get("REFOLD_TEST_GIT_PROXY"):  # a larger set of the same make
    SETS.append(Path(further))
OBJECT_ID = "66b1f0a2c3d4e5f601234567"
SEPARATORS = "\u2028\u2029\x85"


# --- the totals of real files -----------------------------------------------------------


@pytest.mark.parametrize("backend", ["nedb", "mongo"])
@pytest.mark.parametrize("folder", SETS, ids=lambda path: path.name)
def test_every_total_comes_out_as_separate_scripts_counted_it(folder: Path, backend: str) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[backend]

    source = open_source([folder / backend])
    documents = taken(source)

    counted = {}
    users = {
        name
        for each in documents
        if each.collection == "users"
        for name in normalising.normal_names([each.data["username"]])
    }
    for survey in source.surveys:
        kept = [each for each in documents if each.file == survey.file]
        figures = FIGURES[survey.collection](kept, users)
        if survey.collection == "pushes":
            figures |= figures_of_lines(kept, raw_lines(Path(survey.file)))
        counted[Path(survey.file).name.removesuffix(".gz")] = {
            "outcome": "import",
            "documents": survey.documents,
            **(figures_of_nedb(survey) if backend == "nedb" else {}),
            **figures,
        }
        assert survey.records == len(kept) == survey.documents
    assert counted.keys() == expected.keys()
    for name in expected:
        figures = counted[name]
        assert figures == expected[name], name


def figures_of_nedb(survey: Survey) -> Json:
    counted = {each.name for each in fields(survey)} - {"file", "collection", "format", "repeated"}
    return {name: getattr(survey, name) for name in counted | {"unparsable", "unparsable_rate"}}


def figures_of_users(documents: list[Document], _: set[str]) -> Json:
    users = [each.data for each in documents]
    emails = [user["email"] for user in users if user.get("email")]
    names = [user["username"] for user in users]
    keys = [key["key"] for user in users for key in user.get("publicKeys") or []]
    return {
        "ids_sha256": sum_of(each.id for each in documents),
        "admins": count(users, lambda user: user.get("admin") is True),
        "blank_email": count(users, lambda user: user.get("email") == ""),
        "duplicate_emails_exact": repeated(emails),
        "duplicate_emails_lower_trim": repeated(map(normalising.normal_email, emails)),
        "duplicate_oidc_ids": repeated(user["oidcId"] for user in users if user.get("oidcId")),
        "duplicate_public_keys": repeated(keys),
        "duplicate_usernames_exact": repeated(names),
        "duplicate_usernames_lower": repeated(name.lower() for name in names),
        "emails_changed_by_lower_case_or_trim": count(
            emails, lambda email: normalising.normal_email(email) != email
        ),
        "emails_not_addresses": count(emails, lambda email: not normalising.is_email(email)),
        "git_account_set": count(users, lambda user: bool(user.get("gitAccount"))),
        "git_account_with_upper_case": count(
            users, lambda user: (user.get("gitAccount") or "").lower() != user.get("gitAccount", "")
        ),
        "must_change_password": count(users, lambda user: user.get("mustChangePassword") is True),
        "oidc_id_blank_text": count(users, lambda user: user.get("oidcId") == ""),
        "oidc_id_set": count(users, lambda user: bool(user.get("oidcId"))),
        "password_null": count(users, lambda user: user["password"] is None),
        "password_set": count(users, lambda user: isinstance(user["password"], str)),
        "public_keys": len(keys),
        "public_keys_array_absent_or_null": count(
            users, lambda user: user.get("publicKeys") is None
        ),
        "usernames_changed_by_lower_case": count(names, lambda name: name.lower() != name),
        "with_scm_identities": count(users, lambda user: "scmIdentities" in user),
        "with_unknown_keys": count(users, lambda user: bool(user.keys() - KNOWN_OF_USERS)),
        "without_email": count(users, lambda user: not user.get("email")),
        "without_username": count(users, lambda user: not user.get("username")),
    }


def words(text: str) -> set[str]:
    return set(text.split())


KNOWN_OF_USERS = words(
    """username password gitAccount email admin oidcId publicKeys displayName title
    mustChangePassword scmIdentities externalEmail"""
)


def figures_of_repos(documents: list[Document], users: set[str]) -> Json:
    repos = [each.data for each in documents]
    lists = {role: [repo["users"][role] for repo in repos] for role in ("canPush", "canAuthorise")}
    names = [name for acls in lists.values() for acl in acls for name in acl]
    distinct = {
        role: sum(len(normalising.normal_names(acl)) for acl in acls)
        for role, acls in lists.items()
    }
    orphans = [
        name for acls in lists.values() for acl in acls for name in normalising.orphans(acl, users)
    ]
    urls = [repo["url"] for repo in repos]
    return {
        "ids_sha256": sum_of(each.id for each in documents),
        "acl_duplicates_collapsed": len(names) - sum(distinct.values()),
        "acl_entries_can_authorise": sum(map(len, lists["canAuthorise"])),
        "acl_entries_can_push": sum(map(len, lists["canPush"])),
        "acl_entries_not_text": count(names, lambda name: not isinstance(name, str)),
        "acl_names_changed_by_lower_case": count(names, lambda name: name.lower() != name),
        "distinct_after_normalising_can_authorise": distinct["canAuthorise"],
        "distinct_after_normalising_can_push": distinct["canPush"],
        "duplicate_urls_after_normalising": repeated(map(normal_url, urls)),
        "duplicate_urls_canonical_ignoring_case": repeated(map(canonical_url, urls)),
        "duplicate_urls_exact": repeated(urls),
        "names_changed_by_lower_case": count(
            repos, lambda repo: repo["name"].lower() != repo["name"]
        ),
        "orphan_entries": len(orphans),
        "orphan_names": sorted(set(orphans)),
        "project_blank_or_null": count(repos, lambda repo: not repo["project"]),
        "role_array_absent": 2 * len(repos) - sum(map(len, lists.values())),
        "urls_changed_by_normalising": count(urls, lambda url: normal_url(url) != url),
        "urls_not_usable": 0,  # normal_url would have raised
        "with_unknown_keys": count(repos, lambda repo: bool(repo.keys() - KNOWN_OF_REPOS)),
        "without_dates": count(repos, lambda repo: "dateCreated" not in repo),
    }


KNOWN_OF_REPOS = {"project", "name", "url", "users", "dateCreated", "lastModified"}


def figures_of_pushes(documents: list[Document], _: set[str]) -> Json:
    every = [each.data for each in documents]
    pushes = [each for each in every if each["type"] == "push"]
    status = Counter(push.View(each, {}).status for each in pushes)
    unknown = Counter(name for each in every for name in each.keys() - KNOWN_OF_PUSHES)
    texts = [json.dumps(each, ensure_ascii=False) for each in every]
    return {
        "push_ids_sha256": sum_of(each["id"] for each in every),
        "attestation": Counter(map(attestation, pushes)),
        "authorised_without_attestation": count(
            pushes, lambda each: each.get("authorised") is True and not each.get("attestation")
        ),
        "by_type": Counter(each["type"] for each in every),
        "commits": sum(len(each.get("commitData") or []) for each in every),
        "documents_with_lone_surrogate": count(
            texts, lambda text: re.search("[\ud800-\udfff]", text) is not None
        ),
        "documents_with_nul": count(texts, lambda text: "\\u0000" in text),
        "documents_with_raw_line_separators": count(
            texts, lambda text: any(mark in text for mark in SEPARATORS)
        ),
        "documents_with_unknown_keys": count(
            every, lambda each: bool(each.keys() - KNOWN_OF_PUSHES)
        ),
        "id_format": Counter(id_format(each["id"]) for each in every),
        "push_flags": {flag: [each.get(flag) for each in pushes].count(True) for flag in FLAGS},
        "push_status": status,
        "pushes_sharing_a_timestamp": sum(
            many
            for time, many in Counter(
                each["timestamp"] for each in pushes if each.get("timestamp") is not None
            ).items()
            if many > 1
        ),
        "rejected_without_rejection": count(
            pushes, lambda each: each.get("rejected") is True and not each.get("rejection")
        ),
        "rejection": Counter(map(rejection, pushes)),
        "rollup_by_canonical_url": rollup(pushes),
        "steps": sum(len(each["steps"]) for each in every),
        "tag_pushes": count(pushes, lambda each: each.get("actionType") == "tag"),
        "timestamps": Counter(map(kind_of_timestamp, every)),
        "unknown_keys": unknown,
        "with_legacy_id": count(every, lambda each: "legacyId" in each),
    }


FLAGS = {
    *["allowPush", "authorised", "autoApproved", "autoRejected"],
    *["blocked", "canceled", "error", "rejected"],
}
KNOWN_OF_PUSHES = FLAGS | words(
    """id type actionType method timestamp project repoName url repo steps errorMessage
    blockedMessage commitData commitFrom commitTo branch message author user userEmail attestation
    rejection lastStep proxyGitPath tags tagData newIdxFiles protocol capabilities pullAuthStrategy
    legacyId"""
)


def attestation(each: Json) -> str:
    match each.get("attestation", "absent"):
        case "absent":
            return "absent"
        case None:
            return "null"
        case {"automated": True}:
            return "automated"
        case {"answers": list()}:
            return "answers"
        case {"questions": list(), "reviewer": {"gitAccount": _}}:
            return "questions_git_account"
        case {"questions": list(), "reviewer": {"reviewerEmail": _}}:
            return "questions_reviewer_email"
        case _:
            return "unknown"


def rejection(each: Json) -> str:
    if "rejection" not in each:
        return "absent"
    return "automated" if each["rejection"].get("automated") else "manual"


def id_format(key: str) -> str:
    if re.fullmatch("[0-9]{13}", key):
        return "clock"
    return "digest" if re.fullmatch("[0-9a-f]{64}", key) else "range"


def kind_of_timestamp(each: Json) -> str:
    match each.get("timestamp", "missing"):
        case "missing":
            return "missing"
        case None:
            return "null"
        case int():
            return "integer"
        case _:
            return "fractional"


def rollup(pushes: list[Json]) -> Json:
    rolled: Json = {}
    for each in pushes:
        row = rolled.setdefault(
            canonical_url(each["url"]),
            {"counts": Counter(), "latest_pending_ms": None, "latest_push_ms": None},
        )
        status = push.View(each, {}).status
        row["counts"][status] += 1
        for name, counts in [("latest_push_ms", True), ("latest_pending_ms", status == "pending")]:
            if counts and each.get("timestamp") is not None:
                row[name] = max(row[name] or 0, each["timestamp"])
    return rolled


def figures_of_lines(documents: list[Document], lines: list[str]) -> Json:
    kept = [lines[each.line - 1] for each in documents]
    written = [json.loads(line, parse_float=number) for line in kept]
    lengths = [len(json.dumps(each)) for each in written]
    assert not any("_lastStepIndex" in each.data for each in documents)
    with_index = count(written, lambda each: "_lastStepIndex" in each)
    with_last_step = count(documents, lambda each: "lastStep" in each.data)
    return {
        "date_objects": sum(line.count('{"$$date":') for line in kept),
        "documents_over_100k_chars": count(lengths, lambda length: length > 100_000),
        "largest_document_chars": max(lengths),
        "with_last_step": with_last_step - with_index,  # it is restored where there is an index
        "with_last_step_index": with_index,
    }


def number(text: str) -> float:
    return int(float(text)) if float(text).is_integer() else float(text)


def figures_of_sessions(documents: list[Document], _: set[str]) -> Json:
    as_of = "2026-08-21T12:00:00.000Z"
    sessions = [each.data for each in documents]
    bodies = [
        each["session"] if isinstance(each["session"], dict) else json.loads(each["session"])
        for each in sessions
    ]
    live = count(sessions, lambda each: each["expires"] > as_of)
    users = [body.get("passport", {}).get("user") for body in bodies]
    kinds = {dict: "object", str: "text", type(None): "anonymous"}
    return {
        "as_of": "2026-08-21T12:00:00Z",
        "ids_sha256": sum_of(each.id for each in documents),
        "live": live,
        "expired": len(sessions) - live,
        "live_and_readable": live,
        "passport_user": Counter(kinds[type(user)] for user in users),
        "payload_is_object": count(sessions, lambda each: isinstance(each["session"], dict)),
        "unreadable_payload": 0,
        "with_last_modified": count(sessions, lambda each: "lastModified" in each),
    }


def figures_of_migrations(documents: list[Document], _: set[str]) -> Json:
    return {"ids": sorted(each.data["id"] for each in documents)}


FIGURES: dict[str, Callable[[list[Document], set[str]], Json]] = {
    "users": figures_of_users,
    "repos": figures_of_repos,
    "pushes": figures_of_pushes,
    "user_session": figures_of_sessions,
    "migrations": figures_of_migrations,
}


def sum_of(ids: Iterable[str]) -> str:
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()


def count(values: Iterable[Any], holds: Callable[[Any], bool]) -> int:
    return sum(map(holds, values))


def repeated(values: Iterable[str]) -> int:
    """Count the values that stand more than once."""
    return sum(many > 1 for many in Counter(values).values())


def raw_lines(path: Path) -> list[str]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode().split("\n")


def taken(records: Iterable[Document | Refusal]) -> list[Document]:
    """Return documents none of which was refused."""
    documents = []
    for each in records:
        assert isinstance(each, Document), each
        documents.append(each)
    return documents


# --- lines of NeDB ------------------------------------------------------------------------


def test_the_last_line_of_an_id_wins_and_a_deleted_one_is_gone(tmp_path: Path) -> None:
    file = written(
        tmp_path / "users.db",
        {"username": "ada", "_id": "A"},
        {"username": "bo", "_id": "B"},
        {"$$indexCreated": {"fieldName": "username", "unique": True, "sparse": False}},
        {"$$deleted": True, "_id": "B"},
        {"username": "ada", "admin": True, "_id": "A"},
        {"$$indexRemoved": "username"},
        {"username": "bo again", "_id": "B"},
        {"$$deleted": True, "_id": "C"},
    )

    source = open_source([file])

    assert [(each.id, each.line, each.data) for each in taken(source)] == [
        ("A", 5, {"username": "ada", "admin": True}),
        ("B", 7, {"username": "bo again"}),
    ]
    assert source.surveys == (
        Survey(
            file=str(file),
            collection="users",
            format="nedb",
            lines=8,
            document_lines=4,
            documents=2,
            superseded_lines=2,
            deleted_lines=2,
            index_created=1,
            index_removed=1,
        ),
    )
    assert source.surveys[0].records == 2


def test_lines_end_at_the_newline_alone(tmp_path: Path) -> None:
    text = f"a{SEPARATORS}b\x7f"
    file = tmp_path / "users.db"
    file.write_text(f'{{"username":"{text}","_id":"A"}}\n', encoding="utf-8", newline="")

    source = open_source([file])

    assert [each.data["username"] for each in taken(source)] == [text]
    assert (source.surveys[0].lines, source.surveys[0].lines_with_raw_separators) == (1, 1)


def test_a_date_is_the_text_that_git_proxy_writes_itself(tmp_path: Path) -> None:
    dates = [0, 1767225600000, 1, -1, 253402300799999, 253402300800000, -62198755200000]
    file = written(
        tmp_path / "pushes.db", {"id": "1", "at": [nedb_date(d) for d in dates], "_id": "A"}
    )

    [push] = taken(read([file]))

    assert push.data["at"] == [
        "1970-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.001Z",
        "1969-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59.999Z",
        "+010000-01-01T00:00:00.000Z",
        "-000001-01-01T00:00:00.000Z",
    ]


def test_blank_lines_a_mark_of_order_and_dos_line_ends_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    file.write_bytes(b'\xef\xbb\xbf{"_id":"A"}\r\n\r\n \t\n\n{"_id":"B"}')

    source = open_source([file])

    assert [(each.id, each.line) for each in taken(source)] == [("A", 1), ("B", 5)]
    assert source.surveys[0].lines == 2


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["users.db", "users.json"])
def test_an_empty_file_has_no_documents(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert list(read([tmp_path])) == []


def test_nul_and_lone_surrogates_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "pushes.db"
    file.write_bytes(b'{"message":"\\u0000\\ud800\\ud83d\\ude00","_id":"A"}\n')

    [push] = taken(read([file]))

    assert push.data == {"message": "\0\ud800\U0001f600"}


def test_the_digest_is_of_the_canonical_data_alone(tmp_path: Path) -> None:
    nedb = written(tmp_path / "nedb" / "pushes.db", {"b": 1, "a": nedb_date(0), "_id": "A"})
    mongo = written(
        tmp_path / "mongo" / "pushes.json",
        {"_id": {"$oid": OBJECT_ID}, "a": {"$date": "1970-01-01T00:00:00Z"}, "b": 1.0},
    )

    [one], [other] = taken(read([nedb])), taken(read([mongo]))

    assert one.digest == sha256(b'{"a":"1970-01-01T00:00:00.000Z","b":1}').hexdigest()
    assert other.digest == one.digest


# --- what is refused, one by one or whole -----------------------------------------------


def test_up_to_a_tenth_of_unparsable_lines_are_refused_one_by_one(tmp_path: Path) -> None:
    lines = [b'{"_id":"%d"}' % number for number in range(36)]
    lines[3:3] = [b'{"_id":"x",}', b'{"_id":"\xff"}', b"[1]", b'{"_id":"\\ud800\xed\xa0\x80"}']
    file = tmp_path / "users.db"
    file.write_bytes(b"\n".join(lines) + b"\n")

    source = open_source([file])

    refused = [each for each in source if isinstance(each, Refusal)]
    assert refused == [
        Refusal("", str(file), 4, "not JSON"),
        Refusal("", str(file), 5, "not UTF-8"),
        Refusal("", str(file), 6, "not an object"),
        Refusal("", str(file), 7, "not UTF-8"),
    ]
    [survey] = source.surveys
    assert survey.unparsable_by_kind == {"JSON": 1, "UTF-8": 2, "an object": 1}
    assert (survey.unparsable_rate, survey.documents, survey.records) == (0.1, 36, 40)
    assert len(list(source)) == 40


@pytest.mark.parametrize("name", ["users.db", "users.json", "users.db.gz"])
def test_above_a_tenth_the_file_is_refused_whole(tmp_path: Path, name: str) -> None:
    pack = gzip.compress if name.endswith(".gz") else bytes
    lines = [b'{"_id":"%d"}\n' % number for number in range(900)]
    file = tmp_path / name

    file.write_bytes(pack(b"".join([*lines, *[b"?\n\n"] * 100])))
    assert len(list(read([file]))) == 1_000

    file.write_bytes(pack(b"".join([*lines[1:], *[b"?\n\n"] * 101])))
    with pytest.raises(TooCorrupt) as refusal:
        read([file])

    assert str(refusal.value) == (
        f"{file} is refused: 101 of its 1000 lines cannot be parsed, the first is line 900"
    )


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_file_cut_off_within_its_last_line_is_refused_whole(tmp_path: Path, cut: int) -> None:
    lines = b'{"_id":"ABCD"}\n' * 30
    file = tmp_path / "users.db"
    file.write_bytes(lines[: -1 - cut])

    with pytest.raises(CutOff, match=r"users\.db is cut off: it ends in the middle of line 30"):
        read([file])


def test_a_whole_last_line_needs_no_end(tmp_path: Path) -> None:
    (tmp_path / "users.db").write_bytes(b'{"_id":"A"}\n{"_id":"B"}')

    assert [each.id for each in taken(read([tmp_path]))] == ["A", "B"]


def test_a_cut_off_gzip_is_refused_whole(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"_id":"A"}\n' * 100)
    file = tmp_path / "users.db.gz"
    file.write_bytes(packed[:-9])

    with pytest.raises(CutOff, match=r"gzip stream has no end"):
        read([file])


def test_what_is_no_gzip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users.db.gz"
    file.write_bytes(b'{"_id":"A"}\n')

    with pytest.raises(BadInput, match=r"users\.db\.gz cannot be unpacked"):
        read([file])


def test_nothing_is_yielded_before_every_file_was_checked(tmp_path: Path) -> None:
    written(tmp_path / "users.db", {"_id": "A"})
    (tmp_path / "pushes.db").write_bytes(b'{"_id":')

    with pytest.raises(CutOff):
        read([tmp_path])


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "users.db", {"_id": "A"}, {"_id": "B"})
    records = read([file])
    next(records)
    written(file, {"_id": "A"}, {"_id": "B"}, {"_id": "C"})

    with pytest.raises(BadInput, match=r"was changed while it was read; stop git-proxy"):
        list(records)


@pytest.mark.parametrize(
    ("record", "key", "reason"),
    [
        ({"username": "ada"}, "", "the document has no _id"),
        ({"_id": None}, "", "the document has no _id"),
        ({"_id": 7}, "", "the _id is no text and no ObjectId"),
        ({"_id": {"$oid": "xyz"}}, "", "the _id is no text and no ObjectId"),
        ({"_id": "A", "at": {"$$date": None}}, "A", "holds '$$date' as git-proxy does not"),
        ({"_id": "A", "at": {"$$date": True}}, "A", "the document holds a date that is no time"),
        ({"_id": "A", "at": {"$$date": 9e15}}, "A", "holds '$$date' as git-proxy does not"),
        ({"_id": "A", "at": {"$$date": 8640000000000001}}, "A", "a date that is no time"),
        ({"_id": "A", "at": {"$date": "yesterday"}}, "A", "holds a $date that is no time"),
        ({"_id": "A", "at": {"$date": "2026-01-01T00:00:00"}}, "A", "a $date that is no time"),
        ({"_id": "A", "n": {"$numberLong": "1.5"}}, "A", "holds '$numberLong' as git-proxy"),
        ({"_id": "A", "n": {"$numberLong": 15}}, "A", "holds '$numberLong' as git-proxy"),
        ({"_id": "A", "n": {"$numberDouble": "NaN"}}, "A", "holds '$numberDouble' as git-proxy"),
        ({"_id": "A", "n": {"$numberDouble": "1e999"}}, "A", "holds '$numberDouble' as git-prox"),
        ({"_id": "A", "n": {"$numberLong": "1", "x": 1}}, "A", "holds '$numberLong' as git-prox"),
        ({"_id": "A", "n": [{"$binary": {}}]}, "A", "holds '$binary' as git-proxy does not"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused_by_its_key(
    tmp_path: Path, record: Json, key: str, reason: str
) -> None:
    file = written(tmp_path / "users.json", {"_id": "first"}, record)

    first, refused = read([file])

    assert isinstance(first, Document)
    assert isinstance(refused, Refusal)
    assert (refused.file, refused.line, refused.key) == (str(file), 2, key)
    assert reason in refused.reason


def test_numbers_beyond_all_bounds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    file.write_bytes(b'{"_id":"A","n":1e999}\n')

    [refused] = read([file])

    assert isinstance(refused, Refusal)
    assert (refused.key, refused.reason) == ("A", "the number inf has no JSON")


def test_a_document_may_have_64_levels(tmp_path: Path) -> None:
    deep: Any = 0
    for _ in range(62):
        deep = [deep]
    file = written(
        tmp_path / "users.db", {"_id": "A", "deep": deep}, {"_id": "B", "deep": [deep, [deep]]}
    )

    kept, refused = read([file])

    assert isinstance(kept, Document)
    assert isinstance(refused, Refusal)
    assert refused.reason == "the document is nested deeper than 64 levels"


def test_a_line_nested_without_end_is_not_json(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    bottomless = b'{"_id":"A","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    file.write_bytes(b'{"_id":"B"}\n' * 9 + bottomless)

    assert [each[3] for each in read([file]) if isinstance(each, Refusal)] == ["not JSON"]


# --- mongoexport --------------------------------------------------------------------------


RELAXED = """\
{"_id":{"$oid":"66B1F0A2c3d4e5f601234567"},"timestamp":1.744380903338E+12,"n":[7.5,-0.0,3]}
{"_id":"text","timestamp":1744380903338.0,"at":{"$date":"2026-08-21T08:00:00Z"}}
{"_id":"old","timestamp":1744380903338,"at":{"$date":"2026-08-21T10:00:00.018+0200"}}
"""
CANONICAL = """\
{"_id":{"$oid":"66b1f0a2c3d4e5f601234567"},"timestamp":{"$numberDouble":"1.744380903338E+12"},\
"n":[{"$numberDouble":"7.5"},{"$numberDouble":"-0.0"},{"$numberInt":"3"}]}
{"_id":"text","timestamp":{"$numberLong":"1744380903338"},\
"at":{"$date":{"$numberLong":"1787299200000"}}}
{"_id":"old","timestamp":{"$numberDouble":"1744380903338.0"},"at":{"$date":1787299200018}}
"""


@pytest.mark.parametrize("mode", [RELAXED, CANONICAL], ids=["relaxed", "canonical"])
@pytest.mark.parametrize("shape", ["lines", "array", "pretty", "array with a mark", "gzip"])
def test_mongoexport_is_read_in_both_modes_and_every_shape(
    tmp_path: Path, mode: str, shape: str
) -> None:
    array = f" [{mode.strip().replace(chr(10), ',')}]\n"
    values = json.loads(array)
    content, name = {
        "lines": (mode.encode(), "pushes.json"),
        "array": (array.encode(), "pushes.json"),
        "pretty": (json.dumps(values, indent=1).encode(), "pushes.json"),
        "array with a mark": (b"\xef\xbb\xbf\n" + array.encode(), "pushes.json"),
        "gzip": (gzip.compress(array.encode()), "pushes.json.gz"),
    }[shape]
    (tmp_path / name).write_bytes(content)

    source = open_source([tmp_path])

    assert source.surveys[0].format == "mongoexport"
    documents = taken(source)
    assert [(each.line, each.id, each.data) for each in documents] == [
        (1, OBJECT_ID, {"timestamp": 1744380903338, "n": [7.5, 0, 3]}),
        (2, "text", {"timestamp": 1744380903338, "at": "2026-08-21T08:00:00.000Z"}),
        (3, "old", {"timestamp": 1744380903338, "at": "2026-08-21T08:00:00.018Z"}),
    ]
    assert all(type(each.data["timestamp"]) is int for each in documents)


def test_whole_doubles_have_the_digits_that_javascript_writes(tmp_path: Path) -> None:
    file = tmp_path / "pushes.json"
    file.write_text('{"_id":"A","n":[9223372036854775808.0,1e20,1e21,9007199254740993]}\n')

    [push] = taken(read([file]))

    assert push.data["n"] == [9223372036854776000, 10**20, 1e21, 9007199254740993]
    assert [type(each) for each in push.data["n"]] == [int, int, float, int]


@pytest.mark.parametrize("layout", ["{0}\n{1}\n{2}\n", "[{0},{1},{2}]"])
def test_an_id_that_stands_twice_in_an_export_is_not_merged(tmp_path: Path, layout: str) -> None:
    oid = f'{{"_id":{{"$oid":"{OBJECT_ID}"}},"username":"%s"}}'
    file = tmp_path / "users.json"
    file.write_text(layout.format(oid % "ada", '{"_id":"B"}', oid % "bo"))

    source = open_source([file])

    ada, bo, refused = source
    assert isinstance(ada, Document)
    assert (ada.data, bo[1]) == ({"username": "ada"}, "B")
    assert refused == Refusal(OBJECT_ID, str(file), 3, "the _id stands already in line 1")
    assert (source.surveys[0].records, source.surveys[0].repeated) == (3, 1)


@pytest.mark.parametrize("name", ["users.db", "users.json"])
def test_without_a_sign_the_name_tells_the_format(tmp_path: Path, name: str) -> None:
    file = written(tmp_path / name, {"_id": "A", "n": 1}, {"_id": "A", "n": 2})

    first, *refused = read([file])

    assert isinstance(first, Document)
    assert (first.data, len(refused)) == (({"n": 2}, 0) if name == "users.db" else ({"n": 1}, 1))


def test_the_content_tells_the_format_whatever_the_name(tmp_path: Path) -> None:
    file = written(
        tmp_path / "users.json", {"_id": "A", "n": 1}, {"_id": "A"}, {"$$deleted": True, "_id": "B"}
    )

    [survey] = open_source([file]).surveys

    assert (survey.format, survey.superseded_lines) == ("nedb", 1)


def test_a_mixture_of_formats_is_refused_whole(tmp_path: Path) -> None:
    file = written(
        tmp_path / "users.db", {"_id": {"$oid": OBJECT_ID}}, {"$$deleted": True, "_id": "B"}
    )

    with pytest.raises(BadInput, match="mixes two formats: line 2 is NeDB's, line 1 is mongoex"):
        read([file])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ('[{"_id":"A"},{"_id"', CutOff, "is cut off: its array ends in item 2"),
        ('[{"_id":"A"}', CutOff, "is cut off: its array ends in item 1"),
        ('[{"_id":"A"},', CutOff, "is cut off: its array ends in item"),
        ('[{"_id":"A"} {"_id":"B"}]', BadInput, "its array makes no sense at item 1"),
        ('[{"_id":"A"},]', BadInput, "its array makes no sense at item 2"),
        ('[{"_id":"A"}] []', BadInput, "its array makes no sense at item 1"),
        ('[{"_id":"A", bad}, ' + '{"_id":"B"},' * 9000 + "{}]", BadInput, "no sense at item 1"),
        ("[" * 100_000, BadInput, "no sense at item 1"),
    ],
)
def test_a_broken_array_is_refused_whole(
    tmp_path: Path, content: str, error: type[BadInput], message: str
) -> None:
    file = tmp_path / "users.json"
    file.write_text(content)

    with pytest.raises(error, match=message):
        read([file])


def test_an_array_is_read_in_pieces(tmp_path: Path) -> None:
    texts = [
        letter * length for letter, length in zip("abcd", (1, 70_000, 200_000, 65_535), strict=True)
    ]
    file = tmp_path / "users.json"
    file.write_text(json.dumps([{"_id": text[0], "text": text, "n": 12} for text in texts]))

    assert [each.data["text"] for each in taken(read([file]))] == texts


def test_a_session_is_kept_as_its_text_with_its_times(tmp_path: Path) -> None:
    record = {
        "_id": "0123456789abcdef01234567",
        "expires": {"$date": "2026-08-21T08:00:00Z"},
        "session": '{"cookie":{}}',
        "lastModified": {"$date": "2026-08-20T08:00:00.5Z"},
    }
    written(tmp_path / "user_session.json", record)

    [session] = taken(read([tmp_path]))

    assert session.data == {
        "expires": "2026-08-21T08:00:00.000Z",
        "session": '{"cookie":{}}',
        "lastModified": "2026-08-20T08:00:00.500Z",
    }


# --- which files ---------------------------------------------------------------------------


def test_collections_come_in_their_order_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ["pushes.db", "migrations.db.gz", "users.mongo.json", "user_session.jsonl"]:
        written(tmp_path / name, {"_id": name})
    for name in ["expected.json", "users.db.bak", "people.db", "repos.txt", "pushes.db-wal"]:
        (tmp_path / name).write_text("?")

    assert [(each.collection, each.id) for each in taken(read([tmp_path]))] == [
        ("users", "users.mongo.json"),
        ("pushes", "pushes.db"),
        ("user_session", "user_session.jsonl"),
        ("migrations", "migrations.db.gz"),
    ]


def test_a_crash_copy_counts_only_where_the_original_is_missing(tmp_path: Path) -> None:
    copy = written(tmp_path / "users.db~", {"_id": "copy"})

    assert [each.id for each in taken(read([tmp_path]))] == ["copy"]
    assert [each.id for each in taken(read([copy]))] == ["copy"]

    written(tmp_path / "users.db", {"_id": "original"})

    assert [each.id for each in taken(read([tmp_path]))] == ["original"]
    with pytest.raises(BadInput, match=r"users\.db~ is a copy from a crash, and .*users\.db is"):
        read([copy])


def test_two_files_of_one_collection_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "users.db", {"_id": "A"})
    written(tmp_path / "users.json", {"_id": "A"})

    with pytest.raises(BadInput, match=r"users\.db and .*users\.json both hold users"):
        read([tmp_path])


def test_what_holds_nothing_of_git_proxy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no file of git-proxy"):
        read([tmp_path])
    with pytest.raises(BadInput, match=r"people\.db is no name of a file of git-proxy"):
        read([tmp_path / "people.db"])
    with pytest.raises(BadInput, match=r"users\.db cannot be opened: No such file"):
        read([tmp_path / "users.db"])
    with pytest.raises(BadInput, match="nothing was named"):
        read([])


def test_a_source_can_be_read_again(tmp_path: Path) -> None:
    source = open_source([written(tmp_path / "users.db", {"_id": "A"})])

    assert list(source) == list(source)


def test_bodies_are_not_held_in_memory(tmp_path: Path) -> None:
    body = "x" * 8_000
    file = tmp_path / "pushes.db"
    with file.open("w") as out:
        for number in range(4_000):
            out.write(f'{{"id":"{number % 1000}","message":"{body}","_id":"{number % 1000}"}}\n')

    tracemalloc.start()
    documents = sum(isinstance(each, Document) for each in read([file]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert documents == 1_000
    assert peak < 2_000_000 < file.stat().st_size / 15


def test_a_broken_array_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    file.write_text('[{"_id":"A", bad}' + ',{"_id":"B"}' * 500_000 + "]")

    tracemalloc.start()
    with pytest.raises(BadInput, match="no sense at item 1"):
        read([file])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1_000_000 < file.stat().st_size / 5


# --- pushes ---------------------------------------------------------------------------------


def test_the_last_step_is_put_back(tmp_path: Path) -> None:
    steps = [{"stepName": "diff"}, {"stepName": "authBlock"}]
    file = written(
        tmp_path / "pushes.db",
        {"steps": steps, "_lastStepIndex": 1, "_id": "A"},
        {"steps": steps, "_lastStepIndex": 0, "lastStep": steps[1], "_id": "B"},
        {"steps": steps, "_id": "C"},
    )

    assert [each.data for each in taken(read([file]))] == [
        {"steps": steps, "lastStep": steps[1]},
        {"steps": steps, "lastStep": steps[1]},
        {"steps": steps},
    ]


@pytest.mark.parametrize("index", [2, -1, True, "0", None, 0.5])
def test_an_index_of_no_step_is_refused(tmp_path: Path, index: object) -> None:
    file = written(tmp_path / "pushes.db", {"steps": [{}, {}], "_lastStepIndex": index, "_id": "A"})

    [refused] = read([file])

    assert isinstance(refused, Refusal)
    assert refused.reason == "_lastStepIndex names no step of the push"


def test_the_index_of_the_last_step_means_something_in_pushes_alone(tmp_path: Path) -> None:
    file = written(tmp_path / "users.db", {"_lastStepIndex": 1, "_id": "A"})

    assert [each.data for each in taken(read([file]))] == [{"_lastStepIndex": 1}]


@given(st.integers(-8_640_000_000_000_000, 8_640_000_000_000_000))
def test_times_are_in_order_as_the_calendar_has_them(milliseconds: int) -> None:
    shown = time(milliseconds)

    year, rest = re.fullmatch(r"(\d{4}|[+-]\d{6})(-\d\d-\d\dT.*)", shown).groups()  # type: ignore[union-attr]
    inside = 2000 + int(year) % 400  # a year with the same calendar
    cycles = (int(year) - inside) // 400
    since = datetime.fromisoformat(f"{inside:04}{rest}") - datetime(1970, 1, 1, tzinfo=UTC)
    assert since // timedelta(milliseconds=1) + cycles * 146_097 * 86_400_000 == milliseconds


# --- normalising -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://github.com/finos/demo.git", "https://github.com/finos/demo.git"),
        ("https://github.com/Finos/Demo", "https://github.com/Finos/Demo.git"),
        (" http://git.example.com:8443/a/b.git// \n", "http://git.example.com:8443/a/b.git"),
        ("HTTPS://h/r3", "HTTPS://h/r3.git"),
        ("https://github.com/finos/demo.GIT", "https://github.com/finos/demo.GIT.git"),
    ],
)
def test_a_url_ends_with_git(url: str, normal: str) -> None:
    assert normal_url(url) == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "the url is blank"),
        (7, "the url is blank"),
        ("", "the url is blank"),
        (" \t", "the url is blank"),
        ("git@github.com:finos/demo.git", "the url 'git@github.com:finos/demo.git' is not http"),
        ("ssh://ada:secret@example.com/x", "the url 'ssh://…@example.com/x' is not http or https"),
        ("https://", "the url 'https:' is not http or https"),
        ("github.com/finos/demo", "is not http or https"),
    ],
)
def test_a_url_that_only_a_person_can_put_right_is_told(url: object, reason: str) -> None:
    with pytest.raises(UnusableUrl) as refusal:
        normal_url(url)

    assert reason in str(refusal.value)


def test_an_address_has_a_name_and_a_domain_with_a_dot() -> None:
    addresses = ["ada@example.com", " Ada@Example.COM\n", "a+b@c.d.e"]
    others = [None, 7, "", " ", "ada", "ada@", "@example.com", "a b@example.com", "a@b@c.de", "a@b"]

    assert all(map(normalising.is_email, addresses))
    assert not any(map(normalising.is_email, others))
    assert normalising.normal_email(" Ada@Example.COM\n") == "ada@example.com"
    assert normalising.normal_email(None) == ""


def test_names_are_collapsed_in_their_order_and_those_of_nobody_are_told() -> None:
    names = ["Bo", "ada", " BO ", "Left.Company", "ada", "left.company"]

    assert normalising.normal_names(names) == ("bo", "ada", "left.company")
    assert normalising.orphans(names, {"ada", "bo"}) == ("left.company",)


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["nedb", "mongo"])
def test_real_documents_written_for_mongodb_are_read_as_they_were(
    tmp_path: Path, backend: str
) -> None:
    documents = taken(read([SMALL / backend]))

    counts = write_mongoexport(tmp_path, documents)

    assert list(map(content, taken(read([tmp_path])))) == list(map(content, documents))
    assert counts == {
        name: [each.collection for each in documents].count(name) for name in COLLECTIONS
    }


def test_real_documents_written_for_nedb_are_read_as_they_were(tmp_path: Path) -> None:
    documents = taken(read([SMALL / "nedb"]))

    counts = write_nedb(tmp_path, documents)

    source = open_source([tmp_path])
    assert list(map(content, taken(source))) == list(map(content, documents))
    assert counts == {"users": 12, "repos": 8, "pushes": 81, "migrations": 3}
    assert {each.collection: each.index_created for each in source.surveys} == {
        "users": 2,
        "repos": 2,
        "pushes": 1,
        "migrations": 1,
    }
    for file in tmp_path.iterdir():  # NeDB ends a line at any separator
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) == text.count("\n")


def test_nedb_files_look_as_nedb_writes_them(tmp_path: Path) -> None:
    migration = made("migrations", "A", {"id": f"20260729{SEPARATORS}\ud800"})

    write_nedb(tmp_path, [migration])

    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "migrations.db",
        "pushes.db",
        "repos.db",
        "users.db",
    ]
    assert (tmp_path / "migrations.db").read_text() == (
        '{"id":"20260729\\u2028\\u2029\\u0085\\ud800","_id":"A"}\n'
        '{"$$indexCreated":{"fieldName":"id","unique":true,"sparse":false}}\n'
    )
    assert (tmp_path / "repos.db").read_text() == (
        '{"$$indexCreated":{"fieldName":"url","unique":true,"sparse":false}}\n'
        '{"$$indexCreated":{"fieldName":"name","unique":false,"sparse":false}}\n'
    )


def test_mongoexport_lines_look_as_mongoexport_writes_them(tmp_path: Path) -> None:
    session = {"expires": "2026-08-21T08:00:00.000Z", "session": "{}"}

    write_mongoexport(
        tmp_path,
        [
            made("pushes", OBJECT_ID, {"timestamp": 1744380903338, "small": 2147483647, "n": 7.5}),
            made("pushes", "A" * 24, {"timestamp": 2**63 - 1}),
            made("user_session", OBJECT_ID, session),
            made("users", "A", {"expires": "2026-08-21T08:00:00.000Z"}),
        ],
    )

    assert (tmp_path / "pushes.json").read_text() == (
        '{"_id":{"$oid":"66b1f0a2c3d4e5f601234567"},"timestamp":1744380903338.0,'
        '"small":2147483647,"n":7.5}\n'
        '{"_id":"AAAAAAAAAAAAAAAAAAAAAAAA","timestamp":9223372036854775807}\n'
    )
    assert (tmp_path / "user_session.json").read_text() == (
        '{"_id":"66b1f0a2c3d4e5f601234567","expires":{"$date":"2026-08-21T08:00:00.000Z"},'
        '"session":"{}"}\n'
    )
    assert (tmp_path / "users.json").read_text() == (
        '{"_id":"A","expires":"2026-08-21T08:00:00.000Z"}\n'
    )
    assert (tmp_path / "repos.json").read_text() == ""


@pytest.mark.parametrize("write", [write_nedb, write_mongoexport])
def test_only_the_owner_can_read_what_is_written(
    tmp_path: Path, write: Callable[[Path, list[Document]], object]
) -> None:
    write(tmp_path / "new" / "folder", [])

    for file in (tmp_path / "new" / "folder").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([("users", "A", {"username": "a"}), ("users", "B", {"username": "b"})], "the same email"),
        ([("repos", "A", {"url": "u"}), ("repos", "B", {"url": "u"})], "the same url"),
        ([("pushes", "A", {"id": "1"}), ("pushes", "A", {"id": "2"})], "the same _id"),
        ([("user_session", "A", {})], "NeDB has no file for user_session"),
        ([("users", "A", {"plugin": [{"$set": 1}]})], r"the field '\$set' would be taken"),
    ],
)
def test_what_nedb_would_not_load_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, documents: list[tuple[str, str, Json]], message: str
) -> None:
    before = made("users", "old", {"username": "old"})
    write_nedb(tmp_path, [before])

    with pytest.raises(NotLoadable, match=message):
        write_nedb(tmp_path, [made(*each) for each in documents])

    assert list(map(content, taken(read([tmp_path])))) == [content(before)]
    assert len(list(tmp_path.iterdir())) == 4


def test_what_mongodb_cannot_hold_is_refused(tmp_path: Path) -> None:
    twice = [made("users", "A", {})] * 2

    with pytest.raises(NotLoadable, match="the _id 'A' stands twice in users"):
        write_mongoexport(tmp_path, twice)
    with pytest.raises(NotLoadable, match="does not fit into 64 bits"):
        write_mongoexport(tmp_path, [made("users", "A", {"n": 10**30 + 1})])

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadInput, match="cannot be written to"):
        write_nedb(tmp_path / "file", [])


def is_plain_name(name: str) -> bool:
    return not name.startswith("$") and name not in ("_id", "_lastStepIndex")


TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS.filter(is_plain_name), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def stores(draw: st.DrawFn, collections: tuple[str, ...]) -> list[Document]:
    """Return documents as they are read, in the order of collections, none in another's way."""
    documents = []
    ids = TEXTS.filter(bool) | st.from_regex("[0-9a-f]{24}", fullmatch=True)
    names = TEXTS.filter(is_plain_name) | st.sampled_from(["expires", "lastModified", "session"])
    for collection in collections:
        for number, key in enumerate(draw(st.lists(ids, max_size=3, unique=True))):
            unique = dict.fromkeys(("username", "email", "url", "id"), f"{number}")
            data = draw(st.dictionaries(names, VALUES, max_size=4)) | unique
            documents.append(made(collection, key, data))
    return documents


@given(stores(COLLECTIONS[:3] + COLLECTIONS[4:]))
def test_what_is_written_for_nedb_is_read_as_it_was(documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        write_nedb(Path(folder), documents)

        assert list(map(content, taken(read([Path(folder)])))) == list(map(content, documents))


@given(stores(COLLECTIONS))
def test_what_is_written_for_mongodb_is_read_as_it_was(documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        write_mongoexport(Path(folder), documents)

        assert list(map(content, taken(read([Path(folder)])))) == list(map(content, documents))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=12))
def test_a_nedb_file_is_a_dict_that_was_written_down(steps: list[tuple[str, int]]) -> None:
    lines: list[Json] = [{"$$indexCreated": {"fieldName": "id"}}]
    model: dict[str, tuple[int, int]] = {}
    for key, value in steps:
        lines.append({"_id": key, "n": value} if value else {"_id": key, "$$deleted": True})
        model.pop(key, None)
        if value:
            model[key] = (len(lines), value)

    with TemporaryDirectory() as folder:
        documents = taken(read([written(Path(folder) / "users.db", *lines)]))

    assert {each.id: (each.line, each.data["n"]) for each in documents} == model
    assert [each.line for each in documents] == sorted(each.line for each in documents)


@given(st.lists(VALUES, max_size=4), st.sampled_from([None, 1, "\t"]))
def test_an_array_is_the_same_as_lines(values: list[Any], indent: int | str | None) -> None:
    records = [{"_id": f"{number}", "v": value} for number, value in enumerate(values)]

    with TemporaryDirectory() as name:
        lines = written(Path(name) / "users.json", *records)
        array = Path(name) / "array" / "users.json"
        array.parent.mkdir()
        array.write_text(json.dumps(records, indent=indent))

        assert list(map(content, taken(read([array])))) == list(map(content, taken(read([lines]))))


# --- PostgreSQL -------------------------------------------------------------------------------

TABLES = """
    CREATE TABLE users (_id uuid PRIMARY KEY, username text NOT NULL UNIQUE, email text,
        password text, git_account text NOT NULL DEFAULT '', admin boolean NOT NULL DEFAULT false,
        oidc_id text UNIQUE, display_name text, title text,
        public_keys jsonb NOT NULL DEFAULT '[]', scm_identities jsonb NOT NULL DEFAULT '{}',
        must_change_password boolean NOT NULL DEFAULT false, plugin_team jsonb);
    CREATE TABLE repos (_id uuid PRIMARY KEY, project text NOT NULL DEFAULT '',
        name text NOT NULL, url text NOT NULL UNIQUE, date_created text, last_modified text);
    CREATE TABLE repo_users (repo_id uuid NOT NULL REFERENCES repos (_id) ON DELETE CASCADE,
        username text NOT NULL, role text NOT NULL CHECK (role IN ('canPush', 'canAuthorise')),
        PRIMARY KEY (repo_id, username, role));
    CREATE TABLE pushes (id text PRIMARY KEY, timestamp bigint NOT NULL, type text,
        error boolean DEFAULT false, blocked boolean DEFAULT false,
        allow_push boolean NOT NULL DEFAULT false, authorised boolean NOT NULL DEFAULT false,
        canceled boolean NOT NULL DEFAULT false, rejected boolean NOT NULL DEFAULT false,
        data jsonb NOT NULL);
    CREATE TABLE session (sid varchar PRIMARY KEY, sess json NOT NULL,
        expire timestamp(6) NOT NULL);
    CREATE TABLE migrations (id text PRIMARY KEY);
    CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL);
"""
ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def test_the_tables_of_git_proxy_are_read(postgres_url: str) -> None:
    steps = [{"stepName": "a", "content": 1.0}, {"stepName": "b"}]
    push_data = {
        "id": "a__b",
        "type": "push",
        "timestamp": 7.5,
        "steps": steps,
        "_lastStepIndex": 1,
    }
    push_data |= {"message": None, "plugin_risk": 3}
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLES)
        connection.execute(
            "INSERT INTO users (_id, username, email, password, git_account, admin, public_keys,"
            " plugin_team) VALUES (%s, 'bo', NULL, NULL, '', true, '[]', NULL),"
            """ (%s, 'ada', 'ada@example.com', 'hash', 'ada-gh', false, '[{"key": "k"}]', '[7]')""",
            (TWO, ONE),
        )
        connection.execute(
            "INSERT INTO repos VALUES (%s, '', 'demo', 'https://h/demo.git', '2026-01-01', NULL),"
            " (%s, 'finos', 'none', 'https://h/none.git', NULL, NULL)",
            (ONE, TWO),
        )
        connection.execute(
            "INSERT INTO repo_users SELECT %s::uuid, name, 'canPush' FROM unnest(%s::text[]) name"
            " UNION ALL SELECT %s::uuid, 'ada', 'canAuthorise'",
            (ONE, ["bo", "ada", "Zoe"], ONE),
        )
        connection.execute(
            "INSERT INTO pushes (id, timestamp, data) VALUES ('a__b', 99, %s), ('1', 5, '{}'),"
            " ('2', 6, '[]')",
            (json.dumps(push_data),),
        )
        connection.execute(
            """INSERT INTO session VALUES ('sid', '{"b": "\\u0000", "a": 1}', %s)""",
            ("2026-08-21 08:00:00.5",),
        )
        connection.execute("INSERT INTO migrations VALUES ('20260729-populate-repo-dates')")

    source = open_source([place(postgres_url)])

    records = list(source)
    kept = [each for each in records if isinstance(each, Document)]
    assert [(each.collection, each.id, each.line, each.data) for each in kept] == [
        (
            "users",
            ONE,
            1,
            {
                "username": "ada",
                "email": "ada@example.com",
                "password": "hash",
                "gitAccount": "ada-gh",
                "admin": False,
                "publicKeys": [{"key": "k"}],
                "scmIdentities": {},
                "mustChangePassword": False,
                "pluginTeam": [7],
            },
        ),
        (
            "users",
            TWO,
            2,
            {
                "username": "bo",
                "password": None,
                "gitAccount": "",
                "admin": True,
                "publicKeys": [],
                "scmIdentities": {},
                "mustChangePassword": False,
            },
        ),
        (
            "repos",
            ONE,
            1,
            {
                "project": "",
                "name": "demo",
                "url": "https://h/demo.git",
                "users": {"canPush": ["Zoe", "ada", "bo"], "canAuthorise": ["ada"]},
                "dateCreated": "2026-01-01",
            },
        ),
        (
            "repos",
            TWO,
            2,
            {
                "project": "finos",
                "name": "none",
                "url": "https://h/none.git",
                "users": {"canPush": [], "canAuthorise": []},
            },
        ),
        ("pushes", "1", 1, {}),
        (
            "pushes",
            "a__b",
            3,
            {
                "id": "a__b",
                "type": "push",
                "timestamp": 7.5,
                "steps": [{"stepName": "a", "content": 1}, {"stepName": "b"}],
                "lastStep": {"stepName": "b"},
                "message": None,
                "plugin_risk": 3,
            },
        ),
        (
            "user_session",
            "sid",
            1,
            {"session": '{"b": "\\u0000", "a": 1}', "expires": "2026-08-21T08:00:00.500Z"},
        ),
        ("migrations", "20260729-populate-repo-dates", 1, {"id": "20260729-populate-repo-dates"}),
    ]
    [refused] = [each for each in records if isinstance(each, Refusal)]
    assert (refused.line, refused.key) == (2, "2")
    assert [(each.collection, each.documents, each.format) for each in source.surveys] == [
        ("users", 2, "postgresql"),
        ("repos", 2, "postgresql"),
        ("pushes", 3, "postgresql"),
        ("user_session", 1, "postgresql"),
        ("migrations", 1, "postgresql"),
    ]


def test_the_first_generation_of_tables_is_read(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE repos (_id uuid, name text, url text, users jsonb)")
        connection.execute(
            """INSERT INTO repos VALUES (%s, 'demo', 'u', '{"canPush": ["Ada"]}')""", (ONE,)
        )

    assert [each.data for each in taken(read([place(postgres_url)]))] == [
        {"name": "demo", "url": "u", "users": {"canPush": ["Ada"]}}
    ]


def test_tables_are_read_in_one_snapshot(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLES)
        for key in (ONE, TWO):
            connection.execute("INSERT INTO users (_id, username) VALUES (%s, %s)", (key, key))
        records = read([place(postgres_url)])
        first = next(records)
        connection.execute("DELETE FROM users")
        connection.execute("INSERT INTO migrations VALUES ('late')")

        assert [each[1] for each in [first, *records]] == [ONE, TWO]


def test_a_password_of_a_database_is_shown_nowhere(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    password = parts.password or "hunter2"  # a server without passwords takes any
    url = postgres_url
    if not parts.password:
        url = parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}").geturl()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE migrations (id text)")
        connection.execute("INSERT INTO migrations VALUES ('m')")

    [migration] = taken(read([place(url)]))
    with pytest.raises(Unavailable) as refusal:
        read([place(url.rpartition("/")[0] + "/no_such_database")])

    assert migration.file.endswith("#migrations")
    assert password not in migration.file + str(refusal.value)


def test_tables_elsewhere_are_not_read_without_a_proof_of_who_has_them(
    postgres_url: str,
) -> None:
    parts = urlsplit(postgres_url)
    url = f"{postgres_url.replace(str(parts.hostname), 'db.example')}?hostaddr={parts.hostname}"
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE migrations (id text)")

    with pytest.raises(InsecureServer, match=r"PostgreSQL at db\.example is not on this machine"):
        open_source([place(url)])

    [survey] = open_source([place(url, Connecting(insecure_tls=True))]).surveys
    assert survey.collection == "migrations"


def test_a_database_of_others_is_refused(postgres_url: str) -> None:
    with pytest.raises(BadInput, match="holds none of git-proxy's tables"):
        read([place(postgres_url)])
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE users (name text)")
    with pytest.raises(BadInput, match=r"users of others"):
        list(read([place(postgres_url)]))
    with pytest.raises(BadInput, match="stands alone"):
        read([place(postgres_url), SMALL])


# --- making ---------------------------------------------------------------------------------


def place(url: str, connecting: Connecting = ORDINARY) -> Postgres:
    parsed = parse(url, connecting=connecting)
    assert isinstance(parsed, Postgres)
    return parsed


def written(file: Path, *records: Json) -> Path:
    """Write JSON lines, packed if the name says so."""
    file.parent.mkdir(exist_ok=True)
    text = "".join(f"{json.dumps(each)}\n" for each in records).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def nedb_date(milliseconds: int) -> Json:
    return {"$$date": milliseconds}


def made(collection: str, key: str, data: Json) -> Document:
    """Return a document as a reader makes it."""
    document = documents.document(collection, data | {"_id": key}, "", 0)
    if isinstance(document, Refusal):  # what a test is to hand over that no reader would
        return Document(collection, key, data, "", 0, "")
    return document


def content(each: Document) -> Document:
    """Return a document wherever it stands."""
    return each._replace(file="", line=0)
