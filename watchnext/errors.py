"""Every error a user can cause: it names the argument, what was got, and the cure."""


class WatchnextError(Exception):
    """Something failed that the user can mend. The command line prints it without a traceback, exit code 1.

    Args:
        argument: what the error is about: an option, a file, a column.
        got: what was found there.
        cure: what to do about it, as an imperative sentence.
    """

    exit_code = 1

    def __init__(self, argument: str, got: object, cure: str) -> None:
        self.argument, self.got, self.cure = argument, got, cure
        super().__init__(f"{argument}: got {got}. {cure}")


class UsageError(WatchnextError):
    """The command was called wrongly: an impossible option or combination of options. Exit code 2."""

    exit_code = 2


class CorruptError(WatchnextError):
    """A file on disk is not what its manifest says: truncated, changed, missing, or of another format."""


class RejectedRowsError(WatchnextError):
    """More rows of a watch log were malformed than the chosen share allows."""


class TrainingError(WatchnextError):
    """Training cannot start or go on: nothing to learn from, or the loss is not finite any more."""


class ReleaseRefusedError(WatchnextError):
    """A release did not pass its checks; the current one stays."""


class StoreUnavailableError(WatchnextError):
    """The store of fresh watches is locked, full, gone or slow. What was being written may have got there; sending it
    again does no harm.
    """
