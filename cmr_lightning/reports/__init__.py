"""Runs side by side: boards, tests of differences, tables, pictures and pages."""
