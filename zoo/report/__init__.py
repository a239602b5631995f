"""A page about a run, made of the files in its folder."""

from zoo.report.mistakes import Look
from zoo.report.page import Speed, write_report

__all__ = ["Look", "Speed", "write_report"]
