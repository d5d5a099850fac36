"""`pytest tests/game/craps --rewrite` writes the results of the golden scripts anew."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write the golden scripts of craps anew"
    )
