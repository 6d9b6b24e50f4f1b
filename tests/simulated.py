"""Logs of small simulated worlds as arrays, without files."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from simulation.clock import slot_of
from simulation.config import EFFECTS, WorldConfig
from simulation.hashing import Float64
from simulation.sessions import Shelf, draw_slot, slots_of
from simulation.world import World
from watchnext.features import Float32
from watchnext.histories import Int64

SMALL = WorldConfig(items=300, users=400, watches=20_000, days=30, topics=10, countries=3, catalogue_days=30)


def only(*effects: str, **changes: object) -> WorldConfig:
    """The small world with these effects alone, and some settings changed."""
    config = SMALL.without(*(effect for effect in EFFECTS if effect not in effects))
    return WorldConfig.model_validate(config.model_dump() | changes)


@dataclass(frozen=True)
class Log:
    """[watches] of a whole log, by user, then time; `session` numbers are new for each user and slot."""

    world: World
    users: Int64
    items: Int64
    times: Int64
    fractions: Float32
    session: Int64
    searches: pa.Table

    @property
    def topics(self) -> Int64:
        """[watches] topics of the items."""
        return self.world.items.topic[self.items].astype(np.int64)

    @property
    def inside(self) -> Int64:
        """Positions whose watch before is of the same session."""
        return np.flatnonzero(self.session[1:] == self.session[:-1]) + 1

    def before(self) -> Int64:
        """[watches] the item watched before in the session, -1 where it begins."""
        last = np.full(len(self.items), -1)
        last[self.inside] = self.items[self.inside - 1]
        return last

    def queries(self) -> list[str | None]:
        """[watches] the search between a watch and the one before, None where there is none."""
        watches = list(zip(self.users.tolist(), self.times.tolist(), strict=True))
        searches = sorted(zip(*(self.searches.column(c).to_pylist() for c in ("user", "time", "query")), strict=True))
        found: list[str | None] = [None] * len(watches)
        position = 0
        for user, time, query in searches:
            while watches[position] < (user, time):
                position += 1
            assert found[position] is None, "two searches before one watch"
            found[position] = query
        return found


def log_of(config: WorldConfig) -> Log:
    """Everything that is logged in a world."""
    world = World.of(config)
    logs = [draw_slot(world, shelf, s) for shelf in _shelves(world) for s in slots_of(shelf.day)]
    columns = {
        name: np.concatenate([getattr(log, name) for log in logs])
        for name in ("users", "items", "times", "fractions")
    }
    order = np.lexsort((columns["times"], columns["users"]))
    columns = {name: values[order] for name, values in columns.items()}
    slot = columns["users"] * 10_000 + slot_of(columns["times"])
    session = np.cumsum(np.diff(slot, prepend=slot[0]) != 0)
    return Log(world=world, session=session, searches=pa.concat_tables([log.searches for log in logs]), **columns)


def _shelves(world: World) -> list[Shelf]:
    return [Shelf.of(world, day) for day in range(world.config.days)]


def mean_and_error(values: Float64) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(np.mean(values)), float(np.std(values) / len(values) ** 0.5)
