"""The language of ``scenarios/*.txt``: one statement a line, done in order on a simulated cluster, ``#`` comments.

What can be said stands at the top of each file of this folder, by what it is about: `world`, `processes`, `members`,
`writing`, `shown`. Checkers look on all the time; what they find fails the scenario.
"""

from tests.sim.language import members, processes, shown, world, writing
from tests.sim.language.scenario import Scenario, Unmet

__all__ = ["Scenario", "Unmet", "members", "processes", "shown", "world", "writing"]
