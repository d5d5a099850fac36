"""The words of bets: what a player types, what a bet is called, what the help says it pays."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from node.game.craps.bets import ALL_KEYS, FLAT_OF, HORN_NUMBERS, Kind, bet_key
from node.game.craps.decide import prizes
from node.game.craps.params import CrapsParams
from node.game.craps.pays import REPLAY_TIMES
from node.game.rules import BetKey, Bets
from node.game.words import no_chips, whole_number

_WORDS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.PASS: "pass",
        Kind.DONT_PASS: "dont",
        Kind.COME: "come",
        Kind.DONT_COME: "dontcome",
        Kind.PASS_ODDS: "odds",
        Kind.DONT_PASS_ODDS: "lay",
        Kind.COME_ODDS: "odds",
        Kind.DONT_COME_ODDS: "layodds",
        Kind.PLACE: "place",
        Kind.PLACE_LOSE: "lose",
        Kind.BUY: "buy",
        Kind.LAY: "lay",
        Kind.PUT: "put",
        Kind.PUT_ODDS: "putodds",
        Kind.BIG: "big",
        Kind.FIELD: "field",
        Kind.HARD: "hard",
        Kind.ANY_SEVEN: "any7",
        Kind.ANY_CRAPS: "anycraps",
        Kind.HORN: "",
        Kind.HOP: "hop",
        Kind.NEXT: "next",
        Kind.YES: "yes",
        Kind.NO: "no",
        Kind.REPEAT: "repeat",
        Kind.FIRE: "fire",
        Kind.SMALL: "small",
        Kind.TALL: "tall",
        Kind.ALL: "all",
        Kind.MUGGSY: "muggsy",
        Kind.HOT_ROLLER: "hot",
        Kind.TWICE_HARD: "twice",
        Kind.RIDE_LINE: "ride",
        Kind.REPLAY: "replay",
        Kind.DOUBLES: "doubles",
    }
)
_HORN_WORDS: Mapping[int, str] = MappingProxyType(
    {2: "aces", 3: "acedeuce", 11: "yo", 12: "boxcars"}
)
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "don't": "dont",
        "seven": "any7",
        "craps": "anycraps",
        "c&e": "ce",
        "yoleven": "yo",
        "midnight": "boxcars",
        "repeater": "repeat",
        "don'tcome": "dontcome",
    }
)


def bet_name(key: BetKey) -> str:
    """Return what a player types to make a bet, without the amount."""
    kind, number = Kind(key.kind), key.number
    if kind == Kind.HORN:
        return _HORN_WORDS[number]
    if kind == Kind.HOP:
        return f"hop {number // 10} {number % 10}"
    return f"{_WORDS[kind]} {number}" if number else _WORDS[kind]


_PLAIN: Mapping[str, BetKey] = MappingProxyType(
    {
        bet_name(key): key
        for key in ALL_KEYS
        if key.kind != Kind.HOP and (key.number == 0 or key.kind == Kind.HORN)
    }
)
"""Bets that one word names."""
_NUMBERED: Mapping[str, Kind] = MappingProxyType(
    {
        _WORDS[kind]: kind
        for key, kind in ALL_KEYS.items()
        if key.number
        and kind not in {Kind.HORN, Kind.HOP, Kind.COME, Kind.DONT_COME, Kind.TWICE_HARD}
    }
)
"""Bets that a word and a number name; come and don't come bets move to theirs by themselves."""
_HORN = tuple(bet_key(Kind.HORN, number) for number in HORN_NUMBERS)
SPLITS: Mapping[str, tuple[BetKey, ...]] = MappingProxyType(
    {
        "horn": _HORN,
        "hornhigh": _HORN,
        "world": (*_HORN, bet_key(Kind.ANY_SEVEN, 0)),
        "ce": (bet_key(Kind.ANY_CRAPS, 0), bet_key(Kind.HORN, 11)),
    }
)
"""Words for several bets in equal parts (R27); `hornhigh` doubles one of them."""

_FORMS: Mapping[str, str] = MappingProxyType(
    {
        **{word: f"{word} CHIPS" for word in (*_PLAIN, *SPLITS)},
        **{word: f"{word} NUMBER CHIPS" for word in (*_NUMBERED, "hornhigh")},
        "odds": "odds [NUMBER] CHIPS",
        "lay": "lay [NUMBER] CHIPS",
        "hop": "hop DIE DIE CHIPS",
    }
)
"""How each first word is used."""

