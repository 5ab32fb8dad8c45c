"""What each spawned process of `dicom-node serve` runs, a module for each kind."""
