"""What the operator of a node is told when it cannot go on."""


class OperatorError(Exception):
    """A fault of configuration, files or surroundings; its text is the one sentence to show."""


NODE_ENDED = "the node has stopped; its own terminal or `node.log` says why"


class NodeEndedError(OperatorError):
    """A client's node has ended. Why, only the node itself can say."""

    def __init__(self) -> None:
        """Name where the reason stands."""
        super().__init__(NODE_ENDED)
