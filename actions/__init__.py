"""What is done: one file an action. The only code that changes anything."""

from actions._action import Action, Job, Plan, Step, Verdict

__all__ = ["Action", "Job", "Plan", "Step", "Verdict"]
