"""`python -m benchmarks.target`: make the pools, make the runs, report."""

from benchmarks.target.commands import app

if __name__ == "__main__":
    app(prog_name="python -m benchmarks.target")
