"""The terms of a table: their encoding, their bounds, what cannot be agreed to."""

import msgspec
import pytest

from consensus.encoding import DecodeError, encode
from node.game.params import (
    CHIPS_MAX,
    BankMode,
    GameParams,
    decode_params,
    encode_params,
    problem_of_params,
)

USUAL = GameParams()


def but(**changes: object) -> GameParams:
    return msgspec.structs.replace(USUAL, **changes)


def test_terms_survive_their_encoding() -> None:
    params = but(buy_in=77, rake_bp=5, rules=b"\x80")
    assert decode_params(encode_params(params)) == params


def test_terms_with_fields_left_out_have_a_second_encoding_and_are_refused() -> None:
    with pytest.raises(DecodeError):
        decode_params(encode((1,)))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"buy_in": CHIPS_MAX + 1},
        {"bank_mode": 4},
        {"reserve_bp": 9_999},
        {"rake_bp": 1_001},
        {"max_sessions": 0},
        {"max_sessions": 1_025},
        {"operations_per_block": 0},
        {"bets_per_seat": 257},
        {"betting_max_ms": 86_400_001},
        {"rules": bytes(2_049)},
    ],
)
def test_terms_out_of_bounds_do_not_decode(changes: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_params(encode_params(but(**changes)))


@pytest.mark.parametrize(
    ("changes", "players", "word"),
    [
        ({}, 0, "0 players"),
        ({}, 1_025, "1025 players"),
        ({"bank": CHIPS_MAX - 10, "buy_in": 6}, 2, "chips in all"),
        ({"bank": 0, "buy_in": 0}, 2, "0 chips in all"),
        ({"bank_mode": BankMode.BANKER}, 2, "no player owns"),
        ({"bank_mode": BankMode.POOL}, 2, "no player owns"),
        ({"bank_mode": BankMode.BANKER, "bank": 0, "banker": 2}, 2, "only 2"),
        ({"banker": 1}, 2, "bank mode has none"),
        ({"betting_min_ms": 21_000}, 2, "20000 ms is shorter"),
        ({"thrower_ms": 61_000}, 2, "never comes"),
    ],
)
def test_impossible_terms_are_named(changes: dict[str, object], players: int, word: str) -> None:
    problem = problem_of_params(but(**changes), players)
    assert problem is not None
    assert word in problem


@pytest.mark.parametrize(
    ("changes", "players"),
    [
        ({}, 1),
        ({}, 1_024),
        ({"bank": CHIPS_MAX - 12, "buy_in": 6}, 2),
        ({"bank_mode": BankMode.BANKER, "bank": 0, "banker": 1}, 2),
        ({"bank_mode": BankMode.POOL, "bank": 0}, 3),
        ({"betting_min_ms": 20_000, "betting_max_ms": 20_000}, 2),
    ],
)
def test_possible_terms_have_no_problem(changes: dict[str, object], players: int) -> None:
    assert problem_of_params(but(**changes), players) is None
