"""Routing: declarative rules over headers, pure functions, decisions that explain themselves."""

from dicom_node.routing.defaults import default_rules
from dicom_node.routing.keywords import check_keywords
from dicom_node.routing.result import RoutingResult, SeriesExplanation
from dicom_node.routing.router import route, route_for

__all__ = ["RoutingResult", "SeriesExplanation", "check_keywords", "default_rules", "route", "route_for"]
