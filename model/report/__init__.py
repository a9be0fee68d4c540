"""Plots, tables and the HTML report of a comparison."""

from model.report.html import write_report
from model.report.tables import render_system_table, render_table

__all__ = ["render_system_table", "render_table", "write_report"]
