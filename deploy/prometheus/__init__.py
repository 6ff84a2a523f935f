"""Prometheus: what it scrapes, what it computes, what it warns of."""
