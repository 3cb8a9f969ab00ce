"""What is shipped: the wheel holds the package and nothing else, and no file names a place."""

import re
import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

CHECKOUT = Path(__file__).parents[1]
SHIPPED = {".py", ".sql"}  # and py.typed, and whatever scripts/demo-data holds

# Put together here, so that this file does not contain what it forbids.
INDEX_HOSTS = [
    f"{name}.org" for name in ("pypi", "pythonhosted", "registry.npmjs", "registry.yarnpkg")
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of a copy of the checkout, in a folder that is not called refold."""
    copy = tmp_path_factory.mktemp("packaging") / "copy"
    for file in checkout_files():
        target = copy / file.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return ZipFile(next((copy / "dist").glob("*.whl")))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    files = [name for name in wheel.namelist() if ".dist-info/" not in name]

    strangers = [name for name in files if not belongs(PurePosixPath(name))]

    assert strangers == []
    assert "refold/py.typed" in files


def test_the_wheel_holds_every_module_and_every_statement(wheel: ZipFile) -> None:
    sources = {
        f"refold/{file.relative_to(CHECKOUT).as_posix()}"
        for file in checkout_files()
        if file.suffix in SHIPPED and file.relative_to(CHECKOUT).parts[0] != "tests"
    }

    assert sources - set(wheel.namelist()) == set()


def test_the_wheel_says_its_license(wheel: ZipFile) -> None:
    folder = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)

    metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())

    assert re.fullmatch(r"refold-[\d.]+\.dist-info", folder)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()


def test_no_file_names_a_package_index_or_this_machine() -> None:
    forbidden = [text.encode() for text in (*INDEX_HOSTS, f"{CHECKOUT}/")]

    found = [
        f"{file.relative_to(CHECKOUT)} contains {text.decode()}"
        for file in checkout_files()
        for text in forbidden
        if text in file.read_bytes()
    ]

    assert found == []


def belongs(file: PurePosixPath) -> bool:
    if file.parts[0] != "refold" or "tests" in file.parts:
        return False
    return file.suffix in SHIPPED or file.name == "py.typed" or "demo-data" in file.parts


def checkout_files() -> list[Path]:
    """List what is or could be committed, without what was deleted and not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=CHECKOUT, text=True).split("\0")
    files = {CHECKOUT / name for name in names if name}
    return sorted(file for file in files if file.is_file())
