"""The requests that wait for one model, in the order in which they are entitled to run."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """Classes of urgency; a lower number goes first."""

    STAT = 0
    URGENT = 1
    ROUTINE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One request that waits; times in seconds on the caller's clock.

    Attributes:
        number: names it; numbers rise in order of arrival.
        arrived: when it came.
        deadline: when its answer is of no use any more.
        priority: its class.
        client: who asked; within a class every client gets the same share.
        images: how many images it brings, all of which run in one batch.
    """

    number: int
    arrived: float
    deadline: float
    priority: Priority = Priority.ROUTINE
    client: str = ""
    images: int = 1


AGED = (0.4, 0.6)
"""A request that has waited this share of its time counts as urgent, and then as stat. So routine
requests cannot starve: after that only what is due sooner goes before it, and two fifths of its
time are left to find it a batch."""


_CLASSES = tuple(Priority)  # walking an enum is slow


class Line:
    """Who waits, ordered: class by class, clients in turn, the earliest deadline of each first.

    A turn costs a client the images it ran, so a client with a thousand requests waiting delays
    another by one batch, not by a thousand (start-time fair queueing, Goyal et al. 1996, with
    images as the work). Pure: the time is passed in.
    """

    def __init__(self) -> None:
        self._known: dict[int, Waiting] = {}
        self._class_of: dict[int, Priority] = {}
        # By class and client: (deadline, number), ascending.
        self._queues: dict[Priority, dict[str, list[tuple[float, int]]]] = {
            priority: {} for priority in _CLASSES
        }
        self._waiting_of: Counter[str] = Counter()
        self._turns: dict[str, float] = {}
        self._now_serving = 0.0
        # (when, number, entry): of those who have gone, or went and were put back, what is here
        # of their earlier stay counts for nothing.
        self._aging: list[tuple[float, int, int]] = []
        self._deadlines: list[tuple[float, int, int]] = []
        self._entry_of: dict[int, int] = {}
        self._entries = itertools.count()
        self.images = 0
        self.waiting_since = 0.0
        """Since when somebody has waited without a break; of use where the line is not empty."""

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def of_class(self, priority: Priority) -> int:
        """Requests that count as of this class; see `AGED`."""
        return sum(len(queue) for queue in self._queues[priority].values())

    def add(self, request: Waiting) -> None:
        """Let a request wait."""
        if not self._known:
            self.waiting_since = request.arrived
        client = request.client
        if client not in self._waiting_of:  # time away earns no turns
            self._forget_turns()
            self._turns[client] = max(self._turns.get(client, 0.0), self._now_serving)
        self._waiting_of[client] += 1
        self._known[request.number] = request
        self._entry_of[request.number] = entry = next(self._entries)
        self._enter(request, request.priority)
        heapq.heappush(self._deadlines, (request.deadline, request.number, entry))
        self._plan_aging(request, request.priority)
        self.images += request.images

    def remove(self, number: int) -> Waiting:
        """Take a request out: it has gone, or it is refused."""
        request = self._known.pop(number)
        del self._entry_of[number]
        self._leave(request, self._class_of.pop(number))
        self.images -= request.images
        self._waiting_of[request.client] -= 1
        if not self._waiting_of[request.client]:
            del self._waiting_of[request.client]
        self.next_deadline()  # forgets the deadlines of those who are gone
        return request

    def take(self, numbers: tuple[int, ...]) -> list[Waiting]:
        """Take requests out to run them; it costs their clients a turn for each image."""
        taken = [self._known[number] for number in numbers]
        if taken:
            first = min(self._turns[request.client] for request in taken)
            self._now_serving = max(self._now_serving, first)
        for request in taken:
            self.remove(request.number)
            self._turns[request.client] += request.images
        return taken

    def put_back(self, request: Waiting) -> None:
        """Let a request that was taken wait again; its client gets the turn back."""
        self.add(request)
        self._turns[request.client] -= request.images

    def overdue(self, before: float) -> list[Waiting]:
        """Requests whose deadline is earlier than `before`, the earliest first."""
        found = []
        while self._deadlines and self._deadlines[0][0] < before:
            _, number, entry = heapq.heappop(self._deadlines)
            if self._entry_of.get(number) == entry:
                found.append(self._known[number])
        for request in found:  # they stay known until they are removed
            number = request.number
            heapq.heappush(self._deadlines, (request.deadline, number, self._entry_of[number]))
        return found

    def next_deadline(self) -> float | None:
        """The earliest deadline of all."""
        while self._deadlines:
            deadline, number, entry = self._deadlines[0]
            if self._entry_of.get(number) == entry:
                return deadline
            heapq.heappop(self._deadlines)
        return None

    def first(self, now: float) -> tuple[Priority, Waiting] | None:
        """Who is entitled to run next, and the class he counts as by now."""
        if not self._known:
            return None
        self._promote(now)
        for priority in _CLASSES:
            queues = self._queues[priority]
            if queues:
                # As `_of_class` begins, which is more than one needs for the first alone.
                _, _, number = min((self._turns[of], *queue[0]) for of, queue in queues.items())
                return priority, self._known[number]
        raise AssertionError("whoever is known waits in a class")

    def in_order(self, now: float) -> Iterator[Waiting]:
        """Everyone, in the order of entitlement at `now`. The line must not change meanwhile."""
        self._promote(now)
        for priority in _CLASSES:
            yield from self._of_class(priority)

    def ahead_of(self, newcomer: Waiting, now: float) -> int:
        """Images that are entitled to run before a request that would come now.

        Of other clients in its class, as many as have their turn before it has its own.
        """
        self._promote(now)
        ahead = sum(
            len(queue)
            for priority in _CLASSES
            if priority < newcomer.priority
            for queue in self._queues[priority].values()
        )
        queues = self._queues[newcomer.priority]
        own = bisect_left(queues.get(newcomer.client, []), (newcomer.deadline, newcomer.number))
        for client, queue in queues.items():
            ahead += own if client == newcomer.client else min(len(queue), own + 1)
        # Nearly all requests bring one image; the mean is right on average for the rest.
        return round(ahead * self.images / len(self._known)) if self._known else 0

    def _forget_turns(self) -> None:
        if len(self._turns) > 4 * (len(self._waiting_of) + 64):
            # Whoever is not ahead of the present turn starts there anyway.
            self._turns = {
                client: turn
                for client, turn in self._turns.items()
                if turn > self._now_serving or client in self._waiting_of
            }

    def _enter(self, request: Waiting, priority: Priority) -> None:
        self._class_of[request.number] = priority
        queue = self._queues[priority].setdefault(request.client, [])
        insort(queue, (request.deadline, request.number))

    def _leave(self, request: Waiting, priority: Priority) -> None:
        queue = self._queues[priority][request.client]
        del queue[bisect_left(queue, (request.deadline, request.number))]
        if not queue:
            del self._queues[priority][request.client]

    def _plan_aging(self, request: Waiting, priority: Priority) -> None:
        if priority is not Priority.STAT:
            share = AGED[0] if priority is Priority.ROUTINE else AGED[1]
            at = request.arrived + share * (request.deadline - request.arrived)
            heapq.heappush(self._aging, (at, request.number, self._entry_of[request.number]))

    def _promote(self, now: float) -> None:
        while self._aging and self._aging[0][0] <= now:
            _, number, entry = heapq.heappop(self._aging)
            if self._entry_of.get(number) != entry:
                continue
            request = self._known[number]
            before = self._class_of[number]
            self._leave(request, before)
            after = Priority(before - 1)
            self._enter(request, after)
            self._plan_aging(request, after)

    def _of_class(self, priority: Priority) -> Iterator[Waiting]:
        queues = self._queues[priority]
        # (turn, deadline, number, place in the client's queue, client)
        heads = [(self._turns[client], *queue[0], 0, client) for client, queue in queues.items()]
        heapq.heapify(heads)
        while heads:
            turn, _, number, place, client = heads[0]
            request = self._known[number]
            yield request
            queue = queues[client]
            if place + 1 < len(queue):
                after = (turn + request.images, *queue[place + 1], place + 1, client)
                heapq.heapreplace(heads, after)
            else:
                heapq.heappop(heads)
