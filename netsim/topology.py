"""Where simulated nodes are: in cities, or in a room with phones that carry for each other."""

import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from netsim.chance import US_PER_MS, US_PER_S

LIGHT_IN_GLASS_KM_PER_MS = 200
DETOUR = 1.4
"""Cables do not follow great circles; measured round trips are this much longer in the mean."""
LAST_MILE_US = 4 * US_PER_MS
EARTH_KM = 6371
MOVE_US = 500 * US_PER_MS
"""How often positions in a room are looked at again."""

CITIES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "amsterdam": (52.4, 4.9), "athens": (38.0, 23.7), "auckland": (-36.8, 174.8),
        "bangalore": (13.0, 77.6), "bangkok": (13.8, 100.5), "beijing": (39.9, 116.4),
        "berlin": (52.5, 13.4), "bogota": (4.7, -74.1), "buenos-aires": (-34.6, -58.4),
        "cairo": (30.0, 31.2), "chicago": (41.9, -87.6), "dubai": (25.2, 55.3),
        "dublin": (53.3, -6.3), "frankfurt": (50.1, 8.7), "helsinki": (60.2, 24.9),
        "hong-kong": (22.3, 114.2), "istanbul": (41.0, 29.0), "jakarta": (-6.2, 106.8),
        "johannesburg": (-26.2, 28.0), "lagos": (6.5, 3.4), "las-vegas": (36.2, -115.1),
        "lima": (-12.0, -77.0), "lisbon": (38.7, -9.1), "london": (51.5, -0.1),
        "los-angeles": (34.1, -118.2), "macau": (22.2, 113.5), "madrid": (40.4, -3.7),
        "mexico-city": (19.4, -99.1), "milan": (45.5, 9.2), "montreal": (45.5, -73.6),
        "moscow": (55.8, 37.6), "mumbai": (19.1, 72.9), "nairobi": (-1.3, 36.8),
        "new-york": (40.7, -74.0), "paris": (48.9, 2.4), "santiago": (-33.4, -70.7),
        "sao-paulo": (-23.6, -46.6), "seoul": (37.6, 127.0), "singapore": (1.4, 103.8),
        "stockholm": (59.3, 18.1), "sydney": (-33.9, 151.2), "tokyo": (35.7, 139.7),
        "toronto": (43.7, -79.4), "vienna": (48.2, 16.4), "warsaw": (52.2, 21.0),
    }
)  # fmt: skip
"""Degrees north and east."""


class Cities:
    """Nodes in cities: light in a cable along a detour, and the last mile on both sides."""

    def __init__(self, nodes: int, cities: Sequence[str]) -> None:
        """Put the nodes into the cities in turn."""
        homes = [CITIES[cities[node % len(cities)]] for node in range(nodes)]
        self._us = [[_cable_us(a, b) for b in homes] for a in homes]

    def way(self, now_us: int, a: int, b: int) -> tuple[int, int]:
        """Return one hop over the cable."""
        del now_us
        return self._us[a][b], 1


def _cable_us(a: tuple[float, float], b: tuple[float, float]) -> int:
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    half = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    km = 2 * EARTH_KM * math.asin(math.sqrt(half))
    return round(km * DETOUR / LIGHT_IN_GLASS_KM_PER_MS * US_PER_MS) + 2 * LAST_MILE_US


class Room:
    """Phones in a rectangle: each reaches those within range, and others over those.

    They walk from one random spot to the next. A frame takes the shortest way there is when it is
    sent; each hop meets the link's latency and loss.
    """

    def __init__(
        self,
        nodes: int,
        rng: random.Random,
        *,
        area_m: tuple[float, float],
        range_m: float,
        speed_mps: float,
    ) -> None:
        """Put the phones at random spots."""
        self._rng = rng
        self._area, self._range, self._speed = area_m, range_m, speed_mps
        self.spots = [self._spot() for _ in range(nodes)]
        self._goals = [self._spot() for _ in range(nodes)]
        self._moved_us = 0
        self._met: list[tuple[int, int]] = []
        self._hops = self._count_hops()

    def _spot(self) -> tuple[float, float]:
        return self._rng.random() * self._area[0], self._rng.random() * self._area[1]

    def way(self, now_us: int, a: int, b: int) -> tuple[int, int]:
        """Return the hops between two phones as they stand now."""
        if self._speed and now_us - self._moved_us >= MOVE_US:
            self._move(now_us)
        return 0, self._hops[a][b]

    def _move(self, now_us: int) -> None:
        seconds = (now_us - self._moved_us) / US_PER_S
        self._moved_us = now_us
        for node, (x, y) in enumerate(self.spots):
            left = seconds * self._speed
            goal_x, goal_y = self._goals[node]
            distance = math.hypot(goal_x - x, goal_y - y)
            if distance <= left:
                self.spots[node] = goal_x, goal_y
                self._goals[node] = self._spot()
            else:
                share = left / distance
                self.spots[node] = x + (goal_x - x) * share, y + (goal_y - y) * share
        before, self._hops = self._hops, self._count_hops()
        nodes = range(len(self.spots))
        self._met += [
            (a, b) for a in nodes for b in range(a) if self._hops[a][b] and not before[a][b]
        ]

    def met(self, now_us: int) -> list[tuple[int, int]]:
        """Return the pairs that came into reach of each other since the last call."""
        if self._speed and now_us - self._moved_us >= MOVE_US:
            self._move(now_us)
        met, self._met = self._met, []
        return met

    def _count_hops(self) -> list[list[int]]:
        """Return the length of the shortest way between all phones, 0 where there is none."""
        nodes = range(len(self.spots))
        near = [
            [b for b in nodes if b != a and math.dist(self.spots[a], self.spots[b]) <= self._range]
            for a in nodes
        ]
        hops = []
        for start in nodes:
            row = [0] * len(self.spots)
            seen, queue = {start: None}, deque([start])
            while queue:
                at = queue.popleft()
                for other in near[at]:
                    if other not in seen:
                        seen[other] = None
                        row[other] = row[at] + 1
                        queue.append(other)
            hops.append(row)
        return hops
