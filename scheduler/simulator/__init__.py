"""The simulator: any allocator against modelled pools, in memory, seeded, in seconds."""
