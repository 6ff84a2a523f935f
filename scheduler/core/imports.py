"""What may be imported for whoever submits a pool or a run.

Owns: the list of modules that rewards and allocators may come from. Pure. Invariant: without a list everything may be
imported, which is right where whoever reaches the API has a shell on the machine anyway.
"""

from dataclasses import dataclass

from scheduler.core.errors import InvalidInput

ANYTHING = "*"
"""In a list, every module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importable:
    """Modules, each with all that is in it."""

    modules: tuple[str, ...] = (ANYTHING,)

    def check(self, path: str, field: str) -> None:
        """Raise InvalidInput unless `path`, module:name, lies in a module that may be imported."""
        module = path.partition(":")[0]
        if ANYTHING in self.modules or any(f"{module}.".startswith(f"{allowed}.") for allowed in self.modules):
            return
        listed = ", ".join(self.modules) or "nothing"
        raise InvalidInput(
            f"{module} may not be imported here: PILOTCOMMIT_IMPORTABLE, which the operator sets, lists {listed}",
            field=field,
        )


EVERYTHING = Importable()
"""No module is refused."""
