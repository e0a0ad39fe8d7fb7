"""Prints the oldest versions that pyproject.toml allows, as pip takes them: ``torch>=2.6`` becomes ``torch==2.6``."""

import re
from pathlib import Path

import tomllib

project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in project["dependencies"]:
    if found := re.fullmatch(r"([\w.-]+)>=([\d.]+).*", requirement):
        print(f"{found[1]}=={found[2]}")
