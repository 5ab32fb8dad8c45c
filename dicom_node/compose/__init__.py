"""The one place that wires objects together, a module for each stage so that a process imports only its own."""
