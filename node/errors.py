"""What the operator of a node is told when it cannot go on."""


class OperatorError(Exception):
    """A fault of configuration, files or surroundings; its text is the one sentence to show."""


class LeftTableError(OperatorError):
    """Nothing is wrong: the member of a node has left, so the node has nothing more to do."""

    def __init__(self, table: str) -> None:
        """Name the table."""
        super().__init__(
            f"you have left {table!r} for good and its voters go on without you: "
            "this node has nothing more to do"
        )


NODE_ENDED = "the node has stopped; its own terminal or `node.log` says why"


class NodeEndedError(OperatorError):
    """A client's node has ended. Why, only the node itself can say."""

    def __init__(self) -> None:
        """Name where the reason stands."""
        super().__init__(NODE_ENDED)
