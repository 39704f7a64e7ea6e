"""Dates and times of the PDS4 types, to the nanosecond.

References
----------
PDS4 information model 1.15, ``ASCII_Date_Time_YMD`` and its relatives: ISO 8601, as
short as the year.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

__all__ = ["YEARS", "moment"]

YEARS = range(1678, 2262)
"""Whole years that datetime64[ns] holds; others would wrap."""

_MOMENT = re.compile(
    rb"(\d{4})(?:-(\d\d)(?:-(\d\d))?|-(\d{3}))?"
    rb"(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?Z?"
)
_EPOCH = date(1970, 1, 1)
_LEAP_SECOND = (23, 59, 60)
_MIDNIGHT = 24  # as the hour that ends a day
_MINUTES, _SECONDS = range(60), range(60)


def moment(text: bytes, data_type: str, *, whole_days: bool = False) -> int | None:
    """Return a date or time in nanoseconds since 1970, without leap seconds.

    What is left out is the first of its kind: 2014 is its first of January, 0 h. 24:00
    is 0 h of the next day, and so is a leap second, of which datetime64 knows none.
    `data_type` says whether there is a time of day, and whether days are counted in
    months or in the year; `whole_days` refuses what names no day, or an hour without
    its minute. None is no such date; a year outside `YEARS` is an OverflowError.

    Examples
    --------
    >>> import numpy as np
    >>> np.datetime64(moment(b"2016-12-31T23:59:60.5Z", "ASCII_Date_Time_YMD"), "ns")
    np.datetime64('2017-01-01T00:00:00.500000000')
    >>> np.datetime64(moment(b"2014-032", "ASCII_Date_DOY"), "ns")
    np.datetime64('2014-02-01T00:00:00.000000000')
    >>> moment(b"2015-02-29", "ASCII_Date_YMD")
    """
    match = _MOMENT.fullmatch(text.removeprefix(b"-"))
    if match is None:
        return None
    year, month, day, day_of_year, hour, minute, second, fraction = match.groups()
    counted = "DOY" in data_type
    complete = day_of_year is not None if counted else day is not None
    if (month is not None) if counted else (day_of_year is not None):
        return None
    if hour is not None and not (complete and "Time" in data_type):
        return None
    if whole_days and not (complete and (hour is None or minute is not None)):
        return None
    if text.startswith(b"-") or int(year) not in YEARS:
        raise OverflowError
    try:
        start = date(int(year), int(month or b"1"), int(day or b"1"))
    except ValueError:
        return None
    if counted and complete:
        start += timedelta(int(day_of_year) - 1)
        if start.year != int(year):
            return None
    clock = tuple(int(part or b"0") for part in (hour, minute, second))
    ticks = int((fraction or b"0").ljust(9, b"0"))
    if not _is_clock(clock, ticks, start):
        return None
    days = (start - _EPOCH).days
    seconds = (clock[0] * 60 + clock[1]) * 60 + clock[2]
    return (days * 86_400 + seconds) * 10**9 + ticks


def _is_clock(clock: tuple[int, ...], ticks: int, day: date) -> bool:
    """Say whether there is such a time of day; leap seconds end a month (UTC)."""
    hour, minute, second = clock
    if hour >= _MIDNIGHT:
        return hour == _MIDNIGHT and not (minute or second or ticks)
    if clock == _LEAP_SECOND:
        return (day + timedelta(1)).day == 1
    return minute in _MINUTES and second in _SECONDS
