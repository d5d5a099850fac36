"""The same sweep on a Dask scheduler (extra `dask`): many machines, any of which may die."""

from collections.abc import Callable, Iterable
from typing import Any

from netsim.campaign import broken_result, is_run_again, run_seed
from netsim.scenario import Scenario, format_scenario

RETRIES = 3
"""A task whose worker died is given to others so often; then the seed itself is the suspect."""
CONNECT_SECONDS = 30


def run_on_dask(
    address: str,
    scenario: Scenario,
    seeds: Iterable[int],
    take: Callable[[int, dict[str, Any], bool], None],
) -> None:
    """Run all seeds on the workers of a scheduler.

    Raises:
        ModuleNotFoundError: The extra is not installed.
        OSError: The scheduler does not answer.
    """
    from distributed import Client, Future, as_completed

    text = format_scenario(scenario)
    numbers = list(seeds)
    with Client(address, timeout=CONNECT_SECONDS) as client:
        names: dict[Any, tuple[int, bool]] = {}

        def submit(seed: int, *, again: bool) -> Future:
            # Not pure: the second run of a seed must not be answered from the first.
            future = client.submit(run_seed, text, seed, pure=False, retries=RETRIES)
            names[future.key] = (seed, again)
            return future

        # First runs before second ones, so that what a sweep is for comes early.
        futures = [submit(seed, again=False) for seed in numbers]
        futures += [submit(seed, again=True) for seed in numbers if is_run_again(seed)]
        held: list[tuple[int, dict[str, Any]]] = []
        done: set[int] = set()
        for future in as_completed(futures):
            seed, again = names[future.key]
            if future.status == "finished":
                result = future.result()
            else:
                result = broken_result(seed, "died", f"on every worker: {future.exception()}")
            if again and seed not in done:
                held.append((seed, result))
                continue
            done.add(seed)
            take(seed, result, again)
        for seed, result in held:
            take(seed, result, True)
