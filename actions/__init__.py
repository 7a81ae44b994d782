"""What is done: one file an action. The only code that changes anything."""

from actions._action import Action, Job, Measure, Plan, Progress, Step, Target, Verdict

__all__ = ["Action", "Job", "Measure", "Plan", "Progress", "Step", "Target", "Verdict"]
