"""Published figures on NIH ChestX-ray14, to read ours against; 80 times our data made them."""

from __future__ import annotations

# AUC: Wang et al. 2017 (arXiv 1705.02315, table 17, the published split), and CheXNet (Rajpurkar
# et al. 2017, arXiv 1711.05225, table 2, a split of its own).
AUC: dict[str, tuple[float, float]] = {
    "Atelectasis": (0.700, 0.809),
    "Cardiomegaly": (0.810, 0.925),
    "Consolidation": (0.703, 0.790),
    "Edema": (0.805, 0.888),
    "Effusion": (0.759, 0.864),
    "Emphysema": (0.833, 0.937),
    "Fibrosis": (0.786, 0.805),
    "Hernia": (0.872, 0.916),
    "Infiltration": (0.661, 0.735),
    "Mass": (0.693, 0.868),
    "Nodule": (0.669, 0.780),
    "Pleural_Thickening": (0.684, 0.806),
    "Pneumonia": (0.658, 0.768),
    "Pneumothorax": (0.799, 0.889),
}
MEAN_AUC = (0.745, 0.841)

# Localisation accuracy at T(IoU) 0.1, 0.3, 0.5, 0.7: Wang et al. 2017, table 7.
LOCATED: dict[str, tuple[float, float, float, float]] = {
    "Atelectasis": (0.689, 0.244, 0.050, 0.006),
    "Cardiomegaly": (0.938, 0.459, 0.178, 0.027),
    "Effusion": (0.660, 0.301, 0.111, 0.020),
    "Infiltration": (0.707, 0.276, 0.065, 0.0),
    "Mass": (0.400, 0.153, 0.012, 0.0),
    "Nodule": (0.139, 0.038, 0.013, 0.0),
    "Pneumonia": (0.633, 0.167, 0.033, 0.008),
    "Pneumothorax": (0.378, 0.133, 0.031, 0.020),
}
LOCATED_AT = (0.1, 0.3, 0.5, 0.7)
