"""The commands of `dicom-node`, one module each."""
