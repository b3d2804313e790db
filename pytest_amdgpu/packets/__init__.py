"""Packets of SDMA, PM4 and AQL by generation, as tables from which encoders and decoders are made."""
