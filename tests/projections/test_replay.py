"""Query tables are a fold of the log: folded live, at once or by family, the rows are the same."""

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.errors import Refused
from refold.domain.ports import Recorded, State
from refold.infrastructure import commands
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.projections import catalog, projection
from refold.projections.projection import Key, Row
from refold.tests.projections.folds import asked, rows, rows_by_family

pytestmark = pytest.mark.usefixtures("small_pages")

FILES = ["00" * 32, "ff" * 32]
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
DIGESTS = Path(__file__).with_name("golden_digests.txt")


# --- the same rows by every way ---------------------------------------------------

FILE = st.sampled_from([FILES[0], FILES[0], FILES[1]])
TAG = st.sampled_from(["a", "é/%"])
VOTER = st.sampled_from(["ada", "bo"])
STANCE = st.sampled_from([1, -1])
NAME = st.sampled_from(["", "paper.pdf", "Étude n°5.PDF", "camelCase_2.tar.gz"])
TIMES = st.sampled_from(["2020-01-01T00:00:00Z", "2999-01-01T00:00:00.000000001Z"])
RECORD = st.fixed_dictionaries(
    {"ipfsCID": st.just("Qm"), "lastUpdated": TIMES, "addedAt": TIMES},
    optional={
        "fileName": st.sampled_from(["", "nul\0", "half \ud800", "gossip.txt"]),
        "moderationVotes": st.integers(-3, 3),
        "tags": st.none() | st.dictionaries(TAG, st.integers(-3, 3)),
        "banSet": st.sampled_from([0, 7, 9]),
        "unknown": st.just([1, {"x": None}]),
    },
)
GOSSIP = st.builds(lambda sha, record: record | {"fileSHA256": sha}, FILE, RECORD)


STEPS = st.one_of(
    asked("file.register", sha256=FILE, cid=st.just(CID), name=NAME),
    asked("file.change", sha256=FILE, name=NAME, type=st.sampled_from(["pdf", ""])),
    asked("file.replace", sha256=FILE, cid=st.just(CID), name=NAME),
    asked("file.ban", sha256=FILE, code=st.sampled_from([0, 3, 9])),
    asked("file.add_tag", sha256=FILE, tag=TAG),
    asked("file.reset_tag", sha256=FILE, tag=TAG),
    asked("file.remove_tag", sha256=FILE, tag=TAG),
    asked("file.apply_gossip", record=GOSSIP, peer=VOTER, tie=st.sampled_from(["keep", "replace"])),
    asked("tag_vote.cast", sha256=FILE, tag=TAG, voter=VOTER, stance=STANCE),
    asked("tag_vote.withdraw", sha256=FILE, tag=TAG, voter=VOTER),
    asked("removal_vote.cast", sha256=FILE, voter=VOTER, stance=STANCE),
    asked("removal_vote.withdraw", sha256=FILE, voter=VOTER),
    st.tuples(st.just("import"), st.dictionaries(FILE | st.just("Odd/%"), RECORD, max_size=2)),
    st.tuples(st.just("fold"), st.none()),
    st.tuples(st.just("rebuild"), st.sampled_from(catalog.ALL)),
)
BEGINNING = [
    ("file.register", {"sha256": FILES[0], "cid": CID}),
    ("tag_vote.cast", {"sha256": FILES[0], "tag": "a", "voter": "ada", "stance": 1}),
    ("file.add_tag", {"sha256": FILES[0], "tag": "é/%"}),
]


@given(st.lists(STEPS, min_size=10, max_size=40))
def test_live_folding_a_rebuild_and_a_fold_by_family_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    with open_store("memory:") as store:
        take(store, [*BEGINNING, *steps], tmp_path_factory)
        store.folder.catch_up()
        live = rows(store, catalog.ALL)

        rebuilt = store.rebuilder.rebuild(catalog.ALL)

        assert rows(store, catalog.ALL) == live == rows_by_family(store, catalog.ALL)
        assert all(each.is_equal for each in rebuilt)
        assert_counts_add_up(live)


def take(store: Store, steps: list[tuple[str, Any]], folders: pytest.TempPathFactory) -> None:
    numbers = count()
    for name, data in steps:
        if name == "fold":
            store.folder.catch_up()
        elif name == "rebuild":  # the other tables stay behind it
            store.rebuilder.rebuild([data])
        elif name == "import":
            path = folders.getbasetemp() / "replay.json"
            path.write_text(json.dumps(data))
            import_pinshare(store, path)
        else:
            with suppress(Refused):  # the file may be unknown
                commands.run(store, name, data, command_id=f"{next(numbers)}", actor="ada")


def assert_counts_add_up(tables: dict[str, dict[Key, Row]]) -> None:
    """A tag counts its baseline and the votes that stand in its present generation."""
    for sha256, tag, generation, baseline, counted in tables["file_tags"].values():
        votes = [
            stance
            for *key, _, voted, stance in tables["tag_votes"].values()
            if key == [sha256, tag] and voted == generation
        ]
        assert counted == baseline + sum(votes)
    for sha256, *_, tags, _ in tables["files"].values():
        assert json.loads(tags) == sorted(
            tag for file, tag in tables["file_tags"] if file == sha256
        )


# --- the meaning of the events ----------------------------------------------------


@pytest.mark.parametrize("engine", ["memory", "sqlite", "postgresql"])
def test_stored_samples_give_the_rows_that_were_written_down(
    engine: str, request: pytest.FixtureRequest, golden: list[Recorded], tmp_path: Path
) -> None:
    addresses: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory:",
        "sqlite": lambda: f"sqlite:///{tmp_path}/store.db",
        "postgresql": lambda: str(request.getfixturevalue("postgres_url")),
    }
    written_down = [line for line in DIGESTS.read_text().splitlines() if line[0] != "#"]
    with open_store(addresses[engine](), create=True) as store:
        store.log.change_state(State.FILLING)
        store.log.receive(golden)

        store.folder.catch_up()
        digests = [(each, store.folder.digest(each)[1]) for each in catalog.ALL]

    for each, digest in digests:
        line = (
            f"{each.NAME} {each.VERSION} {projection.fingerprint(each)} {digest.rows} {digest.hex}"
        )
        assert line in written_down, f"bump VERSION of {each.NAME} and add this line"


def test_no_version_of_a_table_was_written_down_twice() -> None:
    versions = [line.split()[:2] for line in DIGESTS.read_text().splitlines() if line[0] != "#"]

    assert sorted(versions) == sorted(map(list, {tuple(version) for version in versions}))


def test_every_table_declares_its_row_and_its_columns_alike() -> None:
    for each in catalog.ALL:
        columns = [column.name for column in each.TABLE.columns]
        row_fields = each.Row._fields  # type: ignore[attr-defined]

        assert list(row_fields) == columns
        key = [column.name for column in each.TABLE.primary_key.columns]
        assert columns[: len(key)] == key
        assert all(column.comment for column in each.TABLE.columns)
        assert each.TABLE.comment
