"""A place as a field of what is stored: of any kind in the table, each by its own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from schedtuna.backend.places.base import Place
from schedtuna.backend.places.registry import place_class
from schedtuna.errors import UsageError


def _typed(value: object) -> object:
    if isinstance(value, Mapping) and "kind" in value:
        try:
            found = place_class(str(value["kind"]))
        except UsageError as error:
            raise ValueError(str(error)) from None  # the model that the place is a field of names it
        return found.model_validate(value)
    return value


AnyPlace = Annotated[SerializeAsAny[Place], BeforeValidator(_typed)]
