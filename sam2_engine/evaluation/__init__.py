"""Measuring results: mask metrics, a robot that clicks, and tables."""
