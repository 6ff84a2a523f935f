"""Programs that run inside an installation, as files of a user's: nothing of the repository is on their path."""
