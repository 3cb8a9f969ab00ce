"""SQL views over the query tables: the questions that analysts ask first."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class View(NamedTuple):
    """A view of `tables`: in `query` their names, and `now_us`, stand in braces.

    `now_us` is the time in µs since 1970 UTC. `columns` are commented, in order.
    """

    name: str
    comment: str
    tables: tuple[str, ...]
    columns: Mapping[str, str]
    query: str


PUSH_ACTIVITY: Final = View(
    "push_activity",
    "How many pushes of each repository stand where, and when the last ones came.",
    ("pushes",),
    {
        "canonical_url": "the repository: host[:port]/path in lower case, without .git",
        "pending": "pushes that wait for a review",
        "approved": "pushes that were approved or let through",
        "canceled": "pushes whose last decision canceled them",
        "rejected": "pushes whose last decision rejected them",
        "error": "pushes of which a step failed",
        "latest_push_us": "time of the newest push, in microseconds since 1970 UTC",
        "latest_pending_us": "time of the newest push that waits, in microseconds since 1970 UTC",
    },
    """
    SELECT canonical_url,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'approved') AS approved,
        count(*) FILTER (WHERE status = 'canceled') AS canceled,
        count(*) FILTER (WHERE status = 'rejected') AS rejected,
        count(*) FILTER (WHERE status = 'error') AS error,
        max(timestamp_us) AS latest_push_us,
        max(timestamp_us) FILTER (WHERE status = 'pending') AS latest_pending_us
    FROM {pushes} WHERE type = 'push' GROUP BY canonical_url
    """,
)

PUSH_DECISIONS: Final = View(
    "push_decisions",
    "One row a push that was decided and says when, and how long that took.",
    ("pushes",),
    {
        "id": "the push",
        "canonical_url": "the repository: host[:port]/path in lower case, without .git",
        "status": "what was decided last: approved, rejected or canceled",
        "user_name": "who pushed",
        "reviewer": "user name of who attested, in lower case",
        "pushed_at_us": "when it was pushed, in microseconds since 1970 UTC",
        "decided_at_us": "when it was last decided, here or as its document says, in µs since 1970",
        "seconds_to_decision": "from the push to the decision, null without a time of the push",
    },
    """
    SELECT id, canonical_url, status, user_name, reviewer,
        timestamp_us AS pushed_at_us, coalesce(decided_at_us, said_decided_us) AS decided_at_us,
        (coalesce(decided_at_us, said_decided_us) - timestamp_us) / 1000000.0 AS seconds_to_decision
    FROM {pushes} WHERE type = 'push' AND status IN ('approved', 'rejected', 'canceled')
        AND coalesce(decided_at_us, said_decided_us) IS NOT NULL
    """,
)

FILES_BY_TAG: Final = View(
    "files_by_tag",
    "One row a tag of a file, with what is known of the file.",
    ("files", "file_tags", "file_counts"),
    {
        "tag": "the tag, case-sensitive",
        "tag_count": "its votes: those for it less those against it",
        "sha256": "the file",
        "name": "the file's name",
        "type": "its extension",
        "cid": "its CID on IPFS",
        "ban_set": "0 not banned, 3 policy violation, 6 indecent, 9 malware, others imported",
        "moderation_votes": "votes for its removal less those against it",
        "added_at": "when it was added, RFC 3339",
    },
    """
    SELECT t.tag, t.tag_count, f.sha256, f.name, f.type, f.cid, f.ban_set, c.moderation_votes,
        f.added_at
    FROM {file_tags} t
    JOIN {files} f ON f.sha256 = t.sha256
    JOIN {file_counts} c ON c.sha256 = t.sha256
    """,
)

BANNED_FILES: Final = View(
    "banned_files",
    "One row a file that is banned, and why.",
    ("files", "file_counts"),
    {
        "sha256": "the file",
        "name": "the file's name",
        "ban_set": "the code of the ban",
        "reason": "what the code means",
        "moderation_votes": "votes for its removal less those against it",
        "last_updated": "when anything of it changed last, RFC 3339",
    },
    """
    SELECT f.sha256, f.name, f.ban_set,
        CASE f.ban_set WHEN 3 THEN 'policy violation' WHEN 6 THEN 'indecent'
            WHEN 9 THEN 'malware' ELSE 'unknown ban code' END AS reason,
        c.moderation_votes, c.last_updated
    FROM {files} f JOIN {file_counts} c ON c.sha256 = f.sha256 WHERE f.ban_set <> 0
    """,
)

ACTIVE_SESSIONS: Final = View(
    "active_sessions",
    "How many sessions each user has that live now.",
    ("sessions",),
    {
        "username": "whose sessions they are, null for those of nobody",
        "active": "how many live now",
        "latest_start_us": "when the newest one began, in microseconds since 1970 UTC",
        "latest_expiry_us": "when the last one ends, in microseconds since 1970 UTC",
    },
    """
    SELECT username, count(*) AS active, max(started_at_us) AS latest_start_us,
        max(expires_at_us) AS latest_expiry_us
    FROM {sessions} WHERE expires_at_us > {now_us} GROUP BY username
    """,
)

ALL: Final = (PUSH_ACTIVITY, PUSH_DECISIONS, FILES_BY_TAG, BANNED_FILES, ACTIVE_SESSIONS)
