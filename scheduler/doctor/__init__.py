"""What stands in the way of a run, found out without changing anything: `pilotcommit doctor`."""
