"""Physics in torch: projectors, spectra, metal, phantoms."""
