"""Where nodes differ is found and named."""

from dataclasses import replace

import pytest

from node.agreement import RollFacts, Standing, common_height, disagreement

ROLLS = tuple(
    RollFacts(session=0, number=n, height=3 * n, dice=(n, 6), proof=bytes([n]) * 8)
    for n in (1, 2, 3)
)
HERE = Standing(
    height=10,
    roots={8: "4d" * 32, 9: "51" * 32, 10: "5e" * 32},
    rolls=ROLLS,
    chips={"anna": 990, "ben": 1_000},
    bank=4_995,
    layout=15,
    minted=7_000,
)
OTHER_DICE = replace(ROLLS[1], dice=(1, 1))
OTHER_PROOF = replace(ROLLS[1], proof=b"other")


def test_equal_standings_agree() -> None:
    assert disagreement({"anna": HERE, "ben": HERE, "carla": HERE}, 3) is None
    assert disagreement({"anna": HERE}, 2) is None


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(HERE, height=7, roots={7: "00"}), "anna stands at block 10, ben at block 7"),
        (replace(HERE, roots={10: "6f" * 32}), f"has state root {'5e' * 32}, ben {'6f' * 32}"),
        (
            replace(HERE, height=9, roots={9: "6f" * 32}),
            f"at block 9 anna has state root {'51' * 32}",
        ),
        (
            replace(HERE, rolls=(ROLLS[0], OTHER_DICE, ROLLS[2])),
            "is 2 6 (block 6, proof 02020202…)",
        ),
        (replace(HERE, rolls=(ROLLS[0], OTHER_PROOF, ROLLS[2])), "proof 6f746865…) at ben"),
        (replace(HERE, rolls=ROLLS[:2]), "at block 10 anna holds 3 settled rolls, ben 2"),
        (replace(HERE, bank=4_994), "ben counts 6,999 chips; 7,000 were minted"),
    ],
)
def test_the_first_difference_is_named_with_both_nodes(other: Standing, words: str) -> None:
    assert words in (disagreement({"anna": HERE, "ben": other}, 3) or "")
    assert "carla" in (disagreement({"anna": HERE, "ben": HERE, "carla": other}, 3) or "")


def test_a_node_that_ended_a_block_earlier_agrees_up_to_there() -> None:
    later = RollFacts(session=0, number=4, height=11, dice=(1, 1), proof=b"later")
    ahead = replace(HERE, height=11, roots={10: "5e" * 32, 11: "6f" * 32}, rolls=(*ROLLS, later))
    assert disagreement({"anna": ahead, "ben": HERE}, 3) is None
    assert common_height({"anna": ahead, "ben": HERE}) == 10
    words = disagreement({"anna": ahead, "ben": HERE}, 4)
    assert words == "ben holds 3 settled rolls of 4 at block 10"


def test_too_few_rolls_are_no_agreement() -> None:
    assert disagreement({"anna": HERE}, 4) == "anna holds 3 settled rolls of 4 at block 10"
