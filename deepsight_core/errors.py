"""Every error that DeepSight raises on purpose: who, what, and what to do next.

DeepSightError
├── ConfigError              the run file, an option or a command line is wrong
│   ├── UnknownComponent     no installed plugin offers that address
│   └── CapabilityError      a model cannot do what a benchmark or diagnostic asks of it
├── PluginError              an installed plugin is at fault
│   ├── BrokenPlugin         it cannot be imported, or is half removed
│   ├── ConflictingPlugins   two distributions offer one address
│   └── InvalidPlugin        it loads, but does not keep the contract
├── SourceError              data is missing, unreachable, gated or altered
│   └── ChecksumMismatch
├── RunError                 the run directory
│   ├── RunExists
│   ├── RunLocked            another process works on it
│   ├── CorruptRecords       a line in the middle cannot be read
│   ├── DiskFull
│   └── RunMismatch          what is resumed or compared is not the same thing
├── ModelError               an adapter broke (a failed *request* is an Output with an error)
├── DiagnosticError          a diagnostic cannot work on what it was given
└── Interrupted              the user stopped the run; nothing is lost
"""

from __future__ import annotations


class DeepSightError(Exception):
    """The base of all: catch this to catch whatever DeepSight itself reports."""

    exit_code = 1


class ConfigError(DeepSightError):
    exit_code = 2


class UnknownComponent(ConfigError):
    pass


class CapabilityError(ConfigError):
    pass


class PluginError(DeepSightError):
    exit_code = 3


class BrokenPlugin(PluginError):
    pass


class ConflictingPlugins(PluginError):
    pass


class InvalidPlugin(PluginError):
    pass


class SourceError(DeepSightError):
    exit_code = 4


class ChecksumMismatch(SourceError):
    pass


class RunError(DeepSightError):
    exit_code = 5


class RunExists(RunError):
    pass


class RunLocked(RunError):
    pass


class CorruptRecords(RunError):
    pass


class DiskFull(RunError):
    pass


class RunMismatch(RunError):
    pass


class ModelError(DeepSightError):
    exit_code = 6


class DiagnosticError(DeepSightError):
    exit_code = 7


class Interrupted(DeepSightError):
    exit_code = 130
