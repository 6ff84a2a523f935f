"""Allocators: the rules that decide who gets pilots and commits. One module each, named in `catalogue`."""
