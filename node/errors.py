"""What the operator of a node is told when it cannot go on."""


class OperatorError(Exception):
    """A fault of configuration, files or surroundings; its text is the one sentence to show."""
