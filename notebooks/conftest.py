"""How nbval compares the outputs that are marked for it (`nbval-check-output`)."""


def pytest_collectstart(collector):
    """Leave out stderr: progress bars and log lines differ with every run."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
