"""What is logged, as clients read and change it while the server runs (observability.md 4).

The loggers below `jubako` are this module's; how a line looks, and where it goes, is for whoever owns the process.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jubako.errors import InvalidArgument, Unsupported

ROOT: Final = "jubako"
FORMATS: Final = ("default", "ISO8601")
MAX_VERBOSE_LEVEL: Final = 2**31 - 1
SWITCHES: Final[Mapping[str, str]] = {"log_info": "info", "log_warning": "warning", "log_error": "error"}
FILE: Final = "log_file"
VERBOSE_LEVEL: Final = "log_verbose_level"
FORMAT: Final = "log_format"
NAMES: Final = (FILE, *SWITCHES, VERBOSE_LEVEL, FORMAT)
"""In the order in which they are shown, and changed."""

Document = dict[str, str | bool | int]


@dataclass(slots=True)
class LogSettings:
    """The settings that hold now."""

    info: bool = True
    warning: bool = True
    error: bool = True
    verbose_level: int = 0
    format: str = "default"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InvalidArgument("invalid argument for --log-format")

    def document(self) -> Document:
        """Return the settings as clients see them."""
        return {
            FILE: "",
            **{name: getattr(self, field) for name, field in SWITCHES.items()},
            VERBOSE_LEVEL: self.verbose_level,
            FORMAT: self.format,
        }

    def set(self, name: str, value: Any) -> None:
        """Change one of `NAMES`; the protocol has seen to the type of `value`. It holds at once.

        Raises:
            Unsupported: it is the file.
            InvalidArgument: there is no such format.
        """
        if name == FILE:
            raise Unsupported("log file location can not be updated through network protocol")
        if name == FORMAT:
            if value not in FORMATS:
                raise InvalidArgument(f"invalid argument for log_format, got: {value}")
            self.format = value
        elif name == VERBOSE_LEVEL:
            self.verbose_level = min(value, MAX_VERBOSE_LEVEL)
        else:
            setattr(self, SWITCHES[name], value)
        self.apply()

    def apply(self) -> None:
        """Have the loggers make no records that nobody wants."""
        wanted = [level for level in (logging.DEBUG, logging.INFO, logging.WARNING) if self.allows(level)]
        least = wanted[0] if wanted else logging.ERROR if self.error else logging.CRITICAL + 1
        logging.getLogger(ROOT).setLevel(least)

    def allows(self, level: int) -> bool:
        """Whether records of `level` are wanted: each kind has a switch of its own."""
        if level >= logging.ERROR:
            return self.error
        if level >= logging.WARNING:
            return self.warning
        return self.info if level >= logging.INFO else self.verbose_level > 0
