"""What the hip CT corrector says about itself; imports neither torch nor scipy."""

from __future__ import annotations

from dicom_node.contracts import API_VERSION, Accepts, CorrectorSpec, Limits, Parameter, Units, WeightsRef

SPEC = CorrectorSpec(
    name="hipct",
    version="0.4.0",
    api=API_VERSION,
    title="Hip CT metal artefact reduction",
    inputs={
        "ct": Accepts(
            modality="CT",
            units=Units.HU,
            axes="zyx",
            needs=("ImageType",),
            wants=(
                "LossyImageCompression",
                "GantryDetectorTilt",
                "SeriesDescription",
                "ProtocolName",
                "ImageComments",
                "DerivationDescription",
                "ConvolutionKernel",
            ),
        )
    },
    methods={
        "classical": "Metal trace restored from a prior image fitted to the undisturbed rays and from what the metal "
        "let through, each weighed by its reliability",
        "nmar": "Normalised interpolation in the metal trace (Meyer 2010)",
        "li": "Linear interpolation in the metal trace (Kalender 1987)",
        "best": "Metal trace replaced with a prior, what is left of the artefact predicted by a network that learnt it "
        "from simulated implants, and blooming given back to the tissue",
        "paper": "Metal trace of the sinogram inpainted by a small network that learnt it from other patients",
    },
    default_method="classical",
    factory="correctors.hipct.infer:build",
    # Scanners store 12 bits (-1024..3071) or 16 bits; air outside the circle may lie at -2048 or -3024 [HU].
    # Streaks of two cobalt heads reach thousands of HU in a voxel, but cancel over a slice (to 2 HU at the most seen).
    limits={
        "ct": Limits(
            lowest=-8192.0,
            highest=32767.0,
            largest_change=32767.0,
            largest_mean_change=100.0,
            largest_changed_fraction=1.0,
        )
    },
    parameters={
        "segmentation": Parameter(
            default="auto",
            description="how metal is found: a fixed threshold, K-means with k = 3 on the voxel values, or as the "
            "method asks (auto: kmeans for paper, threshold for the others)",
            choices=("auto", "threshold", "kmeans"),
        ),
        "metal_threshold_hu": Parameter(
            default=2500.0,
            description="values from here on may be metal [HU]; with kmeans: the lowest centre of a metal cluster",
            minimum=1500.0,
            maximum=20000.0,
        ),
        "smallest_implant_mm2": Parameter(
            default=20.0,
            description="objects whose largest cross-section is smaller are no implant [mm2]",
            minimum=0.0,
            maximum=1000.0,
        ),
        "adapt": Parameter(
            default="none",
            description="patient: fit the weights of paper or best on to slices of the same series without metal, up "
            "to 11 above and below it, before correcting; takes minutes",
            choices=("none", "patient"),
        ),
        "n_angles": Parameter(
            default=480,
            description="projection angles over 180 degrees for re-projection",
            minimum=180,
            maximum=1440,
        ),
    },
    device_tolerance={"ct": 2.0, "map:change": 2.0},
    weights={
        "best": WeightsRef(
            package="correctors.hipct",
            directory="weights/best",
            sha256="0aa1725819419938292ef79c904cea4f9f44548f926e5c5abd33eb9a4c70e3ba",
        ),
        "paper": WeightsRef(
            package="correctors.hipct",
            directory="weights/paper",
            sha256="31a1dd43c0cc234203b6330f1f90ca2595a621cf34f5ff632f12f1aa6b9d545e",
        ),
    },
    # What `paper` and `best` fill in is learnt from other patients.
    synthetic=("paper", "best"),
    references=(
        "doi:10.1148/radiology.164.2.3602406",
        "doi:10.1118/1.3484090",
        "doi:10.1118/1.3691845",
    ),
)
