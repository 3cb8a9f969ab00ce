"""Options that would be passed over in silence are usage errors, and nothing is done."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from refold.tests.scripts.conftest import Refold

A, B, POSTGRES = "sqlite:///a.db", "sqlite:///b.db", "postgresql://ada@localhost/files"
ARCHIVE = "archive:a.zst"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("verify", A, "--public-key", "k.pem"), "--public-key is for --certificate"),
        (("verify", A, "--anchor", ""), "'--anchor': it is empty"),
        (("verify", A, ""), "'other': it is empty"),
        (("seal", "--anchor", "", "--store", A), "'--anchor': it is empty"),
        (("verify", A, "--other-config", "o.toml"), "--other-config is for a second store"),
        (("verify", ARCHIVE, "--config", "o.toml"), "an archive has no refold.toml"),
        (("verify", A, ARCHIVE, "--other-config", "o.toml"), "an archive has no refold.toml"),
        (("copy", ARCHIVE, B, "--source-config", "o.toml"), "an archive has no refold.toml"),
        (("copy", A, ARCHIVE, "--target-config", "o.toml"), "an archive has no refold.toml"),
        (("copy", A, ARCHIVE, "--sign-with", "k.pem"), "--sign-with needs --certificate"),
        (("copy", A, POSTGRES, "--sign-with", "k.pem"), "--sign-with needs --certificate"),
        (("move", A, POSTGRES, "--sign-with", "k.pem"), "--sign-with needs --certificate"),
        (("cutover", A, POSTGRES, "--sign-with", "k.pem"), "--sign-with needs --certificate"),
        (("move", A, B, "--follow", "--certificate", "c.json"), "is made by refold cutover"),
        (("move", A, B, "--follow", "--sign-with", "k.pem"), "is made by refold cutover"),
        (("cutover", A, B, "--abort", "--certificate", "c.json"), "--abort makes no certificate"),
        (("cutover", A, B, "--abort", "--sign-with", "k.pem"), "--abort makes no certificate"),
        (("rebuild", "--rollback", "--no-switch", "--store", A), "--no-switch is for what is fold"),
        (("rebuild", "--drop-old", "--no-switch", "--store", A), "--no-switch is for what is fold"),
        (("rebuild", "--samples", "9" * 20, "--store", A), "less than or equal to 1000000"),
        (("rehearse", "--samples", "9" * 20, "--store", A), "less than or equal to 1000000"),
    ],
)
def test_an_option_that_would_be_passed_over_is_a_usage_error(
    refold: Refold, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    refold("init", "--store", A)
    refold("copy", A, ARCHIVE)
    key = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "k.pem").write_bytes(key)
    before = sorted(tmp_path.iterdir())

    ran = refold(*arguments)

    assert ran.code == 2
    assert sentence in ran.err
    assert sorted(tmp_path.iterdir()) == before
