"""A modelled path as the list of steps that one request visits, for given outcomes of its look-ups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model.engine.program import Effect, Forever, Path, Scatter, Serve, When, While
from model.spec import InputError


def visited_steps(path: Path, outcomes: Mapping[int, int] | None = None) -> list[str]:
    """Names of the steps in order; a scatter's visits count as one, and what a request spawns is not its own.

    `outcomes` says for an effect (one of the `E_` codes) whether it sets the flag that the next `when` asks for; for
    the condition of a `While` it says how many times its body runs. Of an endless loop one round is listed. Raises
    InputError where an outcome that the path depends on is missing.
    """
    return list(_Walk(outcomes or {}).steps(path))


class _Walk:
    def __init__(self, outcomes: Mapping[int, int]) -> None:
        self._outcomes = outcomes
        self._flag: int | None = None
        self._asked = ""

    def steps(self, path: Path) -> Iterator[str]:
        for part in path:
            match part:
                case Serve(step, _):
                    yield step
                case Effect(which):
                    self._flag = self._outcomes.get(which)
                    self._asked = f"effect {which}"
                case When(then, otherwise):
                    yield from self.steps(then if self._known() else otherwise)
                case While(Effect(which), body):
                    self._flag, self._asked = self._outcomes.get(which), f"effect {which}"
                    for _ in range(self._known()):
                        yield from self.steps(body)
                case Scatter(_, body) | Forever(body):
                    yield from self.steps(body)

    def _known(self) -> int:
        if self._flag is None:
            raise InputError(f"the path branches on {self._asked}, whose outcome is not given")
        return self._flag
