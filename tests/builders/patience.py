"""The one bound on how long a test waits: it ends what hangs, and judges nobody's speed.

A test whose outcome depends on the machine proves nothing. So whoever waits for something waits
for PATIENCE_S, and goes on as soon as it is there; a test that needs one thing to take longer
than another derives both from it. tests/test_patience.py holds the tests to it.
"""

from datetime import timedelta

# Far more than anything takes on any machine, under any load: what takes longer hangs.
PATIENCE_S = 420.0
PATIENCE = timedelta(seconds=PATIENCE_S)
# Of a whole test: `timeout` of pytest-timeout, in pyproject.toml. Above PATIENCE_S, so that a wait
# that fails says for what, before pytest ends it all; and so short that a run of the whole suite,
# which has 40 minutes, ends in time and names the test.
TEST_TIMEOUT_S = 480.0
# Of what pytest-timeout does not end (tests/hangs.py).
TEST_END_S = TEST_TIMEOUT_S + 60
