# Copyright (C) nginx-cycles authors

import pytest

pytest.register_assert_rewrite('_sdk_cases')

import sdks                                                 # noqa: E402
from _sdk_cases import *                            # noqa: E402,F401,F403
from _sdk_cases import running                              # noqa: E402
from sdk_table import PYTHON                                # noqa: E402


ROWS = PYTHON


@pytest.fixture(scope='module')
def run():
    yield from running(sdks.Python, ROWS)
