"""Dual-polarity MAVRIC: off-resonance near metal found from spectral bins of both readout polarities, and undone."""
