"""IFCDSR and its rivals: source -> scenario -> features -> model -> run -> table -> page."""

__version__ = "0.1.0"
