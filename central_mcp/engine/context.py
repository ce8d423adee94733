"""What every part of the engine works with; made once by `engine.__main__`."""

from dataclasses import dataclass

from ..home import Home
from .back import Back
from .locks import ProjectLocks
from .programs import Programs
from .publish import Publisher
from .repository import Repository
from .state import State


@dataclass(frozen=True)
class Context:
    home: Home
    state: State
    publisher: Publisher
    programs: Programs
    back: Back
    locks: ProjectLocks

    def repository(self, project: str) -> Repository:
        return Repository(self.home, project)
