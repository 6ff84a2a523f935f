"""Every durable fact of the scheduler, in Redis: the only package that knows Redis and its keys."""
