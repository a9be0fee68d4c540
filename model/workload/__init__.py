"""Who uses the platform and what they ask for: the follower graph, the seeded state and the Schedule."""

from model.workload.graph import FollowerGraph, graph_of
from model.workload.schedule import Block, ClosedSchedule, Schedule, schedule_of
from model.workload.seeding import seed_state

__all__ = ["Block", "ClosedSchedule", "FollowerGraph", "Schedule", "graph_of", "schedule_of", "seed_state"]
