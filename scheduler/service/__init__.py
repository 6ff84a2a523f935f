"""The scheduler's answers and orders, apart from HTTP."""

from scheduler.service.service import Service
from scheduler.service.views import BreakerView, RunView

__all__ = ["BreakerView", "RunView", "Service"]
