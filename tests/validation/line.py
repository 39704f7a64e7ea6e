"""One line of the report."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """One line of the report; `passed` is None where there is nothing to pass."""

    what: str
    limit: str
    value: str
    passed: bool | None
    draws: str
    more: dict[str, str] = field(default_factory=dict)
    """Further columns by their heads, the same in all lines of a part."""

    def __post_init__(self) -> None:
        if self.passed is not None:  # numpy's own kind of bool is not JSON
            object.__setattr__(self, "passed", bool(self.passed))
