"""The kernel's fair class in Python, for the simulator: `sim run --scheduler schedtuna.sim.fair:Fair`.

The rules are in `eevdf`; this is when they are applied: accounts are brought up to date at ticks, when tasks
come and go, at picks, at the wakeup's test of preemption, when a task yields or reads its CPU time. Nowhere
else: each time truncates, and may find that a slice is over, so that it is part of what a scheduler does.

It decides as `fair` does (native/sim/fair*.cpp) where nothing is balanced: on one CPU, also with groups; on
several, without groups, if each task is bound to one of them. Otherwise tasks stay where they are.
"""

from __future__ import annotations

from enum import Enum, auto

from schedtuna.errors import UsageError
from schedtuna.sim.eevdf import NICE_0_LOAD, WEIGHT_SHIFT, Entity, Queue
from schedtuna.sim.native import DequeueReason, EnqueueReason, Machine, Policy, Task
from schedtuna.sim.scheduler import Scheduler

_BASE_SLICE_NS = 700_000  # sysctl_sched_base_slice, scaled by 1 + log2(min(CPUs, 8))
_TICK_NS = 4_000_000  # where there are no ticks, of limits of lag alone
_LEAST_SLICE_NS, _LONGEST_SLICE_NS = 100_000, 100_000_000  # __setparam_fair()


class _Leave(Enum):
    """Why an entity leaves its queue."""

    SLEEP = auto()
    EXIT = auto()
    DELAYED = auto()  # it slept before, and is eligible now
    CHANGE = auto()
    MIGRATE = auto()


