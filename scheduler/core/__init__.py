"""Pure decisions and values: no await, no clock, no own randomness, no I/O."""
