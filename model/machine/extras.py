"""Which optional packages are installed, by the extra that brings them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

DISTRIBUTION = "feedtwin"


def packages_of_extras() -> dict[str, tuple[str, ...]]:
    """Distribution names of each extra, from the installed metadata of feedtwin; the core is under ``""``."""
    packages: dict[str, list[str]] = {"": []}
    for requirement in _requirements():
        specifier, _, marker = requirement.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", specifier.strip())
        extra = re.search(r"""extra == ['"]([^'"]+)['"]""", marker)
        if name and name.group() != DISTRIBUTION:
            packages.setdefault(extra.group(1) if extra else "", []).append(name.group())
    return {extra: tuple(names) for extra, names in packages.items()}


def missing_packages(extras: Iterable[str]) -> list[str]:
    """Distributions of these extras that are not installed."""
    packages = packages_of_extras()
    return sorted({name for extra in extras for name in packages.get(extra, ()) if not _is_installed(name)})


def require(*extras: str, purpose: str) -> None:
    """Raise MachineError, naming what to install, where a package of these extras is missing."""
    if missing := missing_packages(extras):
        from model.spec.errors import MachineError  # here, since it brings the whole specification, and help is quick

        raise MachineError(f"{purpose} needs {', '.join(missing)}; install with: {install_hint(extras)}")


def extras_with_module(module: str) -> list[str]:
    """Extras whose packages have a name like this import name; all that have a missing package if none matches."""
    wanted = _canonical(module.partition(".")[0])
    packages = {extra: names for extra, names in packages_of_extras().items() if extra}
    exact = [extra for extra, names in packages.items() if any(_canonical(name).startswith(wanted) for name in names)]
    return exact or [extra for extra, names in packages.items() if any(not _is_installed(name) for name in names)]


def install_hint(extras: Iterable[str]) -> str:
    """What to type to get these extras."""
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def _requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return []


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
