"""Ranges of arguments: triad.config.schema reads them from signatures and checks them without torch."""

from typing import Annotated

PositiveInt = Annotated[int, ">= 1"]
NonNegativeInt = Annotated[int, ">= 0"]
PositiveFloat = Annotated[float, "> 0"]
NonNegativeFloat = Annotated[float, ">= 0"]
UnitInterval = Annotated[float, ">= 0", "<= 1"]
PositiveUnit = Annotated[float, "> 0", "<= 1"]
Exponent = Annotated[float, ">= -100", "<= 100"]
DecayRate = Annotated[float, ">= 0", "< 1"]  # of an average: a beta, a momentum
