"""Imports every module of packages, and says which cannot be: `modules.py PACKAGE... -- LEFT_OUT...`.

Run with an installation's interpreter, from an empty folder. Prints where the packages are.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator


def names(package: str, left_out: list[str]) -> Iterator[str]:
    """Modules below a package, programs and what is left out excepted."""
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, f"{package}."):
        if not module.name.endswith(".__main__") and not module.name.startswith(tuple(left_out)):
            yield module.name


def main(arguments: list[str]) -> None:
    """Import them all."""
    cut = arguments.index("--")
    packages, left_out = arguments[:cut], arguments[cut + 1 :]
    failed = []
    for package in packages:
        sys.stdout.write(f"{importlib.import_module(package).__file__}\n")
        for name in names(package, left_out):
            try:
                importlib.import_module(name)
            except ImportError as error:
                failed.append(f"{name}: {error}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
