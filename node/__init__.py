"""A peer: the replica, the game, the disk, the command line."""
