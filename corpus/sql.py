"""Pieces of SQL: quoting, and the expressions that turn raw values into ids and times. Knows no files."""

from pathlib import Path
from typing import NamedTuple


def name(identifier: str) -> str:
    """An identifier, quoted.

    >>> name('the "user"')
    '"the ""user\"""'
    """
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text literal, quoted.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def path(file: Path) -> str:
    """A file's path as a literal in which no character is a wildcard."""
    escaped = "".join(f"[{c}]" if c in "*?[" else c for c in str(file))
    return text(escaped)


class Value(NamedTuple):
    """One value of a raw row, as SQL expressions over it.

    Args:
        value: the cleaned value; null where it is missing or wrong.
        missing: whether there is none.
        wrong: whether there is one of the wrong type or form.
    """

    value: str
    missing: str
    wrong: str


def required(value: Value | None) -> Value:
    """A value whose type is known to fit."""
    if value is None:
        raise TypeError("no expression for this type")
    return value


SMALL_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
"""Types whose values a BIGINT can hold."""
_INTEGERS = SMALL_INTEGERS | {"UBIGINT", "HUGEINT", "UHUGEINT"}
_FLOATS = {"FLOAT", "DOUBLE"}


def blank(x: str) -> str:
    """Whether a text is null or only spaces."""
    return f"coalesce(trim({x}), '') = ''"


def identifier(x: str, type_: str) -> Value | None:
    """An id from a typed column, None for types that cannot be ids.

    Whole floating point numbers are what whole numbers become beside missing values in some tools: taken as such.
    """
    if type_ == "VARCHAR" or type_.startswith("ENUM"):
        return Value(f"{x}::VARCHAR", blank(f"{x}::VARCHAR"), "false")
    if type_ in _INTEGERS or type_ == "UUID":
        return Value(x, f"{x} IS NULL", "false")
    if type_ in _FLOATS:
        whole = f"({x} = floor({x}) AND abs({x}) < 9007199254740992)"
        return Value(
            f"CASE WHEN {whole} THEN {x}::BIGINT::VARCHAR END", f"({x} IS NULL OR isnan({x}))", f"NOT {whole}"
        )
    return None


def seconds(x: str, type_: str) -> Value | None:
    """Seconds since 1970 from a typed column, None for types that cannot be times."""
    if type_ == "VARCHAR":
        number = unix(f"floor(try_cast({x} AS DECIMAL(38, 9)))")
        value = f"coalesce({number}, {instant(f'try_cast({x} AS TIMESTAMPTZ)')})"
        return Value(value, blank(x), f"{value} IS NULL")
    if type_ in _INTEGERS:
        value = unix(x)
    elif type_ in _FLOATS or type_.startswith("DECIMAL"):
        value = unix(f"floor({x})")
    elif type_ == "DATE" or type_.startswith("TIMESTAMP"):
        value = instant(f"{x}::TIMESTAMPTZ")
    else:
        return None
    return Value(value, f"{x} IS NULL", f"{value} IS NULL")


def unix(number: str) -> str:
    """Seconds from a Unix time in seconds, milli-, micro- or nanoseconds.

    Numbers below 1e11 are seconds (up to the year 5138), below 1e14 milliseconds, below 1e17 microseconds. After
    March 1973 the four never overlap. What no 64 bits hold becomes null.
    """
    n = f"try_cast({number} AS BIGINT)"
    unit = f"CASE WHEN abs({n}) < 1e11 THEN 1 WHEN abs({n}) < 1e14 THEN 1000 WHEN abs({n}) < 1e17 THEN 1000000"
    return f"{n} // ({unit} ELSE 1000000000 END)"


def instant(timestamp: str) -> str:
    """Seconds from a timestamp, rounded down; null for the infinite ones."""
    return f"try_cast(floor(epoch_us({timestamp}) / 1000000) AS BIGINT)"


def number(x: str, type_: str) -> Value | None:
    """A number from a typed column, None for types that cannot be one. NaN and infinities are wrong."""
    if type_ != "VARCHAR" and type_ not in _INTEGERS | _FLOATS and not type_.startswith("DECIMAL"):
        return None
    missing = blank(x) if type_ == "VARCHAR" else f"{x} IS NULL"
    cast = f"try_cast({x} AS DOUBLE)"
    value = f"CASE WHEN isfinite({cast}) THEN {cast} END"
    return Value(value, missing, f"{value} IS NULL")
