"""What the tests of the control plane share."""

import pytest

from tests.control.stage import Stage


@pytest.fixture
def stage():
    return Stage()
