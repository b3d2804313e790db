"""The engines of a software GPU: SDMA, and the command processor for PM4 and AQL."""
