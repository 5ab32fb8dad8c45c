"""What the MAVRIC corrector says about itself; imports neither torch nor scipy."""

from __future__ import annotations

from dicom_node.contracts import API_VERSION, Accepts, CorrectorSpec, Limits, Parameter, Units, WeightsRef

_BINS = Accepts(
    modality="MR",
    units=Units.MR_SIGNAL,
    axes="bzyx",
    needs=("PixelBandwidth",),
    wants=(
        "InPlanePhaseEncodingDirection",
        "ImageType",
        "ImagingFrequency",
        "RescaleSlope",
        "RescaleIntercept",
        "RepetitionTime",
        "EchoTime",
        "InversionTime",
        "0043,GEMS_PARM_01,34",
    ),
)
_PAPER = WeightsRef(
    package="correctors.mavric",
    directory="weights/paper",
    sha256="8fe86bae459d31c485ff754a2fa17d9341dc5640c6e486d48de8804c65458a62",
)
# Root sums of squares are larger than any one bin; magnitudes are never negative.
_LIMITS = Limits(lowest=0.0, highest=1e12)

SPEC = CorrectorSpec(
    name="mavric",
    version="0.1.0",
    api=API_VERSION,
    title="Dual-polarity MAVRIC off-resonance correction",
    inputs={"plus": _BINS, "minus": _BINS},
    methods={
        "classical": "Every bin of both readout polarities moved back by one matched-filter field, the polarity that "
        "folds left aside, and the bins combined by their profiles",
        "plus": "MAVRIC(+): root sum of squares of the bins of the plus polarity, nothing moved",
        "minus": "MAVRIC(-): root sum of squares of the bins of the minus polarity, nothing moved",
        "mean": "Mean of MAVRIC(+) and MAVRIC(-), nothing moved",
        "paper": "Each pair of bins corrected by a network that estimates shifts and attention, then combined",
        "predecessor": "Each pair of bins corrected by the same network as in paper, both polarities averaged",
        "best": "The matched-filter field, the attention and what is left in the image refined by networks that see "
        "the evidence of all bins",
    },
    default_method="best",
    factory="correctors.mavric.infer:build",
    limits={"plus": _LIMITS, "minus": _LIMITS},
    parameters={
        "combine": Parameter(
            default="auto",
            description="how bins become one image: root sum of squares, or matched to the bins' profiles at the "
            "voxel's frequency (auto: matched for classical and best, rsos for the others)",
            choices=("auto", "rsos", "matched"),
        ),
        "polarity": Parameter(
            default="both",
            description="for comparison: what paper, predecessor and classical make of one polarity alone, corrected "
            "and combined (figure 4 of the paper), in place of both",
            choices=("both", "plus", "minus"),
        ),
        "readout": Parameter(
            default="auto",
            description="axis of the readout: along the rows, along the columns, or as In-plane Phase Encoding "
            "Direction says (auto)",
            choices=("auto", "rows", "columns"),
        ),
        "bin_spacing_hz": Parameter(
            default=1000.0,
            description="between the centres of neighbouring spectral bins, where the headers do not say [Hz]",
            minimum=100.0,
            maximum=5000.0,
        ),
        "bin_fwhm_hz": Parameter(
            default=2250.0,
            description="full width at half maximum of the bins' Gaussian profiles [Hz]",
            minimum=100.0,
            maximum=20000.0,
        ),
    },
    weights={
        "best": WeightsRef(
            package="correctors.mavric",
            directory="weights/best",
            sha256="412a5cda76da70fb0ff7e68a9ff5ea64e0898c14ea19200cb3c3af9eeccdbe3d",
        ),
        "paper": _PAPER,
        "predecessor": _PAPER,
    },
    # What `best` adds to the bins is learnt from other images; the others only move and combine them.
    synthetic=("best",),
    references=("doi:10.1002/mrm.21856",),
)
