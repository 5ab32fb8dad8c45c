"""The commands that training adds to `dicom-node`; the modules without `_run` import no torch."""
