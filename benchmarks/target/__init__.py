"""Rollouts to a target accuracy on real training: pools, plan of runs, runner, analysis."""
