"""nnU-Net plan in, nnU-Net plan out: geometry, networks and their sizes, rewrite."""

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.rewrite import rewrite_plan

__all__ = ["Geometry", "rewrite_plan"]
