"""Benchmarks: what the numbers in README.md were made with. Nothing imports them; they are not in the wheel."""
