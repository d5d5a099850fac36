"""What the terminal shows for a view, and what typed words mean."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from node.commands.demo import ENDS
from node.game.craps.rules import load_rules
from node.game.operations import (
    CreateSession,
    Leave,
    Operation,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Working,
)
from node.game.rules import GameRules
from node.membership import Retire
from node.terminal import (
    STAYS,
    STOPS,
    WIDTH,
    Command,
    Help,
    Play,
    Quit,
    Say,
    Show,
    absence_text,
    changes,
    fitted,
    help_text,
    parse_line,
    render_table,
    turn_text,
)
from node.view import BetView, PaidView, RollView, TableView
from tests.node.views import ANNA, BEN, CARLA, DMITRI, TABLE

GOLDEN = Path(__file__).parent.parent / "data" / "terminal"


def usual_rules() -> GameRules:
    rules = load_rules(b"")
    assert not isinstance(rules, str), rules
    return rules


RULES = usual_rules()


def parse(line: str, view: TableView = TABLE) -> Command:
    return parse_line(line, view, RULES)


@pytest.mark.parametrize(
    ("name", "view", "pending"),
    [
        ("point_on", TABLE, ()),
        ("pending", replace(TABLE, thrower=1), ("place 6 12", "ready")),
        (
            "come_out_of_two",
            replace(
                TABLE, players=(replace(ANNA, bets=()), replace(BEN, bets=())), tolerated=0,
                board_texts=RULES.board_texts(RULES.opening_board()), rolls=0, last=(), thrower=-1, bank=0,
            ),
            (),
        ),
        (
            "many_bets",
            replace(
                TABLE,
                players=(
                    replace(
                        BEN,
                        bets=tuple(
                            BetView(kind=9, number=n, name=f"place {n}", stake=1_000_000 * n)
                            for n in (4, 5, 6, 8, 9, 10)
                        ),
                    ),
                ),
                me=0, tolerated=0, last=(), thrower=0,
            ),
            (),
        ),
    ],
)  # fmt: skip
def test_table_looks_as_it_did(name: str, view: TableView, pending: tuple[str, ...]) -> None:
    drawn = render_table(view, pending)
    assert drawn == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert max(map(len, drawn.splitlines())) <= WIDTH


def test_every_roll_shown_says_what_each_bet_was_paid() -> None:
    drawn = render_table(TABLE)
    assert "anna: pass -10, odds -20 · ben: pass -10 · carla: dont +10, lay +12" in " ".join(
        drawn.split()
    )


@pytest.mark.parametrize(
    ("members", "tolerated", "words"),
    [
        (1, 0, "alone"),
        (2, 0, "every one of them must agree: one who is absent stops the table"),
        (3, 0, "every one of them must agree: one who is absent stops the table"),
        (4, 1, "up to 1 player absent"),
        (7, 2, "up to 2 players absent"),
    ],
)
def test_players_read_what_one_absent_player_means(
    members: int, tolerated: int, words: str
) -> None:
    assert words in absence_text(members, tolerated)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (replace(TABLE, session=-1), "type `sit` to open one"),
        (replace(TABLE, me=3), "You are watching"),
        (replace(TABLE, betting=False), "the dice are out"),
        (replace(TABLE, thrower=-1), "Nobody can throw"),
        (TABLE, "anna has the dice. Type your bets"),
        (replace(TABLE, me=0), "You have the dice. Not ready yet: ben, carla."),
        (
            replace(TABLE, me=0, players=(ANNA, replace(BEN, ready=True))),
            "all are ready: type `roll`",
        ),
        (replace(TABLE, players=(ANNA, replace(BEN, ready=True))), "You are ready; anna has"),
    ],
)
def test_player_is_told_what_the_table_waits_for(view: TableView, words: str) -> None:
    assert words in turn_text(view)


@pytest.mark.parametrize(
    ("line", "operations"),
    [
        ("roll", (Roll(0),)),
        ("  READY ", (Ready(0),)),
        ("leave", (Leave(0),)),
        ("decline", (PassDice(0),)),
        ("down", (TakeDown(0, 1, 0), TakeDown(0, 9, 8))),
        ("down place 8", (TakeDown(0, 9, 8),)),
        ("down place 8 6", (Reduce(0, 9, 8, 6),)),
        ("down place 8 12", (Reduce(0, 9, 8, 12),)),
        ("off place 8", (Working(0, 9, 8, 2),)),
        ("on place 8", (Working(0, 9, 8, 1),)),
        ("default place 8", (Working(0, 9, 8, 0),)),
        ("place 6 12", (PlaceBet(0, 9, 6, 12),)),
        ("Place 6 8 12", (PlaceBet(0, 9, 6, 12), PlaceBet(0, 9, 8, 12))),
        ("odds 20", (PlaceBet(0, 5, 0, 20),)),
    ],
)
def test_words_become_operations(line: str, operations: tuple[Operation, ...]) -> None:
    assert parse(line) == Play(operations)


def test_leaving_for_good_takes_more_than_one_word() -> None:
    said = parse("retire")
    assert isinstance(said, Say)
    assert "nobody comes back from that: say `retire for good`" in said.text
    assert parse("retire for good") == Play((Retire(),))


def test_one_voter_votes_and_several_vote() -> None:
    alone = [replace(player, votes=player is BEN) for player in TABLE.players]
    after = replace(TABLE, epoch=1, players=tuple(alone))
    assert "  From now on ben votes." in changes(TABLE, after)
    assert any(
        "and Dmitri-with-a-long-name vote." in line
        for line in changes(after, replace(TABLE, epoch=2))
    )


def test_a_newcomer_reads_what_to_do_next() -> None:
    catching_up = replace(TABLE, me=-1, players=TABLE.players[:3])
    assert changes(catching_up, replace(TABLE, me=3)) == [
        "  Dmitri-with-a-long-name joins the table.",
        "  You are watching: type `sit` to take a seat.",
    ]
    assert changes(catching_up, replace(catching_up, height=TABLE.height + 1)) == []


def test_who_has_the_dice_and_no_bet_is_not_told_to_throw() -> None:
    alone = replace(TABLE, me=0, players=(replace(ANNA, bets=()), replace(BEN, ready=True)))
    assert turn_text(alone) == "You have the dice: type a bet, then `roll`."


def test_sit_opens_a_game_or_takes_a_seat_in_one() -> None:
    assert parse("sit", replace(TABLE, session=-1)) == Play((CreateSession(1), Sit(0)))
    assert parse("sit", replace(TABLE, me=3)) == Play((Sit(0),))
    assert parse("sit") == Say("you have a seat already")


@pytest.mark.parametrize(("line", "command"), [
    ("", Show()), ("table", Show()), ("help", Help()), ("?", Help()), ("help bets", Help("bets")), ("quit", Quit()), ("q", Quit()),
])  # fmt: skip
def test_words_without_an_operation(line: str, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("down place 6", "you have no bet 'place 6'; yours are: pass, place 8"),
        ("down place 8 13", "'13' is not a number of chips from 1 to the 12 of place 8"),
        ("down place 8 0", "'0' is not"),
        ("down place 8 -1", "'-1' is not"),
        ("down place 8 ٣", "'٣' is not"),
        ("down place 8 " + "9" * 60, "is not a number of chips"),
        ("off hard 8", "you have no bet 'hard 8'"),
        ("off", "you have no bet ''"),
        ("dance 5", "'dance' is no bet; `help` lists them"),
        ("plcae 6 12", "(did you mean 'place'?)"),
        ("rol", "(did you mean 'roll'?)"),
        ("open now", "'open now' means nothing: `help open` says how 'open' is used"),
        ("ready 5", "'ready 5' means nothing: `help ready`"),
        ("place 6", "'place 6' is no bet: type `place NUMBER CHIPS`"),
        ("place 6 1e3", "'1e3' is no number of chips (digits alone, 1 or more)"),
        ("place six 12", "'six' is no number: type `place NUMBER CHIPS`"),
        ("x" * 201, "a line of 201 characters; the limit is 200"),
    ],
)
def test_words_that_cannot_be_used_are_named_with_the_limit(line: str, words: str) -> None:
    said = parse(line)
    assert isinstance(said, Say)
    assert words in said.text


def test_the_game_reads_the_own_bets() -> None:
    dont = replace(TABLE, players=(ANNA, CARLA), me=1)
    assert parse("odds 20", dont) == Play((PlaceBet(0, 6, 0, 20),))


@pytest.mark.parametrize("line", ["roll", "pass 5", "down", "leave"])
def test_without_a_seat_nothing_is_submitted(line: str) -> None:
    assert parse(line, replace(TABLE, me=3)) == Say(
        f"{line.split(maxsplit=1)[0]!r} needs a seat: type `sit` first"
    )


def test_help_is_a_screen_and_names_every_word_that_is_no_bet() -> None:
    text = help_text(RULES)
    for word in ("pass 10", "roll", "ready", "down", "off", "decline", "sit", "table", "quit"):
        assert f"\n  {word}" in f"\n{text}"
    assert "`help bets` lists all 42" in text
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= WIDTH


def test_help_on_bets_names_each_and_help_on_a_word_it_alone() -> None:
    text = help_text(RULES, "bets")
    assert len(re.findall(r"^  \S", text, re.MULTILINE)) == len(RULES.bet_words)
    assert "quit" not in text
    assert help_text(RULES, "leave") == "  sit, leave  take a seat, or leave it\n"
    assert help_text(RULES, "field").startswith("  field CHIPS  ")
    assert help_text(RULES, "dance") == (
        "  no word 'dance': `help` lists them, `help bets` the bets\n"
    )


@pytest.mark.parametrize("quitting", [STAYS, STOPS, ENDS])
def test_help_says_what_becomes_of_the_table_on_quitting(quitting: str) -> None:
    assert f"quit  {quitting}\n" in help_text(RULES, "quit", quitting=quitting)


@pytest.mark.parametrize("width", [30, 40, 60, WIDTH])
def test_nothing_drawn_is_wider_than_the_terminal(width: int) -> None:
    many = tuple(BetView(kind=9, number=n, name=f"place {n}", stake=1_000_000) for n in range(9))
    wide = replace(TABLE, players=(replace(ANNA, bets=many), BEN, CARLA, DMITRI))
    drawn = render_table(wide, ("place 6 12", "ready", "field 10"), width)
    told = fitted("\n".join(changes(replace(wide, last=(), rolls=0), wide, width)), width)
    for text in (drawn, told, help_text(RULES, width=width), help_text(RULES, "bets", width=width)):
        assert max(map(len, text.splitlines())) <= width
    assert " ".join(drawn.split()).count("place 8 1,000,000") == 1
    assert "bank 9,983" in drawn


def test_a_long_sentence_breaks_between_words_and_stays_indented() -> None:
    assert fitted("  pass 5: the dice are out-of-hand\n", 20) == (
        "  pass 5: the dice\n    are out-of-hand\n"
    )
    assert fitted("  short\n\n  kept\n", 40) == "  short\n\n  kept\n"


@pytest.mark.parametrize(
    ("bets", "sentence"),
    [
        (BEN.bets[:1], "  pass 10 rides on: once it is decided, what it pays is yours"),
        (BEN.bets, "  pass 10 and place 8 12 ride on: once they are decided, what they pay is yours"),
        ((), None),
    ],
)  # fmt: skip
def test_who_leaves_reads_which_bets_ride_on(
    bets: tuple[BetView, ...], sentence: str | None
) -> None:
    left = replace(TABLE, players=(ANNA, replace(BEN, seated=False, bets=bets), CARLA, DMITRI))
    told = changes(TABLE, left)
    assert told[0] == "  you leave the game"
    assert [line for line in told if "rides on" in line or "ride on" in line] == (
        [sentence] if sentence else []
    )


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (TABLE, []),
        (
            replace(
                TABLE, rolls=18, board_texts=("puck OFF",), thrower=1,
                last=(RollView(number=18, dice=(3, 3), paid=(PaidView(player=0, name="pass", chips=10),)),),
                players=(replace(ANNA, bets=()), BEN, CARLA, DMITRI),
            ),
            [
                "     18  3 3  = 6   anna: pass +10",
                "  puck OFF",
                "  You have the dice. Not ready yet: carla.",
            ],
        ),
        (
            replace(
                TABLE,
                players=(
                    replace(ANNA, bets=ANNA.bets[:2]),
                    replace(BEN, bets=(*BEN.bets, BetView(kind=16, number=0, name="field", stake=5))),
                    replace(CARLA, bets=(replace(CARLA.bets[0], stake=4),)),
                    replace(DMITRI, seated=True),
                ),
            ),
            [
                "  anna takes place 8 down",
                "  you bet field 5",
                "  carla takes 6 off dont",
                "  Dmitri-with-a-long-name takes a seat",
            ],
        ),
        (replace(TABLE, betting=False, thrower=-1), ["  No more bets: the dice are out."]),
        (replace(TABLE, thrower=2), []),
        (replace(TABLE, thrower=1), ["  You have the dice. Not ready yet: carla."]),
        (
            replace(TABLE, players=(ANNA, BEN, replace(CARLA, seated=False), DMITRI)),
            ["  carla leaves the game"],
        ),
    ],
)  # fmt: skip
def test_what_is_new_is_told_in_lines(after: TableView, lines: list[str]) -> None:
    assert changes(TABLE, after) == lines


def test_who_was_caught_is_named_with_what_was_proven_when_it_is_and_from_then_on() -> None:
    carla = replace(CARLA, cheated=True, votes=False, wants_vote=False, offence="dealt twice")
    after = replace(TABLE, players=(ANNA, BEN, carla, DMITRI))
    told = "carla was caught cheating and loses the vote: carla dealt twice."
    assert changes(TABLE, after) == [f"  {told}"]
    assert changes(after, after) == []
    stands = "carla was caught cheating and votes no more: carla dealt twice."
    assert f"  {stands}" in render_table(after, ()).splitlines()
