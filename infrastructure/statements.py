"""SQL statements that lie in `.sql` files beside the Python that runs them."""

from importlib import resources


def statements(package: str) -> dict[str, bytes]:
    """Return the statements of `package` by the names of their files, as bytes."""
    return {
        file.name.removesuffix(".sql"): file.read_bytes()
        for file in resources.files(package).iterdir()
        if file.name.endswith(".sql")
    }
