"""The dashboards, one a module."""

from deploy.grafana.boards.fleet import FLEET
from deploy.grafana.boards.learning import LEARNING
from deploy.grafana.boards.skip_rates import SKIP_RATES
from deploy.grafana.boards.spend import SPEND

__all__ = ("BOARDS",)

BOARDS = (SPEND, SKIP_RATES, FLEET, LEARNING)
