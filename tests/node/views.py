"""Tables to look at: one with four players in the middle of a hand, to be varied with `replace`."""

from node.view import BetView, PaidView, PlayerView, RollView, TableView

ANNA = PlayerView(
    name="anna",
    rack=940,
    seated=True,
    ready=True,
    bets=(
        BetView(kind=1, number=0, name="pass", stake=10),
        BetView(kind=5, number=0, name="odds", stake=20),
        BetView(kind=9, number=8, name="place 8", stake=30, working=2),
    ),
)
BEN = PlayerView(
    name="ben",
    rack=1_005,
    seated=True,
    bets=(
        BetView(kind=1, number=0, name="pass", stake=10),
        BetView(kind=9, number=8, name="place 8", stake=12),
    ),
)
CARLA = PlayerView(
    name="carla",
    rack=980,
    seated=True,
    bets=(BetView(kind=2, number=0, name="dont", stake=10),),
)
DMITRI = PlayerView(name="Dmitri-with-a-long-name", rack=1_000)

TABLE = TableView(
    table="friday night",
    height=214,
    state_root="5e" * 32,
    me=1,
    tolerated=1,
    players=(ANNA, BEN, CARLA, DMITRI),
    bank=9_983,
    layout=92,
    minted=14_000,
    session=0,
    betting=True,
    board=(6, *[0] * 20),
    board_texts=("puck ON 6", " 4    5   [6]   8    9    10 "),
    thrower_needs="a pass or don't pass bet",
    rolls=17,
    thrower=0,
    last=(
        RollView(
            number=16,
            dice=(3, 4),
            paid=(
                PaidView(player=0, name="pass", chips=-10),
                PaidView(player=0, name="odds", chips=-20),
                PaidView(player=1, name="pass", chips=-10),
                PaidView(player=2, name="dont", chips=10),
                PaidView(player=2, name="lay", chips=12),
            ),
        ),
        RollView(number=17, dice=(1, 5)),
    ),
)
