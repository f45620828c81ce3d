"""EEVDF, the kernel's fair class, to be read from top to bottom: the queue and its rules, on plain integers.

Each entity (a task, or a group of tasks) has a virtual time, `vruntime`, which goes on by what it ran divided
by its weight. V, the average of all vruntimes weighted by weight, is where everybody would be if the CPU
could be shared in infinitely small parts. Who is behind V has lag: is owed time, and *eligible*. Who asks for
time gets a *deadline*: its vruntime, and a slice divided by its weight. **The next one is the eligible one
with the earliest deadline.**

It is the native scheduler `fair` once more (native/sim/fair_queue.cpp; kernel/sched/fair.c of 6.18.44),
decision for decision, and a hundred times slower: a test runs both. Names are the kernel's. Times are ns, of
the CPU or of the queue's virtual time.
"""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Iterator
from dataclasses import dataclass, field

NICE_0_WEIGHT = 1024
WEIGHT_SHIFT = 10  # weights are kept scaled up by it: those of groups need the resolution
NICE_0_LOAD = NICE_0_WEIGHT << WEIGHT_SHIFT
# sched_prio_to_weight of kernel/sched/core.c from nice -20 on, SCHED_IDLE's last; and sched_prio_to_wmult:
# 2^32 / weight, not always rounded.
NICE_WEIGHTS = (
    *(88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906),
    *(3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45),
    *(36, 29, 23, 18, 15, 3),
)
NICE_INVERSES = (
    *(48388, 59856, 76040, 92818, 118348, 147320, 184698, 229616, 287308, 360437, 449829, 563644, 704093),
    *(875809, 1099582, 1376151, 1717300, 2157191, 2708050, 3363326, 4194304, 5237765, 6557202, 8165337),
    *(10153587, 12820798, 15790321, 19976592, 24970740, 31350126, 39045157, 49367440, 61356676, 76695844),
    *(95443717, 119304647, 148102320, 186737708, 238609294, 286331153, 1431655765),
)
_INVERSE_OF = dict(zip(NICE_WEIGHTS, NICE_INVERSES, strict=True))


@dataclass(eq=False, slots=True)
class Entity:
    """A task or a group on one CPU (struct sched_entity).

    Attributes:
        vruntime: Its virtual time.
        deadline: Until when, in virtual time, it is to have its slice; with `rel_deadline`, from vruntime on.
        slice_ns: What it asks for at a time.
        vlag: V - vruntime when it left the queue. While it runs: up to which vruntime it is protected from
            others (the kernel has one word for both).
        delayed: It sleeps, and stays queued until it is eligible.
    """

    vruntime: int = 0
    deadline: int = 0
    slice_ns: int = 700_000
    vlag: int = 0
    weight: int = NICE_0_LOAD
    factor: int = 0  # of delta_fair()
    shift: int = 32
    on_rq: bool = False
    delayed: bool = False
    rel_deadline: bool = False
    custom_slice: bool = False
    idle: bool = False  # policy SCHED_IDLE
    exec_start: int = 0  # when its account was brought up to date
    task_id: int | None = None  # of a task
    queue: Queue = field(init=False, repr=False)  # where it is or is to be queued
    owns: Queue | None = None  # of a group: where its tasks are queued

    @property
    def load(self) -> int:
        """The weight that queues count with (scale_load_down())."""
        return max(2, self.weight >> WEIGHT_SHIFT)

    def set_weight(self, weight: int, *, is_task: bool = True) -> None:
        """Take a weight, scaled up."""
        self.weight = weight
        inverse = 0xFFFFFFFF // self.load
        if is_task:
            inverse = _INVERSE_OF.get(self.load, inverse)
        self.factor, self.shift = NICE_0_WEIGHT * inverse, 32
        while self.factor >> 32:
            self.factor >>= 1
            self.shift -= 1

    def delta_fair(self, delta_ns: int) -> int:
        """CPU time as virtual time: times 1024, divided by the weight, as the kernel rounds it."""
        return delta_ns if self.weight == NICE_0_LOAD else delta_ns * self.factor >> self.shift

    @property
    def parent(self) -> Entity | None:
        """The group that it is in; None: on the CPU's own queue."""
        return self.queue.owner

    @property
    def is_protected(self) -> bool:
        """Whether it runs on whoever else is eligible (protect_slice())."""
        return self.vruntime < self.vlag

    def cancel_protection(self) -> None:
        """Let others be chosen (cancel_protect_slice())."""
        if self.is_protected:
            self.vlag = self.vruntime


