"""The base classes of all errors of this package."""


class QMPError(Exception):
    """The base of every error of this package."""


class ProtocolError(QMPError):
    """The peer sent something that the protocol does not allow.

    Subclasses hand all their arguments to this constructor, so that an error
    survives pickling.
    """

    def __init__(self, error_message: str, *args: object) -> None:
        super().__init__(error_message, *args)
        #: What went wrong, without details.
        self.error_message = error_message

    def __str__(self) -> str:
        return self.error_message
