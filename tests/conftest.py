"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--rewrite`, for golden files."""
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write golden files anew instead of comparing; a changed one is a protocol change",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Say whether golden files are written rather than compared."""
    return bool(request.config.getoption("--rewrite"))
