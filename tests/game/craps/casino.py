"""What casinos pay, typed from their rules and not from the code: the other side of every test.

A fate is a text: `.` nothing, `L` lost, `R` returned, `>` moves to the number, `7:6` paid that and
down, `7:6+` paid that and stays up.
"""

# By total 2 3 4 5 6 7 8 9 10 11 12, for each place of the puck (0: off) or number of a come bet.
LINE = {
    "pass": {
        0: "L L . . . 1:1 . . . 1:1 L",
        4: ". . 1:1 . . L . . . . .",
        5: ". . . 1:1 . L . . . . .",
        6: ". . . . 1:1 L . . . . .",
        8: ". . . . . L 1:1 . . . .",
        9: ". . . . . L . 1:1 . . .",
        10: ". . . . . L . . 1:1 . .",
    },
    "dont": {
        0: "1:1 1:1 . . . L . . . L R",
        4: ". . L . . 1:1 . . . . .",
        5: ". . . L . 1:1 . . . . .",
        6: ". . . . L 1:1 . . . . .",
        8: ". . . . . 1:1 L . . . .",
        9: ". . . . . 1:1 . L . . .",
        10: ". . . . . 1:1 . . L . .",
    },
    "come": {
        0: "L L > > > 1:1 > > > 1:1 L",
        4: ". . 1:1 . . L . . . . .",
        5: ". . . 1:1 . L . . . . .",
        6: ". . . . 1:1 L . . . . .",
        8: ". . . . . L 1:1 . . . .",
        9: ". . . . . L . 1:1 . . .",
        10: ". . . . . L . . 1:1 . .",
    },
    "dontcome": {
        0: "1:1 1:1 > > > L > > > L R",
        4: ". . L . . 1:1 . . . . .",
        5: ". . . L . 1:1 . . . . .",
        6: ". . . . L 1:1 . . . . .",
        8: ". . . . . 1:1 L . . . .",
        9: ". . . . . 1:1 . L . . .",
        10: ". . . . . 1:1 . . L . .",
    },
    "odds": {
        4: ". . 2:1 . . L . . . . .",
        5: ". . . 3:2 . L . . . . .",
        6: ". . . . 6:5 L . . . . .",
        8: ". . . . . L 6:5 . . . .",
        9: ". . . . . L . 3:2 . . .",
        10: ". . . . . L . . 2:1 . .",
    },
    "lay": {
        4: ". . L . . 1:2 . . . . .",
        5: ". . . L . 2:3 . . . . .",
        6: ". . . . L 5:6 . . . . .",
        8: ". . . . . 5:6 L . . . .",
        9: ". . . . . 2:3 . L . . .",
        10: ". . . . . 1:2 . . L . .",
    },
}
LINE["put"] = {number: LINE["come"][number] for number in (5, 6, 8, 9)}

# Decided by the number or a seven: what wins, what it pays, whether it stays up, whether it is off
# on the come-out, whether a player may call it.
NUMBER = {
    "place": ("number", {4: "9:5", 5: "7:5", 6: "7:6", 8: "7:6", 9: "7:5", 10: "9:5"}, "up off"),
    "lose": ("seven", {4: "5:11", 5: "5:8", 6: "4:5", 8: "4:5", 9: "5:8", 10: "5:11"}, "call"),
    "buy": ("number", {4: "2:1", 5: "3:2", 6: "6:5", 8: "6:5", 9: "3:2", 10: "2:1"}, "up off"),
    "lay": ("seven", {4: "1:2", 5: "2:3", 6: "5:6", 8: "5:6", 9: "2:3", 10: "1:2"}, "call"),
    "big": ("number", {6: "1:1", 8: "1:1"}, ""),
    "yes": (
        "number",
        {
            2: "147:25", 3: "147:50", 4: "49:25", 5: "147:100", 6: "59:50",
            8: "59:50", 9: "147:100", 10: "49:25", 11: "147:50", 12: "147:25",
        },
        "",
    ),
    "no": (
        "seven",
        {
            2: "4:25", 3: "33:100", 4: "49:100", 5: "13:20", 6: "41:50",
            8: "41:50", 9: "13:20", 10: "49:100", 11: "33:100", 12: "4:25",
        },
        "",
    ),
}  # fmt: skip

HARD = {4: "7:1", 6: "9:1", 8: "9:1", 10: "7:1"}

# One roll, by total.
ONE_ROLL = {
    "field": "2:1 1:1 1:1 L L L L 1:1 1:1 1:1 2:1",
    "any7": "L L L L L 4:1 L L L L L",
    "anycraps": "7:1 7:1 L L L L L L L L 7:1",
    "aces": "30:1 L L L L L L L L L L",
    "acedeuce": "L 15:1 L L L L L L L L L",
    "yo": "L L L L L L L L L 15:1 L",
    "boxcars": "L L L L L L L L L L 30:1",
    "next 2": "343:10 L L L L L L L L L L",
    "next 3": "L 833:50 L L L L L L L L L",
    "next 4": "L L 539:50 L L L L L L L L",
    "next 5": "L L L 196:25 L L L L L L L",
    "next 6": "L L L L 152:25 L L L L L L",
    "next 7": "L L L L L 49:10 L L L L L",
    "next 8": "L L L L L L 152:25 L L L L",
    "next 9": "L L L L L L L 196:25 L L L",
    "next 10": "L L L L L L L L 539:50 L L",
    "next 11": "L L L L L L L L L 833:50 L",
    "next 12": "L L L L L L L L L L 343:10",
}

MUGGSY = {0: "L L . . . 2:1 . . . L L", 4: "L L L L L 3:1 L L L L L"}

PUCKS = (0, 4, 5, 6, 8, 9, 10)
THROWS = tuple((a, b) for a in range(1, 7) for b in range(1, 7))


def by_total(row: str, total: int) -> str:
    """Return the fate in a row of eleven."""
    return row.split()[total - 2]


def fate_of_number_bet(name: str, number: int, puck: int, called: int, total: int) -> str:
    """Return the fate of a bet of `NUMBER`; `called` is 0 as the rules say, 1 on, 2 off."""
    wins_on, pays, habits = NUMBER[name]
    off = called == 2 or (called == 0 and puck == 0 and "off" in habits)
    if off or total not in {7, number}:
        return "."
    if (total == 7) != (wins_on == "seven"):
        return "L"
    return pays[number] + ("+" if "up" in habits else "")


def fate_of_hardway(number: int, called: int, low: int, high: int) -> str:
    """Return the fate of a hardway: on unless called off, come-out or not."""
    if called == 2 or low + high not in {7, number}:
        return "."
    return HARD[number] + "+" if low == high else "L"


def fate_of_odds(name: str, number: int, off: bool, total: int) -> str:
    """Return the fate of odds on a number: off, they come back when their flat bet goes."""
    fate = by_total(LINE[name][number], total)
    return "R" if off and fate != "." else fate
