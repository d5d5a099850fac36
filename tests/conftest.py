"""Options of the whole suite."""

import pytest
from hypothesis import settings

# The same examples in every run: one that fails is there for whoever runs it next.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


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
