"""How much memory torch takes on the CPU while something is done."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that tensors made during `work` took at once, in bytes, as torch's own allocator counts them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    kineto = watched.profiler
    assert kineto is not None
    assert kineto.kineto_results is not None
    changes = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        peak = max(peak, held)
    return peak
