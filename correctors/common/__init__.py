"""What several correctors need: devices, filters, attenuation."""
