"""A simultaneous exhibition: why a champion beats 24 opponents in an hour and not in twelve.

Each of the 24 games has 30 pairs of moves. The champion takes 5 seconds for hers, and while she thinks nobody else
can be served; an opponent takes 55 seconds, during which she may go to another table. One game after the other takes
24 × 30 × 60 s = 12 hours; going from table to table takes 24 × 30 × 5 s = 1 hour.

The exhibition is played both ways, 2000 times faster than life, recorded, and drawn in one chart whose axis is the
time of the game: `python examples/chess.py`, then look at chess.png.
"""

import argparse
import asyncio
import time

import asynctrace

CHAMPION_S = 5
OPPONENT_S = 55


class Champion:
    """She plays at all tables; `speed` seconds of the game pass in one second of ours."""

    def __init__(self, speed: float) -> None:
        self.move_s = CHAMPION_S / speed
        self.late_s = 0.0

    def move(self) -> None:
        """Think; not with asyncio.sleep, for meanwhile nobody else moves."""
        started = time.perf_counter()
        # A sleep ends a little late, which is much at this speed: the next one is shorter by that.
        time.sleep(max(0.0, self.move_s - self.late_s))
        self.late_s += time.perf_counter() - started - self.move_s


async def game(champion: Champion, moves: int, speed: float) -> None:
    for _ in range(moves):
        champion.move()
        await asyncio.sleep(OPPONENT_S / speed)


def play(opponents: int, moves: int, speed: float) -> asynctrace.Comparison:
    """Play the exhibition both ways, `speed` times faster than life, and return the two recordings compared."""

    async def one_by_one() -> None:
        champion = Champion(speed)
        for _ in range(opponents):
            await game(champion, moves, speed)

    async def table_to_table() -> None:
        champion = Champion(speed)
        await asyncio.gather(*(game(champion, moves, speed) for _ in range(opponents)))

    return asynctrace.compare(**{"one by one": one_by_one, "table to table": table_to_table})


def main() -> None:
    parser = argparse.ArgumentParser(description="Play a simultaneous chess exhibition in two ways, and compare them.")
    parser.add_argument("--opponents", type=int, default=24, help="how many (default: %(default)s)")
    parser.add_argument("--moves", type=int, default=30, help="pairs of moves in each game (default: %(default)s)")
    parser.add_argument("--speed", type=float, default=2000, help="times faster than life (default: %(default)g)")
    parser.add_argument("-o", "--output", default="chess.png", help="the chart (default: %(default)s)")
    options = parser.parse_args()

    comparison = play(options.opponents, options.moves, options.speed)
    for version in comparison.versions:
        if version.error is not None or version.wall_s is None:
            raise SystemExit(f"{version.name}: {version.error}")
        print(f"{version.name:<15} {version.wall_s * options.speed / 3600:6.2f} hours of the game")
    comparison.save(
        options.output,
        time_scale=options.speed / 3600,
        time_unit="h",
        time_label="hours of the game since its first move",
    )
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
