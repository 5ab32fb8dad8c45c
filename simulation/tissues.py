"""Tissues that phantoms are made of, with what CT and MR see of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

FIELDS_T = (0.55, 1.5, 3.0)
"""Field strengths of the relaxation times in the table [T]."""


class Tissue(StrEnum):
    """What a voxel may be made of."""

    AIR = "air"
    SKIN = "skin"
    FAT = "fat"
    MUSCLE = "muscle"
    TENDON = "tendon, ligament, meniscus, fascia"
    CORTICAL_BONE = "cortical bone"
    YELLOW_MARROW = "yellow marrow"
    SPONGY_BONE = "yellow marrow among trabeculae"
    RED_MARROW = "red marrow among trabeculae"
    CARTILAGE = "hyaline cartilage"
    SYNOVIAL_FLUID = "synovial fluid"
    FLUID = "urine, vitreous humour"
    ARTERY = "arterial blood"
    VEIN = "venous blood"
    BLOOD_POOL = "blood in the chambers of the heart"
    MYOCARDIUM = "myocardium"
    LIVER = "liver"
    LUNG = "lung"
    BOWEL = "bowel and its content"
    PROSTATE = "prostate or uterus"
    MUCOSA = "mucosa and glands"
    GREY_MATTER = "cortical grey matter"
    DEEP_GREY = "deep grey nuclei"
    WHITE_MATTER = "white matter"
    CSF = "cerebrospinal fluid"
    LESION = "white matter lesion"


@dataclass(frozen=True)
class Properties:
    """Physical properties of one tissue.

    Attributes:
        t1_ms: longitudinal relaxation time at `FIELDS_T` [ms].
        t2_ms: transverse relaxation time at `FIELDS_T` [ms].
        density: proton density, water is 1.
        hu: CT number [HU].
        fat_share: share of the protons that precess at the frequency of fat.
        dephasing_per_s: R2* - R2 at 1.5 T; in proportion to the field [1/s].
        washout: share of the spins that leave a slice before a spin echo forms.
        grain: standard deviation of the texture relative to the MR signal: (some centimetres, some millimetres).
    """

    t1_ms: tuple[float, float, float]
    t2_ms: tuple[float, float, float]
    density: float
    hu: float
    fat_share: float = 0.0
    dephasing_per_s: float = 8.0
    washout: float = 0.0
    grain: tuple[float, float] = (0.03, 0.03)


_TABLE = {
    Tissue.AIR: Properties((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0, -1000, grain=(0, 0)),
    Tissue.SKIN: Properties((600, 840, 1050), (40, 36, 33), 0.65, 30, grain=(0.05, 0.048)),
    Tissue.FAT: Properties((183, 288, 371), (165, 165, 133), 0.92, -100, 0.94, 12, grain=(0.05, 0.02)),
    Tissue.MUSCLE: Properties((809, 1130, 1420), (38, 35, 32), 0.79, 55, 0.02, 12, grain=(0.04, 0.036)),
    Tissue.TENDON: Properties((450, 600, 700), (4, 3.5, 3), 0.6, 85, 0, 30, grain=(0.1, 0.09)),
    Tissue.CORTICAL_BONE: Properties((150, 190, 225), (0.4, 0.4, 0.4), 0.2, 1300, 0, 200, grain=(0.05, 0.03)),
    Tissue.YELLOW_MARROW: Properties((190, 288, 365), (165, 165, 133), 0.85, -40, 0.88, 50, grain=(0.04, 0.03)),
    Tissue.SPONGY_BONE: Properties((190, 288, 365), (140, 140, 115), 0.78, 190, 0.86, 90, grain=(0.05, 0.04)),
    Tissue.RED_MARROW: Properties((393, 549, 586), (60, 55, 52), 0.75, 220, 0.45, 70, grain=(0.10, 0.06)),
    Tissue.CARTILAGE: Properties((759, 1060, 1240), (44, 42, 37), 0.75, 75, 0, 10, grain=(0.06, 0.036)),
    Tissue.SYNOVIAL_FLUID: Properties((2600, 2850, 3620), (1300, 1210, 767), 1.0, 8, 0, 5, grain=(0.02, 0.012)),
    Tissue.FLUID: Properties((3500, 3800, 4000), (1500, 1300, 1100), 1.0, 6, 0, 3, grain=(0.015, 0.006)),
    Tissue.ARTERY: Properties((1122, 1441, 1932), (263, 290, 275), 0.85, 48, 0, 4, 0.92, grain=(0.04, 0.018)),
    Tissue.VEIN: Properties((1122, 1441, 1932), (200, 180, 100), 0.85, 45, 0, 8, 0.5, grain=(0.04, 0.018)),
    Tissue.BLOOD_POOL: Properties((1122, 1441, 1932), (263, 290, 275), 0.85, 48, 0, 4, 0.9, grain=(0.07, 0.024)),
    Tissue.MYOCARDIUM: Properties((701, 1030, 1471), (58, 40, 47), 0.80, 55, 0, 14, grain=(0.08, 0.042)),
    Tissue.LIVER: Properties((339, 576, 812), (66, 46, 42), 0.72, 60, 0.03, 22, grain=(0.04, 0.036)),
    Tissue.LUNG: Properties((971, 1200, 1270), (61, 50, 41), 0.22, -830, 0, 400, grain=(0.25, 0.21)),
    Tissue.BOWEL: Properties((790, 1100, 1350), (75, 65, 55), 0.8, 35, 0.03, 20, grain=(0.2, 0.09)),
    Tissue.PROSTATE: Properties((943, 1317, 1597), (95, 88, 74), 0.85, 42, 0, 10, grain=(0.14, 0.048)),
    Tissue.MUCOSA: Properties((680, 950, 1200), (95, 85, 75), 0.85, 40, 0.05, 20, grain=(0.15, 0.09)),
    Tissue.GREY_MATTER: Properties((717, 950, 1331), (112, 101, 99), 0.82, 38, 0, 7, grain=(0.03, 0.024)),
    Tissue.DEEP_GREY: Properties((640, 830, 1130), (98, 84, 76), 0.79, 38, 0, 14, grain=(0.04, 0.021)),
    Tissue.WHITE_MATTER: Properties((493, 650, 832), (89, 80, 76), 0.71, 29, 0, 9, grain=(0.025, 0.015)),
    Tissue.CSF: Properties((3900, 4200, 4300), (1700, 1500, 1200), 1.0, 8, 0, 3, grain=(0.02, 0.012)),
    Tissue.LESION: Properties((790, 1080, 1380), (180, 165, 150), 0.85, 26, 0, 6, grain=(0.06, 0.03)),
}


def properties(tissue: Tissue) -> Properties:
    """Typical values of a healthy adult.

    T1 and T2 are rounded from Stanisz et al., Magn Reson Med 54:507 (2005; blood, heart, liver), Gold et al., AJR
    183:343 (2004; muscle, cartilage, synovial fluid, fat, marrow), de Bazelaire et al., Radiology 230:652 (2004; red
    marrow, prostate), Wansapura et al., J Magn Reson Imaging 9:531 (1999; brain at 3 T), Breger et al., Radiology
    171:273 (1989; brain at 1.5 T), and Campbell-Washburn et al., Radiology 293:384 (2019; 0.55 T: brain, blood, heart,
    liver, lung, fat). Where nobody has measured at 0.55 T, T1 follows field^(1/3) (Bottomley et al., Med Phys 11:425,
    1984). Skin, tendon, mucosa, bowel, lesions, deep nuclei and all proton densities, dephasing rates, fat shares and
    CT numbers are rounded typical values rather than one study's.
    """
    return _TABLE[tissue]


@dataclass(frozen=True)
class Relaxation:
    """One tissue of one patient at one field strength, as a pulse sequence sees it.

    Attributes:
        t1_ms: longitudinal relaxation time [ms].
        t2_ms: transverse relaxation time [ms].
        t2_star_ms: its effective value without refocusing [ms].
        density: proton density, water is 1.
        fat_share: share of the protons that precess at the frequency of fat.
        washout: share of the spins that leave a slice before a spin echo forms.
    """

    t1_ms: float
    t2_ms: float
    t2_star_ms: float
    density: float
    fat_share: float
    washout: float


def relaxation(tissue: Tissue, field_t: float, rng: np.random.Generator | None = None) -> Relaxation:
    """Relaxation of a tissue, between the fields of the table along a power law.

    Args:
        tissue: the tissue.
        field_t: field strength, 0.5 to 3.1 [T].
        rng: draws a patient: T1 and T2 vary by about 4 %, proton density by 2 %. None is the typical adult.

    Raises:
        ValueError: the field is outside the table.
    """
    if not 0.5 <= field_t <= 3.1:
        raise ValueError(f"relaxation times are known from 0.5 to 3.1 T, not at {field_t:g} T")
    known = properties(tissue)
    # Drawn in any case, so that every tissue of a patient takes the same share of the generator.
    vary = np.exp(rng.normal(0, (0.04, 0.04, 0.02))) if rng is not None else np.ones(3)
    at = np.log(field_t)
    t1 = float(vary[0] * np.exp(np.interp(at, np.log(FIELDS_T), np.log(known.t1_ms))))
    t2 = float(vary[1] * np.exp(np.interp(at, np.log(FIELDS_T), np.log(known.t2_ms))))
    t2_star = 1 / (1 / t2 + known.dephasing_per_s * field_t / 1.5 / 1000)
    return Relaxation(t1, t2, t2_star, known.density * float(vary[2]), known.fat_share, known.washout)
