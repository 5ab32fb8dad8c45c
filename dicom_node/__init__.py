"""The DICOM correction node: the host. Never imports torch, correctors, simulation or training."""
