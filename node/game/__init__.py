"""The replicated game: sessions, players, treasury. Knows no peer and no clock."""
