"""The `bitcraps` command."""

import logging
import os
import sys


def main() -> None:
    """Run the command line; exits with its code.

    Money and agreement rest on assertions, so an interpreter that strips them is refused.
    """
    if not __debug__:
        sys.stderr.write("bitcraps: `python -O` strips the checks that keep money safe\n")
        sys.exit(2)
    if sys.stdin is None:  # closed by who started it: nobody types, like at its end
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123  (until the end)
    # Until a node has its own log, what the layers below note is for nobody: people read sentences.
    logging.getLogger().addHandler(logging.NullHandler())
    from node.cli import run_command

    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
