"""The longer suites: `make test` leaves them out, `make test-NAME` runs one, .ci/run runs them all.

A test joins a suite with `@pytest.mark.NAME`. A new suite is one line here: its name and the minutes that .ci/run gives it.
"""

SUITES = {
    "slow": 12,  # take more than about ten seconds each
    "kills": 15,  # the journal, killed or with a failing disk at every write
    "browser": 10,  # the panel in a real browser, on several front ends
}
