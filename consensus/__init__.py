"""Byzantine agreement, joint dice and their bytes: pure, without I/O, clock or randomness."""
