"""Classes of products, and data types of character fields: as the models name them."""

from __future__ import annotations

__all__ = [
    "BASES",
    "INTEGER_TYPES",
    "KNOWN_TYPES",
    "PRODUCT_CLASSES",
    "REAL_TYPES",
    "TEXT_TYPES",
    "TIME_TYPES",
    "base_of",
    "is_wide",
]

PRODUCT_CLASSES = frozenset(
    f"Product_{name}"
    for name in (
        "AIP",
        "Ancillary",
        "Attribute_Definition",
        "Browse",
        "Bundle",
        "Class_Definition",
        "Collection",
        "Context",
        "DIP",
        "DIP_Deep_Archive",
        "Document",
        "External",
        "File_Repository",
        "File_Text",
        "Metadata_Supplemental",
        "Native",
        "Observational",
        "Resource",
        "SIP",
        "SIP_Deep_Archive",
        "SPICE_Kernel",
        "Service",
        "Software",
        "Thumbnail",
        "Update",
        "XML_Schema",
        "Zipped",
    )
)
"""Root elements of labels in PDS4 information models 1.11-1.26."""

REAL_TYPES = frozenset({"ASCII_Real"})
INTEGER_TYPES = frozenset({"ASCII_Integer", "ASCII_NonNegative_Integer"})
TIME_TYPES = frozenset(
    {
        "ASCII_Date_Time_YMD_UTC",
        "ASCII_Date_Time_YMD",
        "ASCII_Date_YMD",
        "ASCII_Date_Time_DOY_UTC",
        "ASCII_Date_Time_DOY",
        "ASCII_Date_DOY",
    }
)
TEXT_TYPES = frozenset(
    {
        "ASCII_AnyURI",
        "ASCII_BibCode",
        "ASCII_DOI",
        "ASCII_Directory_Path_Name",
        "ASCII_File_Name",
        "ASCII_File_Specification_Name",
        "ASCII_LID",
        "ASCII_LIDVID",
        "ASCII_LIDVID_LID",
        "ASCII_MD5_Checksum",
        "ASCII_Numeric_Base16",
        "ASCII_Numeric_Base2",
        "ASCII_Numeric_Base8",
        "ASCII_String",
        "ASCII_Time",
        "ASCII_VID",
        "UTF8_String",
    }
)
KNOWN_TYPES = (
    REAL_TYPES | INTEGER_TYPES | TIME_TYPES | TEXT_TYPES | frozenset({"ASCII_Boolean"})
)
"""``data_type`` values of character fields in PDS4 information models 1.11-1.26."""

BASES = {
    "ASCII_Numeric_Base2": 2,
    "ASCII_Numeric_Base8": 8,
    "ASCII_Numeric_Base16": 16,
}
"""Base of each type."""
_DIGITS_MAX = {2: 64, 8: 21, 16: 16}  # that 64 bits hold
_INT64_DIGITS = 18  # any so long is an int64


def base_of(data_type: str, length: int) -> int | None:
    """Return the base of numbers that are given as such; longer ones stay text.

    Examples
    --------
    >>> base_of("ASCII_Numeric_Base16", 4), base_of("ASCII_Numeric_Base16", 40)
    (16, None)
    """
    base = BASES.get(data_type)
    return base if base is not None and length <= _DIGITS_MAX[base] else None


def is_wide(data_type: str, length: int) -> bool:
    """Say whether integers of so many characters may need the unsigned 64-bit type.

    Examples
    --------
    >>> is_wide("ASCII_NonNegative_Integer", 20), is_wide("ASCII_Integer", 20)
    (True, False)
    """
    return data_type == "ASCII_NonNegative_Integer" and length > _INT64_DIGITS
