"""The one error of the contract: what was read does not keep the rules."""

from __future__ import annotations


class ContractError(ValueError):
    """A document from outside breaks the contract.

    Attributes:
        code: A stable short word for programs, for example ``too-large`` or ``bad-path``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
