"""The scheduler's answers and orders, apart from HTTP."""

from scheduler.service.orders import Rehearsal
from scheduler.service.service import Service
from scheduler.service.views import BreakerView, RunView

__all__ = ["BreakerView", "Rehearsal", "RunView", "Service"]
