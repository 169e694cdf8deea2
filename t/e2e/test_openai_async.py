# Copyright (C) nginx-cycles authors

import pytest

pytest.register_assert_rewrite('_openai_scenarios')

from sdk import AsyncPythonSdk                                     # noqa: E402
from _openai_scenarios import *                     # noqa: E402,F401,F403


@pytest.fixture(scope='module')
def sdk():
    with AsyncPythonSdk() as it:
        yield it
