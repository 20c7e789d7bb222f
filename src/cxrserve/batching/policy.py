"""What to run now and whom to refuse: pure functions of who waits and how long runs take.

The service and the simulator call the same functions. Nothing here reads a clock.

A device is one of two kinds. The streams of a CPU are independent: a second batch takes nothing
from the first, and where time grows in step with the batch, batch 1 on every stream serves most.
The slots of a GPU share it: a second batch in flight hides copying, and begins when the first ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from cxrserve.batching.line import Line, Priority, Waiting

WORTH = {Priority.STAT: 16.0, Priority.URGENT: 4.0, Priority.ROUTINE: 1.0}
"""What one image in time counts for when not all can be: one stat outweighs fifteen routine."""

ROOM = {Priority.STAT: 1.0, Priority.URGENT: 0.8, Priority.ROUTINE: 0.6}
"""Share of the time it can spare that a newcomer may expect to wait under lasting overload. The
rest is for those who come later and go first: without it one in six waits in vain, and all who
wait are so near their deadlines that batches must be small."""

_LASTING = 2.0
"""Overload that lasts this many times the time that a newcomer can spare is no passing burst."""

_NEWCOMER = 1.0
"""Worth of who takes the place of one that is lost: mostly a routine request."""

_NEAR_BEST = 0.98
_ENOUGH_BETTER = 0.01
"""A larger batch must gain this much of a smaller one, image for image; else the smaller runs."""
_CAUTION = 0.05
"""A batch is planned to take this share longer than its mean: half of all batches take longer."""
OVERLAP = 0.25
"""Share of a batch that a shared device copies and decodes while it still runs the one before."""


class Latency(Protocol):
    """Seconds that a batch takes, by its size."""

    @property
    def largest(self) -> int:
        """The largest batch."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that were measured, ascending."""

    def seconds(self, images: int) -> float:
        """Time of a batch of this many images, 1 ≤ `images` ≤ `largest`."""

    def best_rate(self) -> float:
        """Images a second at the size that gives most of them."""