_NOTES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.PASS: "come-out 7 or 11 wins, 2 3 12 lose, then the point before 7",
        Kind.DONT_PASS: "the other side of pass",
        Kind.COME: "as pass, with the puck on; the next roll is its come-out",
        Kind.DONT_COME: "the other side of come",
        Kind.PASS_ODDS: "behind pass, once there is a point",
        Kind.DONT_PASS_ODDS: "behind dont, once there is a point",
        Kind.COME_ODDS: "behind the come bet on the number",
        Kind.DONT_COME_ODDS: "behind the dontcome bet on the number",
        Kind.PLACE: "the number before 7",
        Kind.PLACE_LOSE: "7 before the number",
        Kind.BUY: "the number before 7, with vig",
        Kind.LAY: "7 before the number, with vig",
        Kind.PUT: "a pass bet on a number of your choice",
        Kind.PUT_ODDS: "behind the put bet on the number",
        Kind.BIG: "the number before 7",
        Kind.FIELD: "one roll",
        Kind.HARD: "the double before 7 and before the number any other way",
        Kind.ANY_SEVEN: "one roll",
        Kind.ANY_CRAPS: "one roll, 2 3 or 12",
        Kind.HORN: "one roll",
        Kind.HOP: "one roll, these two dice",
        Kind.NEXT: "one roll",
        Kind.YES: "the number before 7, always on",
        Kind.NO: "7 before the number, always on",
        Kind.REPEAT: "the number so many times before any 7",
        Kind.FIRE: "different points that one shooter makes",
        Kind.SMALL: "2 3 4 5 6 all before any 7",
        Kind.TALL: "8 9 10 11 12 all before any 7",
        Kind.ALL: "small and tall both before any 7",
        Kind.MUGGSY: "7 on the come-out, or a point and then 7 at once",
        Kind.HOT_ROLLER: "rolls without a 7",
        Kind.TWICE_HARD: "the next two rolls are both hardways",
        Kind.RIDE_LINE: "pass line wins of one shooter",
        Kind.REPLAY: f"one shooter makes the same point {REPLAY_TIMES} times",
        Kind.DOUBLES: "different doubles without a 7",
    }
)


def parse_bet(
    params: CrapsParams, words: Sequence[str], bets: Bets
) -> Sequence[tuple[BetKey, int]] | str:
    """Return the bets that typed words ask for, or the sentence why they mean none.

    Words are a bet's name, numbers where it has them, and chips last; several numbers are several
    bets of so many chips each. Whether the rules take the bets is not asked here.
    """
    word = _ALIASES.get(words[0], words[0]) if words else ""
    if word not in _FORMS:
        return f"{word!r} is no bet; `help` lists them"
    form = _FORMS[word]
    values = [whole_number(text) for text in words[1:]]
    if not values:
        return f"{word!r} needs chips: type `{form}`"
    if values[-1] is None:
        return f"{no_chips(words[-1])}: type `{form}`"
    if None in values:
        return f"{words[1 + values.index(None)]!r} is no number: type `{form}`"
    *numbers, chips = [value for value in values if value is not None]
    if word in SPLITS:
        wanted = _split(word, numbers, chips)
        if isinstance(wanted, str):
            return wanted
    else:
        keys = _hop(numbers) if word == "hop" else _keys(word, numbers, bets)
        if not keys:
            return f"{' '.join(words)!r} is no bet: type `{form}`"
        wanted = [(key, chips) for key in keys]
    closed = next((key for key, _ in wanted if not params.takes(key)), None)
    return wanted if closed is None else f"{bet_name(closed)} is not taken at this table"


def _hop(numbers: Sequence[int]) -> list[BetKey]:
    if len(numbers) != 2:
        return []
    low, high = sorted(numbers)
    key = bet_key(Kind.HOP, low * 10 + high)
    return [key] if key in ALL_KEYS and high < 10 else []


def _keys(word: str, numbers: Sequence[int], bets: Bets) -> list[BetKey]:
    """Return the bets of a word, or none when a number does not fit it."""
    if word == "odds":
        keys = [_odds(number, bets) for number in numbers or (0,)]
    elif numbers:
        keys = [bet_key(_NUMBERED[word], n) for n in numbers] if word in _NUMBERED else []
    else:
        keys = [_PLAIN[word]] if word in _PLAIN else []
    return keys if all(key in ALL_KEYS for key in keys) else []


def _odds(number: int, bets: Bets) -> BetKey:
    """Return the odds behind the flat bet that the seat has on a number (0: on the puck)."""
    kinds: tuple[Kind, ...] = (Kind.PASS_ODDS, Kind.DONT_PASS_ODDS)
    if number:
        kinds = (Kind.COME_ODDS, Kind.PUT_ODDS, Kind.DONT_COME_ODDS)
    have = (kind for kind in kinds if bet_key(FLAT_OF[kind], number) in bets)
    return bet_key(next(have, kinds[0]), number)


