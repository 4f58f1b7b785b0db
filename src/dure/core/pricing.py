"""What a lease costs. One formula, used for the bill, the burst rule and every sentence that names a price."""

from __future__ import annotations

from dure.core.model import WHOLE_GPU_MILLI, Lease

_HOUR_S = 3600.0


def cost_of(lease: Lease, held_s: float) -> float:
    """Return the money a lease costs for `held_s` seconds: price per GPU-hour x GPUs x hours."""
    return lease.price_per_gpu_hour * lease.gpus_milli / WHOLE_GPU_MILLI * held_s / _HOUR_S