@dataclass(eq=False, slots=True)
class Queue:
    """Those who wait for a CPU, and who runs on it (struct cfs_rq).

    Attributes:
        curr: Who runs; it is not in `tree`.
        next: A buddy, to be preferred while it is eligible.
        tree: Who waits, by deadline; at equal ones who came first.
        zero: A virtual time near V, where V was when nobody was queued.
    """

    base_slice_ns: int = 700_000
    tick_ns: int = 4_000_000
    cpu: int = 0
    owner: Entity | None = None  # the group whose tasks are queued here; None: the CPU's own queue
    curr: Entity | None = None
    next: Entity | None = None
    tree: list[Entity] = field(default_factory=list)
    zero: int = -(1 << 20)
    nr_queued: int = 0

    def queued(self) -> Iterator[Entity]:
        """Yield who waits, and who runs unless it is leaving."""
        yield from self.tree
        if self.curr and self.curr.on_rq:
            yield self.curr

    def sums(self) -> tuple[int, int]:
        """Sums of vruntime * weight and of weight, whose quotient is V."""
        weighted = load = 0
        for entity in self.queued():
            weighted += entity.vruntime * entity.load
            load += entity.load
        return weighted, load

    def avg_vruntime(self) -> int:
        """V, rounded down."""
        if self.tree:
            weighted, load = self.sums()
            self.zero = weighted // load
        elif self.curr and self.curr.on_rq:
            self.zero = self.curr.vruntime
        return self.zero

    def is_eligible(self, entity: Entity) -> bool:
        """Whether its lag is not negative: vruntime <= V, without V's rounding."""
        weighted, load = self.sums()
        return entity.vruntime * load <= weighted

    def pick(self, *, protect: bool = True) -> Entity | None:
        """Who is to run (pick_eevdf()), None if nobody is queued; `protect`: who runs may be protected."""
        running = self.curr if self.curr and self.curr.on_rq else None
        if self.nr_queued == 1:
            return running or self.tree[0]
        weighted, load = self.sums()
        if self.next and self.next.vruntime * load <= weighted:
            return self.next
        if running and running.vruntime * load > weighted:
            running = None
        if running and protect and running.is_protected:
            return running
        best = next((entity for entity in self.tree if entity.vruntime * load <= weighted), None)
        if best is None or (running and running.deadline < best.deadline):
            return running
        return best

    def enqueue(self, entity: Entity) -> None:
        """Put it into the tree; equal deadlines are first come, first served."""
        insort_right(self.tree, entity, key=lambda other: other.deadline)

    def dequeue(self, entity: Entity) -> None:
        """Take it out of the tree."""
        self.tree.remove(entity)

    def min_slice(self) -> int:
        """The shortest slice."""
        return min((entity.slice_ns for entity in self.queued()), default=(1 << 63) - 1)

    def place(self, entity: Entity, *, initial: bool) -> None:
        """Give it a vruntime by which it has the lag that it left with, and a deadline (place_entity())."""
        average = self.avg_vruntime()
        if not entity.custom_slice:
            entity.slice_ns = self.base_slice_ns
        lag = 0
        if self.nr_queued and entity.vlag:
            # Its coming moves V towards it: inflated by (W + w) / W, its lag is afterwards what it was.
            load = self.sums()[1]
            lag = _divide(entity.vlag * (load + entity.load), max(load, 1))
        entity.vruntime = average - lag
        if entity.rel_deadline:
            entity.deadline += entity.vruntime
            entity.rel_deadline = False
            return
        virtual_slice = entity.delta_fair(entity.slice_ns)
        entity.deadline = entity.vruntime + (virtual_slice // 2 if initial else virtual_slice)

    def update_lag(self, entity: Entity) -> None:
        """Note the lag with which it leaves, within bounds (update_entity_lag())."""
        longest = max((other.slice_ns for other in self.queued()), default=0)
        limit = entity.delta_fair(longest + self.tick_ns)
        entity.vlag = max(-limit, min(limit, self.avg_vruntime() - entity.vruntime))

    def update_deadline(self, entity: Entity) -> bool:
        """If it had its slice, give it a new deadline; return whether it had (update_deadline())."""
        if entity.vruntime < entity.deadline:
            return False
        if not entity.custom_slice:
            entity.slice_ns = self.base_slice_ns
        entity.deadline = entity.vruntime + entity.delta_fair(entity.slice_ns)
        self.avg_vruntime()
        return True

    def requeue_delayed(self, entity: Entity) -> None:
        """It wakes up while still queued: it keeps its debt, but no credit (requeue_delayed_entity())."""
        self.update_lag(entity)
        if entity.vlag > 0:
            self.nr_queued -= 1
            if entity is not self.curr:
                self.dequeue(entity)
            entity.vlag = 0
            self.place(entity, initial=False)
            if entity is not self.curr:
                self.enqueue(entity)
            self.nr_queued += 1
        entity.delayed = False

    def reweight(self, entity: Entity, weight: int, *, is_task: bool) -> None:
        """Change its weight (reweight_entity()): its lag and what is left of its slice stay what they are."""

        def rescale(value: int) -> int:
            return _divide(value * entity.weight, weight)

        protection = 0
        if entity.on_rq:
            self.update_lag(entity)
            if entity is self.curr and entity.is_protected:  # by its lag: it is the same word
                protection = rescale(entity.vlag - entity.vruntime)
            self.nr_queued -= 1
            if entity is not self.curr:
                self.dequeue(entity)
            entity.deadline -= entity.vruntime
            entity.rel_deadline = True
        entity.vlag = rescale(entity.vlag)
        if entity.rel_deadline:
            entity.deadline = rescale(entity.deadline)
        entity.set_weight(weight, is_task=is_task)
        if not entity.on_rq:
            return
        self.place(entity, initial=False)
        if protection:
            entity.vlag = entity.vruntime + protection
        if entity is not self.curr:
            self.enqueue(entity)
        self.nr_queued += 1

    def set_protection(self, entity: Entity) -> None:
        """It begins to run: for the shortest slice of all, nobody is preferred (set_protect_slice())."""
        entity.vlag = entity.deadline
        shortest = self.min_slice()
        if shortest < entity.slice_ns:
            entity.vlag = min(entity.deadline, entity.vruntime + entity.delta_fair(shortest))

    def update_protection(self, entity: Entity) -> None:
        """Somebody came: the shortest slice may be shorter now (update_protect_slice())."""
        entity.vlag = min(entity.vlag, entity.vruntime + entity.delta_fair(self.min_slice()))


def _divide(value: int, by: int) -> int:
    """Divide as C does: towards zero."""
    return value // by if value >= 0 else -(-value // by)
