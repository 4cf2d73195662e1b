"""A page about a timeline. (The function's name is `fastface.report`: a package may not have it as well.)"""

from fastface.reporting.page import report

__all__ = ["report"]