@dataclass(frozen=True, slots=True)
class Slots:
    """What can run at once: `free` slots, and the rest busy until the times given.

    `independent`: slots do not slow each other (streams of a CPU); otherwise they share a device.
    """

    free: int
    busy_until: tuple[float, ...] = ()
    independent: bool = True

    def earliest_start(self, now: float) -> float:
        """When the next batch can begin."""
        return now if self.free else max(now, min(self.busy_until, default=now))


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    Attributes:
        run: numbers of the requests that make the next batch; empty: none.
        late: numbers of those that cannot be answered in time whatever is done.
        wait_until: when to decide again although nothing has changed; None: not before it does.
    """

    run: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    wait_until: float | None = None


def decide(
    line: Line, table: Latency, slots: Slots, now: float, *, ahead: bool = False
) -> Decision:
    """The next batch of a line, or until when to wait; `ahead`: of the slot that is free next.

    It never waits on an idle device: while a small batch runs, the next one grows, and the more
    the nearer to its limit the device is. On a shared device that is busy, waiting until the batch
    before is nearly done costs nothing, and who comes meanwhile may be more urgent; so it waits.
    """
    late = tuple(r.number for r in line.overdue(_earliest_end(table, slots, now)))
    if len(line) == len(late):
        return Decision(late=late)
    due = line.next_deadline()
    assert due is not None
    # Nobody learns later than he must that he will not be answered.
    wake = max(due - table.seconds(1), now) + 1e-4
    if not slots.free and not ahead:
        return Decision(late=late, wait_until=wake)
    most = useful_size(table)
    if not slots.independent and slots.busy_until:
        images = max(1, min(line.images - len(late), most))
        begin = max(slots.busy_until) - (OVERLAP + 2 * _CAUTION) * table.seconds(images)
        if begin > now:
            return Decision(late=late, wait_until=min(begin, wake))
    waiting = _first_of(line, 2 * most, late, now)
    return Decision(run=_best_batch(waiting, table, slots, now, most), late=late, wait_until=wake)


def useful_size(table: Latency) -> int:
    """The smallest batch that is within 2 % of the most images a second."""
    enough = _NEAR_BEST * table.best_rate()
    return next(size for size in table.sizes if size / table.seconds(size) >= enough)


def expected_finish(
    *,
    ahead: int,
    images: int,
    table: Latency,
    slots: Slots,
    now: float,
    other_work_s: float = 0.0,
) -> float:
    """When a request that comes now is answered at the earliest, if those before it stay.

    Args:
        ahead: images of the same model that run before it.
        images: its own.
        other_work_s: time on one slot that all else before it takes: other models' requests,
            decoding.
    """
    size = useful_size(table) if ahead else table.largest
    full, rest = divmod(ahead, size)
    own_s = table.seconds(max(1, min(rest + images, table.largest)))
    ends = _Ends(slots, now)
    if slots.independent:
        ends.delay(other_work_s / ends.count)
        rounds, full = divmod(full, ends.count)
        ends.delay(rounds * table.seconds(size))
    else:
        ends.delay(other_work_s)
        # All but the first hide their copying, so they add the same time each.
        ends.delay(max(0, full - 1) * table.seconds(size) * ends.share)
        full = min(full, 1)
    for _ in range(full):
        ends.run(table.seconds(size))
    return ends.run(own_s)


def latest_finish(
    newcomer: Waiting, *, line: Line, ahead: int, table: Latency, now: float
) -> float:
    """Who is not expected to be answered by then is refused when he comes.

    At first that is his deadline. The longer somebody has waited without a break, the less this
    looks like a passing burst, and the nearer it comes to `ROOM` of the time he can spare.
    """
    alone_s = table.seconds(min(newcomer.images, table.largest))
    spare_s = newcomer.deadline - now - alone_s
    if not ahead or spare_s <= 0 or ahead < useful_size(table):
        return newcomer.deadline  # at most a batch is before it
    lasting = min(1.0, (now - line.waiting_since) / (_LASTING * spare_s))
    share = 1 - lasting * (1 - ROOM[newcomer.priority])
    return now + alone_s + share * spare_s


class _Ends:
    """When the slots are free, as batches are planned on them."""

    def __init__(self, slots: Slots, now: float) -> None:
        self.count = len(slots.busy_until) + slots.free
        self._independent = slots.independent
        self.share = 1 - OVERLAP if self.count > 1 and not slots.independent else 1.0
        self._free_at = sorted([max(t, now) for t in slots.busy_until] + [now] * slots.free)

    def run(self, seconds: float) -> float:
        """Plan a batch on the slot that is free first; when it ends."""
        ends = self._free_at[0] + seconds
        if not self._independent:
            ends = max(ends, self._free_at[-1] + seconds * self.share)
        self._free_at = sorted([*self._free_at[1:], ends])
        return ends

    def ends_if(self, seconds: float) -> float:
        """When a batch would end."""
        if self._independent:
            return self._free_at[0] + seconds
        return max(self._free_at[0] + seconds, self._free_at[-1] + seconds * self.share)

    def delay(self, seconds: float) -> None:
        """Everything takes this much longer."""
        self._free_at = [at + seconds for at in self._free_at]


def _earliest_end(table: Latency, slots: Slots, now: float) -> float:
    return _Ends(slots, now).ends_if(table.seconds(1))


def _first_of(line: Line, images: int, late: tuple[int, ...], now: float) -> list[Waiting]:
    """The first in the line that bring this many images, without the late."""
    hopeless = set(late)
    found: list[Waiting] = []
    count = 0
    for request in line.in_order(now):
        if request.number in hopeless:
            continue
        found.append(request)
        count += request.images
        if count >= images:
            break
    return found


def _best_batch(
    waiting: list[Waiting], table: Latency, slots: Slots, now: float, most: int
) -> tuple[int, ...]:
    """The batch that brings most for its time, of those who wait.

    Slot time is priced at what it could bring, the table's best rate; else a stat request alone
    would always look better than one among others.
    """
    images = sum(request.images for request in waiting)
    # Free streams share what there is: two halves at once end sooner than one whole.
    share = math.ceil(images / max(slots.free, 1)) if slots.independent else images
    reach = max(1, min(share, most), min(waiting[0].images, table.largest))
    sizes = [*takewhile(lambda size: size < reach, table.sizes), reach]
    # Who would be late if the fullest batch ran without him.
    ends = _Ends(slots, now)
    ends.run(table.seconds(reach) * (1 + _CAUTION))
    pressing = ends.ends_if(table.seconds(1))
    # In a long line another takes the place of whoever is lost: only the difference counts.
    replaced = _NEWCOMER if images > most else 0.0
    rate = table.best_rate()
    best, options = -math.inf, []
    for size in sizes:
        batch = _fill(waiting, table, _Ends(slots, now), size)
        if batch:
            count = sum(request.images for request in batch)
            gain = count - table.seconds(min(count, table.largest)) * rate
            gain += sum(
                (WORTH[request.priority] - replaced) * request.images
                for request in batch
                if request.deadline < pressing
            )
            best = max(best, gain)
            options.append((gain + _ENOUGH_BETTER * count, batch))
    if not options:  # in time if all goes well, but without caution
        return (waiting[0].number,)
    return tuple(r.number for r in next(batch for gain, batch in options if gain >= best))


def _fill(waiting: list[Waiting], table: Latency, ends: _Ends, size: int) -> list[Waiting]:
    """The first who can be answered in time by a batch of at most `size` images."""
    due = ends.ends_if(table.seconds(size) * (1 + _CAUTION))
    chosen: list[Waiting] = []
    taken = 0
    for request in waiting:
        # A request of several images runs whole, even alone where it is larger than this size.
        fits = taken + request.images <= size or not chosen
        if fits and request.deadline >= due:
            chosen.append(request)
            taken += request.images
    return chosen
