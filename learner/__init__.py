"""The learner: takes groups, steps the policy, publishes its weights."""
