"""What outcomes are called in keys, in queries and in subscriptions."""

from typing import Literal, get_args

from libs.common.bus.events import FileCompleted, FileDeleted, FileRejected, Outcome, PartialFileMoved

Name = Literal["complete", "parked", "rejected", "deleted"]
NAMES: tuple[Name, ...] = get_args(Name)


def name_of(outcome: Outcome) -> Name:
    match outcome:
        case FileCompleted():
            return "complete"
        case PartialFileMoved():
            return "parked"
        case FileRejected():
            return "rejected"
        case FileDeleted():
            return "deleted"
