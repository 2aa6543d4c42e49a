"""What Spark needs beyond Laurel: an extra, and Java. Where either is missing its tests are skipped.

They are skipped where every other part is required, too: nothing that Laurel does by itself needs it.
"""

import shutil

import pytest


def needs_spark() -> None:
    """Skip the module that is being imported where Spark cannot run."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'laurel[spark]'")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, and there is none", allow_module_level=True)
