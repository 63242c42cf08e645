"""Estimates of accelerators on whole models: cycles from a model held against the RTL, time, power and energy."""
