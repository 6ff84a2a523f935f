"""The scheduling loop of one run: claim, pilot, decide, commit, publish."""
