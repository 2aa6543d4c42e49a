"""`make bench`: run every benchmark of this folder, one after the other."""

import runpy
from pathlib import Path

for script in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    print(f"== {script.stem}")
    runpy.run_module(f"benchmarks.{script.stem}", run_name="__main__")
