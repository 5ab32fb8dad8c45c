"""`/metrics` for Prometheus, `/healthz` (the node lives) and `/readyz` (it can do its work)."""

from dicom_node.metrics.processes import ChildState
from dicom_node.metrics.server import MetricsServer
from dicom_node.metrics.status import NodeStatus

__all__ = ["ChildState", "MetricsServer", "NodeStatus"]
