"""The version, in one place at run time: the installed distribution's."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fastface-gpu")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
