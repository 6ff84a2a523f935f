"""The commands of the README and of the quick start, run as somebody who just cloned it: `make quickstart-test`."""
