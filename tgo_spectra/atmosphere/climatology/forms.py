"""The table of forms, and which of them a file has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.atmosphere.climatology import (
    emars,
    gem_text,
    gem_web,
    mcd,
    openmars,
    pcm,
    table,
)
from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    from tgo_spectra.atmosphere.climatology.form import Form, Source

__all__ = ["FORMS", "form_of"]

FORMS: dict[str, Form] = {
    one.FORM.name: one.FORM
    for one in (mcd, pcm, openmars, emars, gem_text, gem_web, table)
}
"""Forms by name; a new one is a module and a word in this row."""


def form_of(source: Source, name: str | None) -> Form:
    """Return the form that the caller names or the file shows.

    Parameters
    ----------
    source : Source
        The file.
    name : str or None
        Key of `FORMS`; None: recognise it by dimensions and variables.

    Returns
    -------
    Form

    Raises
    ------
    AtmosphereError
        An unknown name, no form or several (``climatology.form``).
    """
    if name is not None:
        if name not in FORMS:
            msg = f"unknown form; there are {', '.join(FORMS)}"
            raise AtmosphereError(
                msg,
                path=source.path,
                field="form",
                value=name,
                rule="climatology.form",
            )
        return FORMS[name]
    fitting = [one for one in FORMS.values() if one.recognise(source)]
    if len(fitting) == 1:
        return fitting[0]
    sizes = ", ".join(f"{k} {n}" for k, n in source.raw.sizes.items()) or "none"
    names = ", ".join(sorted(map(str, source.raw.variables))) or "none"
    found = f"dimensions: {sizes}; variables: {names}"
    if fitting:
        which = ", ".join(one.name for one in fitting)
        msg = f"the file fits several forms, {which}: name one with form="
    else:
        msg = f"the file fits none of {', '.join(FORMS)}; found"
    raise AtmosphereError(
        msg, path=source.path, field="form", value=found, rule="climatology.form"
    )
