"""Tokens: one line that holds everything a run needs to be run again."""

import base64
import binascii
import zlib
from dataclasses import dataclass

from netsim.scenario import (
    Scenario,
    ScenarioError,
    format_scenario,
    load_scenario,
    parse_scenario,
    scenario_hash,
    shipped,
)

PREFIX = "netsim1"


class TokenError(Exception):
    """A text that is no token, or one of a scenario that is not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, read."""

    scenario: Scenario
    seed: int
    commit: str
    python: str
    digest: str


def describe_scenario(scenario: Scenario) -> str:
    """Return a shipped scenario's name and hash, or any other scenario itself, packed."""
    name = scenario_hash(scenario)
    if scenario.name in shipped() and scenario_hash(load_scenario(scenario.name)) == name:
        return f"{scenario.name}.{name}"
    packed = zlib.compress(format_scenario(scenario).encode(), 9)
    return "z." + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def parse_token(text: str) -> Token:
    """Read a token; raises `TokenError` with the reason."""
    parts = "".join(text.split()).split(":")
    if len(parts) != 6 or parts[0] != PREFIX:
        raise TokenError(
            f"{text[:40]!r} is not a token: netsim1:SCENARIO:SEED:COMMIT:PYTHON:DIGEST"
        )
    _, described, seed, commit, python, digest = parts
    if not seed.isdecimal():
        raise TokenError(f"{seed[:20]!r} is not a seed")
    return Token(
        scenario=_find(described), seed=int(seed), commit=commit, python=python, digest=digest
    )


def _find(described: str) -> Scenario:
    kind, _, rest = described.rpartition(".")
    try:
        if kind == "z":
            packed = base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4))
            return parse_scenario(zlib.decompress(packed).decode(), "token")
        scenario = load_scenario(kind)
    except (binascii.Error, zlib.error, UnicodeDecodeError):
        raise TokenError("the scenario in the token is damaged") from None
    except ScenarioError as error:
        raise TokenError(f"the scenario of the token: {error}") from None
    if scenario_hash(scenario) != rest:
        raise TokenError(f"the shipped scenario {kind} has changed since the token was made")
    return scenario