class Fair(Scheduler):
    """EEVDF with groups, as 6.18.44 has it."""

    def __init__(self) -> None:
        self._entities: dict[int, Entity] = {}
        self._queues: dict[tuple[int, int], Queue] = {}  # (group, CPU)
        self._running: list[Entity | None] = []  # by CPU: whose entities are current
        self._nr_tasks: list[int] = []  # by CPU: queued, delayed ones as well (h_nr_queued)

    def init(self, machine: Machine) -> None:
        """Make the queues of all groups."""
        if machine.nr_cpus > 1 and machine.nr_groups > 1:
            raise UsageError(
                "groups on several CPUs need load averages, which this scheduler lacks",
                hint="use `fair`, or one CPU",
            )
        self._running = [None] * machine.nr_cpus
        self._nr_tasks = [0] * machine.nr_cpus
        self._base_slice_ns = _BASE_SLICE_NS * min(machine.nr_cpus, 8).bit_length()
        for group in range(machine.nr_groups):
            parent = machine.group_parent(group)
            for cpu in range(machine.nr_cpus):
                queue = Queue(self._base_slice_ns, machine.tick_ns or _TICK_NS, cpu)
                self._queues[group, cpu] = queue
                if parent is not None:
                    queue.owner = Entity(slice_ns=self._base_slice_ns, owns=queue)
                    queue.owner.set_weight(NICE_0_LOAD, is_task=False)
                    queue.owner.queue = self._queues[parent, cpu]
        self._shares = [machine.group_weight(group) << WEIGHT_SHIFT for group in range(machine.nr_groups)]

    def init_task(self, machine: Machine, task: Task) -> None:  # noqa: ARG002 - as of every callback
        """Make its entity."""
        entity = self._entities[task.id] = Entity(task_id=task.id)
        entity.set_weight(task.weight << WEIGHT_SHIFT)
        self._take_attributes(task, entity)
        entity.queue = self._queues[task.group, task.cpu]

    def exit_task(self, machine: Machine, task: Task) -> None:  # noqa: ARG002
        """Forget it."""
        del self._entities[task.id]

    def select_cpu(self, machine: Machine, task: Task, prev_cpu: int, reason: EnqueueReason) -> int | None:  # noqa: ARG002
        """Stay."""
        return prev_cpu if task.may_run_on(prev_cpu) else task.cpus[0]

    def enqueue(self, machine: Machine, task: Task, reason: EnqueueReason) -> None:
        """Place it; it may preempt who runs."""
        entity = self._entities[task.id]
        if reason is EnqueueReason.PUT_BACK:
            return  # it stays current until another one is picked
        if reason is EnqueueReason.YIELD:
            self._yield(machine, entity)
            return
        entity.queue = self._queues[task.group, task.cpu]
        self._enqueue_task(machine, entity, initial=reason is EnqueueReason.FORK)
        self._check_preempt(machine, entity, task, is_fork=reason is EnqueueReason.FORK)

    def dequeue(self, machine: Machine, task: Task, reason: DequeueReason) -> None:
        """Take it out, or leave it there delayed."""
        self._dequeue_entities(machine, self._entities[task.id], _Leave[reason.name])
        if reason is DequeueReason.MIGRATE:  # the stopper, which takes it elsewhere, has preempted it
            self._put_prev_task(machine, task.cpu)

    def wake_in_place(self, machine: Machine, task: Task) -> bool:
        """Whether it was delayed."""
        entity = self._entities[task.id]
        if not entity.delayed:
            return False
        entity.queue.requeue_delayed(entity)
        if self._running[task.cpu] is not entity:
            self._check_preempt(machine, entity, task, is_fork=False)
        return True

    def dispatch(self, machine: Machine, cpu: int, prev: Task | None) -> Task | None:  # noqa: ARG002
        """Pick, and make what was picked current."""
        entity = self._pick_task(machine, cpu)
        if entity is None or entity.task_id is None:
            self._put_prev_task(machine, cpu)
            return None
        if entity is not self._running[cpu]:
            self._switch_entities(machine, cpu, entity)
        return machine.task(entity.task_id)

    def tick(self, machine: Machine, cpu: int, task: Task) -> None:
        """Bring the accounts up to date."""
        entity: Entity | None = self._entities.get(task.id)
        if self._running[cpu] is not entity:
            return
        while entity:
            self._update_curr(machine, entity.queue)
            self._update_group(machine, entity)
            entity = entity.parent

    def read_cpu_time(self, machine: Machine, task: Task) -> None:
        """Likewise."""
        entity = self._entities[task.id]
        if self._running[task.cpu] is entity:
            self._update_curr(machine, entity.queue)

    def set_weight(self, machine: Machine, task: Task) -> None:
        """Nice value, policy or slice changed: take it out, and put it back as it is now."""
        entity, cpu = self._entities[task.id], task.cpu
        was_queued, before = entity.on_rq, entity.weight
        was_running = was_queued and self._running[cpu] is entity
        if was_queued:
            self._dequeue_entities(machine, entity, _Leave.CHANGE)
        if was_running:
            self._put_prev_task(machine, cpu)
        if before != task.weight << WEIGHT_SHIFT:
            self._reweight(machine, entity, task.weight << WEIGHT_SHIFT)
        self._take_attributes(task, entity)
        if was_queued:
            self._enqueue_task(machine, entity, initial=False)
        if was_running:
            self._set_next_task(machine, cpu, entity, first=False)
        if not was_queued or self._queues[0, cpu].nr_queued == 1:
            return
        if not was_running:
            self._check_preempt(machine, entity, task, is_fork=False)
        elif entity.weight < before:
            machine.resched(cpu)

    def _take_attributes(self, task: Task, entity: Entity) -> None:
        entity.idle = task.policy is Policy.IDLE
        asked = task.custom_slice_ns
        entity.custom_slice = asked != 0
        entity.slice_ns = (
            max(_LEAST_SLICE_NS, min(asked, _LONGEST_SLICE_NS)) if asked else self._base_slice_ns
        )

    def _update_curr(self, machine: Machine, queue: Queue) -> None:
        """Charge who runs with what it ran; if its slice is over, somebody is to be picked."""
        curr = queue.curr
        if curr is None:
            return
        now = machine.clock_task_ns(queue.cpu)
        ran = now - curr.exec_start
        if ran <= 0:
            return
        curr.exec_start = now
        curr.vruntime += curr.delta_fair(ran)
        is_over = queue.update_deadline(curr)
        if queue.nr_queued > 1 and (is_over or not curr.is_protected):
            machine.resched(queue.cpu)
            _clear_buddies(curr)

    def _update_group(self, machine: Machine, entity: Entity) -> None:
        """On one CPU a group's entity has all of the group's weight (update_cfs_group())."""
        if entity.owns is None or not entity.owns.nr_queued:
            return
        group = next(number for (number, _), queue in self._queues.items() if queue is entity.owns)
        if self._shares[group] != entity.weight:
            self._reweight(machine, entity, self._shares[group])

    def _reweight(self, machine: Machine, entity: Entity, weight: int) -> None:
        if entity.on_rq:
            self._update_curr(machine, entity.queue)
        entity.queue.reweight(entity, weight, is_task=entity.owns is None)

    def _enqueue_entity(self, machine: Machine, entity: Entity, *, initial: bool) -> None:
        queue = entity.queue
        is_curr = queue.curr is entity
        if is_curr:
            queue.place(entity, initial=initial)
        self._update_curr(machine, queue)
        self._update_group(machine, entity)
        if not is_curr:
            queue.place(entity, initial=initial)
            queue.enqueue(entity)
        queue.nr_queued += 1
        entity.on_rq = True

    def _enqueue_task(self, machine: Machine, task: Entity, *, initial: bool) -> None:
        entity: Entity | None = task
        slice_ns = 0
        while entity:
            if entity.on_rq:
                if entity.delayed:
                    entity.queue.requeue_delayed(entity)
                break
            if slice_ns:  # a group asks for the shortest slice in it
                entity.slice_ns, entity.custom_slice = slice_ns, True
            self._enqueue_entity(machine, entity, initial=initial)
            slice_ns, initial = entity.queue.min_slice(), False
            entity = entity.parent
        self._follow_up(machine, entity, slice_ns)
        self._nr_tasks[task.queue.cpu] += 1

    def _follow_up(self, machine: Machine, entity: Entity | None, slice_ns: int) -> None:
        """Tell the groups above of what has changed below."""
        while entity:
            self._update_group(machine, entity)
            entity.slice_ns = slice_ns
            slice_ns = entity.queue.min_slice()
            entity = entity.parent

    def _dequeue_entity(self, machine: Machine, entity: Entity, why: _Leave) -> bool:
        """False: it is not eligible, and stays until it is (DELAY_DEQUEUE)."""
        queue = entity.queue
        self._update_curr(machine, queue)
        _clear_buddies(entity)
        if why is _Leave.SLEEP and not queue.is_eligible(entity):
            entity.delayed = True
            return False
        queue.update_lag(entity)
        if entity is not queue.curr:
            queue.dequeue(entity)
        if why in {_Leave.CHANGE, _Leave.MIGRATE}:
            entity.deadline -= entity.vruntime
            entity.rel_deadline = True
        entity.on_rq = False
        queue.nr_queued -= 1
        if why is _Leave.DELAYED:
            entity.delayed = False
            entity.vlag = min(entity.vlag, 0)
        return True

    def _dequeue_entities(self, machine: Machine, first: Entity, why: _Leave) -> None:
        entity: Entity | None = first
        sleeps = why not in {_Leave.CHANGE, _Leave.MIGRATE}
        slice_ns = 0
        while entity:
            queue = entity.queue
            if not self._dequeue_entity(machine, entity, why):
                if entity is first and entity.owns is None:
                    return
                slice_ns = queue.min_slice()
                break
            entity = entity.parent
            if queue.nr_queued:
                slice_ns = queue.min_slice()
                if sleeps and entity:
                    _set_next_buddy(entity)
                break
            why = _Leave.SLEEP
        self._follow_up(machine, entity, slice_ns)
        if first.owns is None:
            self._nr_tasks[first.queue.cpu] -= 1

    def _pick_next_entity(self, machine: Machine, queue: Queue, *, protect: bool = True) -> Entity | None:
        """None: a delayed one came first, and was dequeued."""
        entity = queue.pick(protect=protect)
        if entity and entity.delayed:
            self._dequeue_entities(machine, entity, _Leave.DELAYED)
            return None
        return entity

    def _pick_task(self, machine: Machine, cpu: int) -> Entity | None:
        queue = root = self._queues[0, cpu]
        while queue.nr_queued:
            if queue.curr and queue.curr.on_rq:
                self._update_curr(machine, queue)
            entity = self._pick_next_entity(machine, queue)
            if entity and entity.owns is None:
                return entity
            queue = entity.owns if entity and entity.owns else root
        return None

    def _put_prev_entity(self, machine: Machine, entity: Entity) -> None:
        queue = entity.queue
        if entity.on_rq:
            self._update_curr(machine, queue)
            queue.enqueue(entity)
        queue.curr = None

    def _set_next_entity(self, machine: Machine, entity: Entity, *, first: bool) -> None:
        queue = entity.queue
        _clear_buddies(entity)
        if entity.on_rq:
            queue.dequeue(entity)
            if first:
                queue.set_protection(entity)
        entity.exec_start = machine.clock_task_ns(queue.cpu)
        queue.curr = entity

    def _put_prev_task(self, machine: Machine, cpu: int) -> None:
        for entity in _levels(self._running[cpu]):
            self._put_prev_entity(machine, entity)
        self._running[cpu] = None

    def _set_next_task(self, machine: Machine, cpu: int, task: Entity, *, first: bool = True) -> None:
        for entity in _levels(task):
            self._set_next_entity(machine, entity, first=first)
        self._running[cpu] = task

    def _switch_entities(self, machine: Machine, cpu: int, task: Entity) -> None:
        """Only levels that the two tasks don't share change hands: what they share goes on, protected."""
        running = self._running[cpu]
        if running is None:
            self._set_next_task(machine, cpu, task)
            return
        puts, sets = _levels(running), _levels(task)
        shared = {id(entity) for entity in puts} & {id(entity) for entity in sets}
        depth = max(len(puts), len(sets))
        for level in range(depth, 0, -1):  # of both, the deeper one first
            for entities, is_put in ((puts, True), (sets, False)):
                if len(entities) >= level and id(entity := entities[-level]) not in shared:
                    if is_put:
                        self._put_prev_entity(machine, entity)
                    else:
                        self._set_next_entity(machine, entity, first=True)
        self._running[cpu] = task

    def _yield(self, machine: Machine, entity: Entity) -> None:
        queue = entity.queue
        if self._nr_tasks[queue.cpu] == 1:
            return
        _clear_buddies(entity)
        self._update_curr(machine, queue)
        if queue.is_eligible(entity):
            entity.vruntime = entity.deadline
            queue.update_deadline(entity)

    def _check_preempt(self, machine: Machine, woken: Entity, task: Task, *, is_fork: bool) -> None:
        """Whether who comes is to run at once (check_preempt_wakeup_fair())."""
        cpu = woken.queue.cpu
        running = self._running[cpu]
        if running is None:
            machine.resched(cpu)
            return
        if running is woken or machine.need_resched(cpu):
            return
        # Where the two meet: the highest entities that are not the same (find_matching_se()).
        curr, wakes = running, woken
        for left, right in zip(reversed(_levels(running)), reversed(_levels(woken)), strict=False):
            curr, wakes = left, right
            if left is not right:
                break
        queue = curr.queue
        if curr.idle and not wakes.idle:
            curr.cancel_protection()
            machine.resched(cpu)
            return
        if curr.idle != wakes.idle or task.policy is not Policy.OTHER:
            return
        self._update_curr(machine, queue)
        is_shorter = wakes.slice_ns < curr.slice_ns
        if not is_shorter and (is_fork or wakes.delayed):
            return
        chosen = None
        while chosen is None and queue.nr_queued:
            chosen = self._pick_next_entity(machine, queue, protect=not is_shorter)
        if chosen is wakes:
            if is_shorter:
                curr.cancel_protection()
            machine.resched(cpu)
        else:
            queue.update_protection(curr)


def _levels(entity: Entity | None) -> list[Entity]:
    """Return a task's entity, its group's, and so on."""
    found = []
    while entity:
        found.append(entity)
        entity = entity.parent
    return found


def _clear_buddies(entity: Entity) -> None:
    for level in _levels(entity):
        if level.queue.next is not level:
            break
        level.queue.next = None


def _set_next_buddy(entity: Entity) -> None:
    for level in _levels(entity):
        if not level.on_rq or level.idle:
            break
        level.queue.next = level
