"""Who is asked to a table looks at its house rules before signing, as its host had to."""

from collections.abc import Callable

import pytest
import trio

from consensus.encoding import encode
from node.commands.terms import problem_of_terms
from node.descriptor import Table
from node.errors import OperatorError
from node.game.craps.params import CrapsParams
from node.game.games import CRAPS, SICBO, Choice, encode_choice
from node.game.params import GameParams, encode_params
from node.game.sicbo.params import SicboParams
from node.guest import join
from node.identity import Keys
from node.lobby import host
from node.lobby_messages import Room
from transport.base import Address

HERE = Address("127.0.0.1", 0)
HOST, GUEST = Keys(bytes([1]) * 32), Keys(bytes([2]) * 32)


def terms(rules: bytes) -> bytes:
    return encode_params(GameParams(rules=rules))


GENEROUS = terms(encode_choice(CRAPS, CrapsParams(field_12=9)))
FAIR = terms(encode_choice(SICBO, SicboParams(pair_pay=6)))


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (GENEROUS, "field at 1:1 on 3,4,9,10,11, 2:1 on 2, 9:1 on 12 has a house edge of -13.89 %"),
        (
            terms(encode_choice(SICBO, SicboParams(double_pay=8))),
            "double 1 at 8:1 has a house edge",
        ),
        (terms(encode_choice(CRAPS, CrapsParams(bar=3))), "bar is 3"),
        (terms(encode(Choice(9))), "this version knows no game number 9"),
        (b"?", "they cannot be read"),
    ],
)
def test_terms_that_nobody_should_sign_are_named(params: bytes, sentence: str) -> None:
    problem = problem_of_terms(params)
    assert problem is not None
    assert sentence in problem


def test_usual_and_sound_terms_are_signed() -> None:
    assert problem_of_terms(terms(b"")) is None
    assert problem_of_terms(FAIR) is None
    unsound = CrapsParams(field_12=9, allow_unsound=1)
    assert problem_of_terms(terms(encode_choice(CRAPS, unsound))) is None


async def sit_down(params: bytes, saved: Callable[[Table], None]) -> None:
    """Open a table with these terms and join it; raises what the guest says."""
    rooms: list[Room] = []
    opened = trio.Event()

    def show(room: Room) -> None:
        rooms.append(room)
        opened.set()

    async with trio.open_nursery() as nursery:

        async def be_host() -> None:
            await host(
                HOST, "host", "friday", params, 2, HERE,
                on_change=show, save=lambda _: None,
            )  # fmt: skip

        nursery.start_soon(be_host)
        await opened.wait()
        try:
            await join(
                GUEST, "guest", rooms[0].invite, [Address("127.0.0.1", 7001)],
                on_change=lambda _: None, save=saved, problem_of_params=problem_of_terms,
            )  # fmt: skip
        except OperatorError as error:
            sentence = str(error)
        else:
            return
        finally:
            nursery.cancel_scope.cancel()
    raise OperatorError(sentence)


def test_guest_does_not_sign_a_table_that_pays_its_players() -> None:
    tables: list[Table] = []
    with pytest.raises(OperatorError, match=r"the terms of 'friday': field at .* house edge"):
        trio.run(sit_down, GENEROUS, tables.append)
    assert tables == []


def test_guest_signs_house_rules_that_are_sound() -> None:
    tables: list[Table] = []
    trio.run(sit_down, FAIR, tables.append)
    assert len(tables) == 1
