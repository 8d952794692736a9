# SPDX-License-Identifier: Apache-2.0
"""After all other hostile cases, on the debug kernel: what it has watched for did not happen."""

import pytest
from defects import check_watchers
from topology import FAMILIES


@pytest.mark.debug_only
@pytest.mark.parametrize("role", ["client", "server"])
def test_nothing_leaked_and_lockdep_still_watches(subject, role):
    """First with the module at work, then without it: what it has not freed by then is lost."""
    side = subject.client if role == "client" else subject.server
    for family in FAMILIES:
        subject.move(family)
    check_watchers(side.guest)
    side.unload()
    check_watchers(side.guest)
    side.load()
