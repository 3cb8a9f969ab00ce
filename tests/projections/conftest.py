"""What tests of several query tables share."""

from collections.abc import Iterator

import pytest

from refold.infrastructure.folding import pages


@pytest.fixture(scope="module")
def small_pages() -> Iterator[None]:
    """Three events a page, so that a short history has many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "PAGE", 3)
        yield