def _split(word: str, numbers: Sequence[int], chips: int) -> Sequence[tuple[BetKey, int]] | str:
    """Return the parts of a bet that is only a way to say several (R27)."""
    parts = list(SPLITS[word])
    if word == "hornhigh":
        if len(numbers) != 1 or numbers[0] not in HORN_NUMBERS:
            return f"`{_FORMS[word]}` doubles one of {', '.join(map(str, HORN_NUMBERS))}"
        parts.append(bet_key(Kind.HORN, numbers[0]))
    elif numbers:
        return f"{word!r} has no number: type `{_FORMS[word]}`"
    share, rest = divmod(chips, len(parts))
    if rest or not share:
        nearest = [n for n in (chips - rest, chips - rest + len(parts)) if n]
        return f"{chips} chips do not split into {len(parts)} parts; try {_either(nearest)}"
    amounts = dict.fromkeys(parts, 0)
    for key in parts:
        amounts[key] += share
    return list(amounts.items())


def _either(chips: Sequence[int]) -> str:
    return " or ".join(map(str, chips))


def bet_words(params: CrapsParams) -> tuple[tuple[str, str], ...]:
    """Return the bets that this table takes, as typed, and what each pays and needs."""
    rows = []
    for kind in Kind:
        keys = [
            key for key in ALL_KEYS if key.kind == kind and params.takes(key) and not _is_moved(key)
        ]
        if keys:
            rows += _rows(params, kind, keys)
    for word, parts in SPLITS.items():
        if all(params.takes(key) for key in parts):
            rows.append((_FORMS[word], split_text(parts)))
    return tuple(rows)


def _is_moved(key: BetKey) -> bool:
    return key.number != 0 and key.kind in {Kind.COME, Kind.DONT_COME, Kind.TWICE_HARD}


def _rows(params: CrapsParams, kind: Kind, keys: Sequence[BetKey]) -> list[tuple[str, str]]:
    """Return the help of one kind of bet: a row each where the names differ, else one."""
    note = _NOTES[kind]
    if kind == Kind.HORN:
        return [
            (f"{bet_name(key)} CHIPS", f"{pays_text(params, key)}; {key.number}, {note}")
            for key in keys
        ]
    if kind in {Kind.PASS_ODDS, Kind.DONT_PASS_ODDS}:
        # Their key has no number; what they pay is a matter of the point.
        points = [(n, pays_text(params, keys[0], n)) for n in params.points]
    else:
        points = [(key.number, pays_text(params, key, 0)) for key in keys]
    word = _WORDS[kind]
    form = _FORMS[word].replace("[NUMBER]", "NUMBER" if keys[0].number else "").replace("  ", " ")
    return [(form, f"{_grouped(points, kind)}; {note}")]


def _grouped(pays: Sequence[tuple[int, str]], kind: Kind) -> str:
    """Return pays with the numbers that share them: `7:6 on 6 8`."""
    shared: dict[str, list[int]] = {}
    for number, text in pays:
        shared.setdefault(text, []).append(number)
    if len(shared) == 1:
        return next(iter(shared))
    if kind == Kind.HOP:
        return ", ".join(
            f"{text} {'hard' if numbers[0] % 11 == 0 else 'easy'}"
            for text, numbers in shared.items()
        )
    return ", ".join(f"{text} on {' '.join(map(str, n))}" for text, n in shared.items())


def split_text(parts: Sequence[BetKey]) -> str:
    """Return what a word for several bets means."""
    return "equal parts on " + ", ".join(bet_name(key) for key in parts)


def puck_texts(params: CrapsParams, point: int) -> tuple[str, str]:
    """Return where the puck is, and the points with the one under it in brackets."""
    boxes = "  ".join(f"[{n}]" if n == point else f" {n} " for n in params.points)
    return f"puck ON {point}" if point else "puck OFF", boxes


def rule_text(key: BetKey) -> str:
    """Return when a bet wins, in one line."""
    return _NOTES[Kind(key.kind)]


def pays_text(params: CrapsParams, key: BetKey, point: int = 0) -> str:
    """Return what a bet pays, to 1: `7:6`, or `24:1 for 4, 249:1 for 5, 999:1 for 6`."""
    rows = prizes(params, key, point)
    return ", ".join(f"{odds.text} {what}".rstrip() for what, odds in rows)
